"""What is here, in the formats of other programs."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import streamlit as st

from ednabed.api.exports import FORMATS, WITH_NAMES
from ednabed.api.names import NONE
from ednabed.api.status import ReferenceState, RunState
from ednabed.dashboard.job import Job
from ednabed.dashboard.parts import job_panel, jobs, jobs_of, show_started
from ednabed.dashboard.texts import plain
from ednabed.dashboard.views.identify import ASSIGNMENTS
from ednabed.dashboard.views.identify import KIND as IDENTIFY
from ednabed.store.files import human_bytes

KIND = "export"
_NEWEST, _OWN = "the newest of each run", "their own only"
_LARGEST = 500_000_000
"""Bytes that are handed to the browser at most."""


def show_export(runs: list[RunState], references: list[ReferenceState]) -> None:
    """Show the choice of what to export, and what was exported last."""
    labels = [run.info.label for run in runs if run.info.fault is None]
    addresses = [state.address for state in references if state.manifest is not None]
    if not labels and not addresses:
        st.info("There is nothing to export yet.")
        return
    left, middle, right = st.columns(3)
    source = left.selectbox("What", [*(f"reference {a}" for a in addresses), *(f"run {label}" for label in labels)])
    format_ = middle.selectbox("Format", list(FORMATS), format_func=lambda name: f"{name}: {FORMATS[name][1]}")
    named = [job for job in jobs_of(IDENTIFY) if job.state == "done"]
    choices = [_NEWEST, _OWN, *(f"{job.title}, {job.created:%Y-%m-%d %H:%M}" for job in named)]
    names = right.selectbox(
        "Names", range(len(choices)), format_func=lambda i: choices[i], disabled=format_ not in WITH_NAMES,
        help="Records without names of their own take those that the page Identify gave to their run, or to a file.",
    )  # fmt: skip
    if st.button("Export", type="primary"):
        folder = jobs().new_folder()
        kind, _, place = source.partition(" ")
        target = folder / "results" / f"{place.replace('/', '_')}{FORMATS[format_][0]}"
        target.parent.mkdir()
        arguments = ["export", f"--{kind}", place, "--format", format_, "--output", str(target)]
        if names and format_ in WITH_NAMES:
            chosen = NONE if names == 1 else str(named[names - 2].folder / "results" / ASSIGNMENTS)
            arguments += ["--assignments", chosen]
        about = {"kind": KIND}
        show_started(jobs().start(f"Export {source} as {format_}", arguments, about=about, folder=folder))
    last = next(iter(jobs_of(KIND)), None)
    if last is not None and job_panel(last):
        _download(last)


def _download(job: Job) -> None:
    found = next((path for path in (job.folder / "results").iterdir() if not path.name.startswith(".")), None)
    if found is None:
        st.info("Its result was taken away.")
        return
    size = sum(path.stat().st_size for path in ([found] if found.is_file() else found.rglob("*")))
    if size > _LARGEST:
        st.info(f"The result has {human_bytes(size)}, too much for a browser; take it from its folder:")
        st.code(str(found), language=None, wrap_lines=True)
        return
    name = found.name if found.is_file() else f"{found.name}.zip"
    st.download_button(
        f"Download {plain(name)}",
        lambda: _bytes(found),
        name,
        on_click="ignore",
        key="export_download",
    )


def _bytes(path: Path) -> bytes:
    if path.is_file():
        return path.read_bytes()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(path.rglob("*")):
            archive.write(file, file.relative_to(path).as_posix())
    return packed.getvalue()
