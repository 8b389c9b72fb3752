"""Export of runs and references in the formats of other programs."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import streamlit as st

from ednabed.base.files import folder_bytes
from ednabed.base.text import human_bytes
from ednabed.dashboard.job import Job
from ednabed.dashboard.parts import job_panel, jobs, jobs_of, show_started
from ednabed.dashboard.status import ReferenceState, RunState
from ednabed.dashboard.texts import literal
from ednabed.dashboard.views.identify import ASSIGNMENTS
from ednabed.dashboard.views.identify import KIND as IDENTIFY
from ednabed.workflows.exports import FORMATS, WITH_NAMES
from ednabed.workflows.names import NONE

KIND = "export"
_NEWEST, _RECORDS_ONLY = "newest assignments of each run", "names of the records only"
_MAX_DOWNLOAD = 500_000_000
"""Maximum size of a download through the browser, in bytes."""


def show_export(runs: list[RunState], references: list[ReferenceState]) -> None:
    """Show the choice of what to export, and the last export."""
    labels = [run.info.label for run in runs if run.info.fault is None]
    addresses = [state.address for state in references if state.manifest is not None]
    if not labels and not addresses:
        st.info("There is nothing to export yet.")
        return
    left, middle, right = st.columns(3)
    source = left.selectbox("What", [*(f"reference {a}" for a in addresses), *(f"run {label}" for label in labels)])
    format_ = middle.selectbox("Format", list(FORMATS), format_func=lambda name: f"{name}: {FORMATS[name][1]}")
    named = [job for job in jobs_of(IDENTIFY) if job.state == "done"]
    choices = [_NEWEST, _RECORDS_ONLY, *(f"{job.title}, {job.created:%Y-%m-%d %H:%M}" for job in named)]
    names = right.selectbox(
        "Names", range(len(choices)), format_func=lambda i: choices[i], disabled=format_ not in WITH_NAMES,
        help="Records without names get those that the page Identify assigned to their run, or to a file.",
    )  # fmt: skip
    if st.button("Export", type="primary"):
        folder = jobs().new_folder()
        kind, _, name = source.partition(" ")
        target = folder / "results" / f"{name.replace('/', '_')}{FORMATS[format_][0]}"
        target.parent.mkdir()
        arguments = ["export", f"--{kind}", name, "--format", format_, "--output", str(target)]
        if names and format_ in WITH_NAMES:
            assignments = NONE if names == 1 else str(named[names - 2].folder / "results" / ASSIGNMENTS)
            arguments += ["--assignments", assignments]
        about = {"kind": KIND}
        show_started(jobs().start(f"Export {source} as {format_}", arguments, about=about, folder=folder))
    last = next(iter(jobs_of(KIND)), None)
    if last is not None and job_panel(last):
        _download(last)


def _download(job: Job) -> None:
    found = next((path for path in (job.folder / "results").iterdir() if not path.name.startswith(".")), None)
    if found is None:
        st.info("The result of this export has been removed.")
        return
    size = found.stat().st_size if found.is_file() else folder_bytes(found)
    if size > _MAX_DOWNLOAD:
        st.info(f"The result has {human_bytes(size)}, too much for a browser; copy it from here:")
        st.code(str(found), language=None, wrap_lines=True)
        return
    name = found.name if found.is_file() else f"{found.name}.zip"
    st.download_button(
        f"Download {literal(name)}",
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
