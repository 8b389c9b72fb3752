"""What is here: studies, runs, references, the table, their health; and the buttons that bring them on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import streamlit as st

from ednabed.api.inventory import folder_bytes
from ednabed.api.manager import DataManager
from ednabed.api.status import ReferenceState, RunState, reference_states, run_states, table_state, versions_fault
from ednabed.dashboard.parts import (
    ACTIVE,
    called,
    count_records,
    draft,
    job_panel,
    jobs,
    jobs_of,
    keep_uploads,
    manager,
    records_text,
    show_started,
    table,
    told_errors,
)
from ednabed.dashboard.settings import settings
from ednabed.dashboard.texts import plain
from ednabed.dashboard.views.export import show_export
from ednabed.errors import UsageError
from ednabed.models.catalog import DEFAULT_MODEL
from ednabed.reference import layout
from ednabed.sequences import read_labels, read_samples
from ednabed.sequences.counts import find_counts, read_count_table
from ednabed.store.files import check_name, human_bytes
from ednabed.store.table import TableStatus
from ednabed.store.version_file import Versions
from ednabed.store.versions import auto_tag, register

KIND = "studies"
_HOLD_NO_COUNTS = "Sequence files hold no counts"
_NO_COUNTS = (
    "A table with ids, sequences and columns of whole numbers is taken for a count table too, and is asked about. "
    "If these numbers are no reads by sample, tick this; if they are, give the table as a count table instead."
)
_LARGE = 1_000_000_000
"""Bytes of a table whose rows are counted only when the person says so."""


def show() -> None:
    """Show the page."""
    st.title("Studies")
    with told_errors():
        _work()
    with told_errors():
        runs = run_states(settings().workspace)
        references = reference_states(settings().workspace)
        with told_errors():
            _numbers(runs, references)
        with told_errors():
            _runs(runs)
        with told_errors():
            _references(references)
        with told_errors():
            _actions(runs, references)
    with told_errors():
        _table()
    with told_errors():
        _earlier()


def _numbers(runs: list[RunState], references: list[ReferenceState]) -> None:
    sound = [run for run in runs if run.info.fault is None]
    waiting = [run for run in runs if run.in_reference is False]
    address = layout.default_folder(Path()).as_posix()
    own = next((r for r in references if r.address == address and r.manifest is not None), None)
    numbers = {
        "Datasets": len({run.info.dataset for run in runs}),
        "Runs": len(runs),
        "Records": sum(run.info.records or 0 for run in sound),
        "In the reference": own.manifest.counts["sequences"] if own and own.manifest else 0,
        "Runs not in it": len(waiting) if own else len(sound),
    }
    *places, last = st.columns(len(numbers) + 1)
    for place, (name, value) in zip(places, numbers.items(), strict=True):
        place.metric(name, f"{value:,}")
    last.metric("Storage", human_bytes(_storage(str(settings().workspace))))
    broken = [run for run in runs if run.info.fault is not None]
    for run in broken[:10]:
        st.error(f"**{plain(run.info.label)} is broken:** {plain(str(run.info.fault))}")
    if len(broken) > 10:
        st.error(f"… and {len(broken) - 10:,} more runs are broken; the table tells which.")
    for reference in references:
        if reference.fault is not None:
            st.error(f"**{plain(reference.address)} is broken:** {plain(reference.fault)}")
    fault = versions_fault(settings().workspace)
    if fault is not None:
        st.error(plain(fault))


@st.cache_data(ttl=60, show_spinner=False)
def _storage(workspace: str) -> int:
    """Return the bytes of all runs, references and the table; looked at once a minute."""
    sizes = DataManager(workspace).storage(measure=False)
    return int(sizes["runs_bytes"] + sum(sizes["references"].values()) + sizes["table_bytes"])


def _work() -> None:
    """Show work of this page that goes on, that the address names, or that failed last."""
    found = jobs_of(KIND)
    asked = st.query_params.get("job")
    for number, job in enumerate(found):
        if job.state in ACTIVE or job.id == asked or (not number and job.state in ("failed", "lost")):
            job_panel(job, unfolded=True)


def _earlier() -> None:
    """Show all work of the workspace, of every page, to look at it again or to remove it."""
    found = [job for job in jobs().list() if job.state not in ACTIVE]
    if not found:
        return
    with st.expander(f"Earlier work ({len(found):,})"):
        table(
            {
                "begun (UTC)": [f"{job.created:%Y-%m-%d %H:%M}" for job in found],
                "work": [job.title for job in found],
                "state": [job.state for job in found],
            }
        )
        texts = {job.id: f"{job.created:%Y-%m-%d %H:%M}: {job.title} ({job.state})" for job in found}
        chosen = st.selectbox("Look at", [None, *texts], format_func=lambda key: texts.get(key, ""))
        if chosen is not None and chosen in texts:
            job_panel(jobs().get(chosen), unfolded=True, place="earlier")


def _runs(runs: list[RunState]) -> None:
    st.header("Runs")
    if not runs:
        st.info("No run yet. Add a study below: its sequences get vectors, and a run keeps them.")
        return
    told = {True: "yes", False: "not yet", None: ""}
    table(
        {
            "dataset": [run.info.dataset for run in runs],
            "run": [run.info.run_id for run in runs],
            "records": [run.info.records for run in runs],
            "model": [run.info.model or "" for run in runs],
            "version": [run.version or "" for run in runs],
            "in the reference": [told[run.in_reference] for run in runs],
            "vectors": [human_bytes(run.info.bytes) for run in runs],
            "health": ["broken" if run.info.fault else "ok" for run in runs],
        }
    )


def _references(references: list[ReferenceState]) -> None:
    st.header("References")
    whole = [(state, state.manifest) for state in references if state.manifest is not None]
    if not whole:
        st.info("No reference yet. Consolidating makes one of the runs: each distinct sequence once, indexed.")
        return
    table(
        {
            "reference": [state.address for state, _ in whole],
            "build": [manifest.build for _, manifest in whole],
            "sequences": [manifest.counts["sequences"] for _, manifest in whole],
            "records": [manifest.counts["records"] for _, manifest in whole],
            "datasets": [manifest.counts["datasets"] for _, manifest in whole],
            "runs": [manifest.counts["runs"] for _, manifest in whole],
            "model": [manifest.spec.model for _, manifest in whole],
            "version": [manifest.version or "" for _, manifest in whole],
            "calibrated": ["yes" if state.calibrated else "no" for state, _ in whole],
            "size": [human_bytes(sum(e["bytes"] for e in manifest.files.values())) for _, manifest in whole],
        }
    )


def _table() -> None:
    if not (settings().workspace / "data" / "lancedb").is_dir():
        return
    st.header("Table of sequences")
    lance = settings().workspace / "data" / "lancedb"
    changed = max((path.stat().st_mtime_ns for path in lance.glob("*.lance/_versions/*")), default=0)
    # Counting reads every vector.
    if _table_bytes(str(lance), changed) > _LARGE and not st.toggle("Count the rows of the table", key="count_table"):
        return
    state = _table_state(str(settings().workspace), changed)
    if state is None:
        st.info("data/lancedb holds no table of sequences yet.")
        return
    numbers = {
        "Rows": state.rows,
        "With a vector": state.embedded,
        "Pending": state.pending,
        "Rejected": state.rejected,
    }
    for place, (name, value) in zip(st.columns(4), numbers.items(), strict=True):
        place.metric(name, f"{value:,}")
    if state.invalid:
        st.error(
            f"{state.invalid:,} vectors of the table are not finite; 'ednabed table embed --no-resume' mends that."
        )
    if state.pending and st.button("Embed what is pending"):
        _start("Embed the pending rows of the table", ["table", "embed"])


@st.cache_data(max_entries=3, show_spinner=False)
def _table_bytes(folder: str, changed: int) -> int:
    return folder_bytes(Path(folder))


@st.cache_data(max_entries=3, show_spinner="Counting the rows of the table …")
def _table_state(workspace: str, changed: int) -> TableStatus | None:
    return table_state(Path(workspace))


# -- what can be done --------------------------------------------------------------------------------------------------


def _actions(runs: list[RunState], references: list[ReferenceState]) -> None:
    st.header("Do")
    names = ["Add a study", "Consolidate", "Compress", "Tag", "Verify", "Export"]
    add, consolidate, compress, tag, verify, export = st.tabs(names)
    with add, told_errors():
        _add()
    with consolidate, told_errors():
        _consolidate(references)
    with compress, told_errors():
        _compress(runs)
    with tag, told_errors():
        _tag(runs, references)
    with verify, told_errors():
        _verify(runs, references)
    with export, told_errors():
        show_export(runs, references)


def _start(title: str, arguments: list[str]) -> None:
    show_started(jobs().start(title, arguments, about={"kind": KIND}))


def _add() -> None:
    st.markdown(
        "Sequences (FASTA, FASTQ, TSV, CSV, Parquet, also .gz or .zst; QIIME 2 artifacts; Darwin Core Archives) become "
        "a run of a dataset. With a count table, the run has one record for each sequence and sample with reads."
    )
    with st.form("add", border=False):
        files = st.file_uploader("Sequence files", accept_multiple_files=True, key="add_files")
        counts = st.file_uploader(
            "Count table: reads of each sequence in each sample (TSV, CSV, BIOM, .qza, mothur, DADA2), if any. "
            "A table that also holds the sequences is enough",
            accept_multiple_files=True,
            key="add_counts",
        )
        no_counts = st.checkbox(_HOLD_NO_COUNTS, key="add_no_counts", help=_NO_COUNTS)
        samples = st.file_uploader(
            "Samples (TSV or CSV: sample, latitude, longitude, date, …), if anything is known of them",
            key="add_samples",
        )
        labels = st.file_uploader("Taxonomy (TSV, CSV or .qza: id and lineage), if there is any", key="add_labels")
        dataset = st.text_input("Name of the dataset", placeholder="lake_2026")
        begin = st.form_submit_button("Embed", type="primary")
    if not begin:
        return
    if not (files or counts) or not dataset.strip():
        raise UsageError("choose at least one file, and name the dataset")
    if counts and no_counts:
        raise UsageError("a count table was chosen, and that there are no counts; remove the table, or clear that box")
    check_name("dataset", dataset.strip())
    arguments = ["embed", "--dataset", dataset.strip(), "--model", DEFAULT_MODEL]
    with draft() as folder:
        paths = keep_uploads(folder / "inputs", files)
        records = count_records(paths, [file.name for file in files]) if files else None
        if not (counts or no_counts):
            _refuse_undecided(paths, [file.name for file in files])
        kept = len(files)
        others: list[tuple[Any, str, Callable[[Path], object]]] = [
            *((table, "--abundance", read_count_table) for table in counts),
            (labels, "--labels", read_labels),
            (samples, "--samples", read_samples),
        ]
        for upload, option, read in others:
            if upload is not None:
                kept += 1
                path = keep_uploads(folder / "inputs", [upload], kept)[0]
                with called(path, upload.name):
                    read(path)
                arguments += [option, str(path)]
    if no_counts:
        arguments.append("--no-counts")
    title = f"Embed {dataset.strip()}{records_text(records)}"
    about = {"kind": KIND, "records": records}
    show_started(jobs().start(title, [*arguments, *map(str, paths)], about=about, folder=folder))


def _refuse_undecided(paths: Sequence[Path], names: Sequence[str]) -> None:
    """Ask about sequence files that hold counts too. Raises UsageError: there is one."""
    for path, name in zip(paths, names, strict=True):
        if find_counts(path) == "sequences and counts":
            raise UsageError(
                f"{name}: has ids, sequences and columns of whole numbers, as a table of reads by sample has; choose "
                f"it as count table instead, or tick '{_HOLD_NO_COUNTS}'"
            )


def _consolidate(references: list[ReferenceState]) -> None:
    st.markdown(
        "Makes one reference of the runs of this workspace. Where records are labelled it then learns what its answers "
        "are worth (calibration), which takes some minutes for large ones."
    )
    anew = st.toggle("From scratch, of the runs that are here now", key="consolidate_anew")
    drop = anew and st.toggle("Drop runs that are in the reference and no longer here", key="consolidate_drop")
    calibrate = st.toggle("Calibrate", value=True, key="consolidate_calibrate")
    left, right = st.columns(2)
    if left.button("Consolidate", type="primary"):
        arguments = ["consolidate", "--rebuild" if anew else "--incremental"]
        arguments += ["--drop-missing"] if drop else []
        _start("Consolidate the runs", arguments if calibrate else [*arguments, "--no-calibrate"])
    without = [state for state in references if state.manifest is not None and not state.calibrated]
    if without:
        address = right.selectbox("Calibrate a reference", [state.address for state in without])
        if right.button("Calibrate it"):
            _start(f"Calibrate {address}", ["reference", "calibrate", "--reference", address])


def _compress(runs: list[RunState]) -> None:
    st.markdown(
        "Makes the vectors of runs smaller. Look first at what it would save; nothing changes until you say so."
    )
    days = int(st.number_input("Only runs older than so many days", 0, 10_000, 0, key="compress_days"))
    half = st.toggle("Round to float16: half the size, values move a little", key="compress_half")
    delete = st.toggle("Delete the originals, once every value is compared", key="compress_delete")
    choice = ["--older-than", str(days), *(["--float16"] if half else [])]
    choice += ["--delete-original"] if delete else []
    dry, do = st.columns(2)
    if dry.button("What would it save?", disabled=not runs):
        _start("Compress: what it would save", ["compress", *choice])
    looked = _looked(["compress", *choice], runs)
    told = None if looked else "Ask first what it would save with this choice"
    if do.button("Compress", type="primary", disabled=not looked, help=told):
        _start("Compress", ["compress", *choice, "--execute"])


def _looked(arguments: list[str], runs: list[RunState]) -> bool:
    """Return whether the last thing done about compression is a dry run with this choice, on the runs that are here."""
    done = [job for job in jobs().list() if job.arguments[:1] == ["compress"] and job.state == "done"]
    if not done or done[0].arguments != arguments:
        return False
    newest = max((run.info.created or "" for run in runs), default="")
    return not newest or datetime.fromisoformat(newest) <= done[0].created


def _tag(runs: list[RunState], references: list[ReferenceState]) -> None:
    workspace = settings().workspace
    build, function = st.columns(2)
    with build.form("tag_build"):
        st.markdown("**Name a build** of a reference: it is kept beside later ones.")
        current = [state.address for state in references if state.manifest is not None and state.name is None]
        address = st.selectbox("Reference", current)
        name = st.text_input("Name of the build", placeholder="reference_2026-11")
        if st.form_submit_button("Name it"):
            if address is None or not name.strip():
                raise UsageError("choose a reference and give a name")
            manifest = layout.name_build(workspace / address, name.strip())
            st.success(plain(f"{name.strip()}: build {manifest.build}"))
    with function.form("tag_function"):
        st.markdown("**Name the version** of the function that made runs, and tag all runs that it made.")
        known = Versions.read(workspace)
        sound = [run for run in runs if run.info.fingerprint is not None and run.info.fault is None]
        labels = [run.info.label for run in sound]
        chosen = st.selectbox("As it made this run", labels)
        version = st.text_input("Name of the version", placeholder="v1.0")
        if st.form_submit_button("Name it and tag"):
            if chosen is None or not version.strip():
                raise UsageError("choose a run and give a name")
            made = manager().open_run(chosen).manifest
            assert made is not None
            register(workspace, version.strip(), made.spec)
            done = auto_tag(workspace, version=version.strip())
            st.success(plain(f"{version.strip()}: {len(done.tagged.get(version.strip(), ()))} runs tagged now"))
        if known.versions:
            st.caption(plain("Registered: " + ", ".join(known.versions)))


def _verify(runs: list[RunState], references: list[ReferenceState]) -> None:
    st.markdown("Reads every file again and compares it with its checksum.")
    left, right = st.columns(2)
    if left.button("Verify all runs", disabled=not runs):
        _start("Verify the runs", ["runs", "verify"])
    addresses = [state.address for state in references]
    address = right.selectbox("Reference", addresses, key="verify_reference")
    if right.button("Verify this reference", disabled=not addresses):
        _start(f"Verify {address}", ["reference", "verify", "--reference", str(address)])
