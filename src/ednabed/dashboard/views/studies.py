"""The content of the workspace: studies, runs, references and the table, with their health and actions on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import streamlit as st

from ednabed.api.manager import DataManager
from ednabed.base.files import check_name, folder_bytes
from ednabed.base.text import human_bytes
from ednabed.dashboard.parts import (
    ACTIVE,
    count_records,
    draft,
    job_panel,
    jobs,
    jobs_of,
    keep_uploads,
    manager,
    named_in_errors,
    records_text,
    show_started,
    show_table,
    shown_errors,
)
from ednabed.dashboard.settings import settings
from ednabed.dashboard.status import ReferenceState, RunState, reference_states, run_states, table_state, versions_fault
from ednabed.dashboard.texts import literal, message
from ednabed.dashboard.views.export import show_export
from ednabed.errors import UsageError
from ednabed.models.catalog import DEFAULT_MODEL
from ednabed.reference import layout
from ednabed.sequences import read_labels, read_samples
from ednabed.sequences.counts import find_counts, read_count_table
from ednabed.store.version_file import Versions
from ednabed.store.versions import auto_tag, register
from ednabed.tables.status import TableStatus

KIND = "studies"
_NO_COUNTS = "The sequence files contain no counts"
_NO_COUNTS_HELP = (
    "A table with ids, sequences and columns of whole numbers may be a count table, so it is refused until you decide. "
    "If these numbers are not reads per sample, tick this box; if they are, choose the table as a count table instead."
)
_LARGE = 1_000_000_000
"""Size of a table, in bytes, above which its rows are counted only on request."""


def show() -> None:
    """Show the page."""
    st.title("Studies")
    with shown_errors():
        _work()
    with shown_errors():
        runs = run_states(settings().workspace)
        references = reference_states(settings().workspace)
        with shown_errors():
            _numbers(runs, references)
        with shown_errors():
            _runs(runs)
        with shown_errors():
            _references(references)
        with shown_errors():
            _actions(runs, references)
    with shown_errors():
        _table()
    with shown_errors():
        _earlier()


def _numbers(runs: list[RunState], references: list[ReferenceState]) -> None:
    sound = [run for run in runs if run.info.fault is None]
    waiting = [run for run in runs if run.in_reference is False]
    address = layout.default_folder(Path()).as_posix()
    default = next((r for r in references if r.address == address and r.manifest is not None), None)
    numbers = {
        "Datasets": len({run.info.dataset for run in runs}),
        "Runs": len(runs),
        "Records": sum(run.info.records or 0 for run in sound),
        "Reference sequences": default.manifest.counts["sequences"] if default and default.manifest else 0,
        "Runs not in reference": len(waiting) if default else len(sound),
    }
    *columns, last = st.columns(len(numbers) + 1)
    for column, (name, value) in zip(columns, numbers.items(), strict=True):
        column.metric(name, f"{value:,}")
    last.metric("Storage", human_bytes(_storage(str(settings().workspace))))
    broken = [run for run in runs if run.info.fault is not None]
    for run in broken[:10]:
        st.error(f"**{literal(run.info.label)} is broken:** {message(str(run.info.fault))}")
    if len(broken) > 10:
        st.error(f"… and {len(broken) - 10:,} more runs are broken; the table shows which.")
    for reference in references:
        if reference.fault is not None:
            st.error(f"**{literal(reference.address)} is broken:** {message(reference.fault)}")
    fault = versions_fault(settings().workspace)
    if fault is not None:
        st.error(message(fault))


@st.cache_data(ttl=60, show_spinner=False)
def _storage(workspace: str) -> int:
    """Return the size of all runs, references and the table in bytes; measured once a minute."""
    sizes = DataManager(workspace).storage(measure=False)
    return int(sizes["runs_bytes"] + sum(sizes["references"].values()) + sizes["table_bytes"])


def _work() -> None:
    """Show the jobs of this page that are active or named by the address, and the last one if it failed."""
    found = jobs_of(KIND)
    requested = st.query_params.get("job")
    for number, job in enumerate(found):
        if job.state in ACTIVE or job.id == requested or (not number and job.state in ("failed", "lost")):
            job_panel(job, unfolded=True)


def _earlier() -> None:
    """Show all ended jobs of the workspace, from every page, to inspect or remove them."""
    found = [job for job in jobs().list() if job.state not in ACTIVE]
    if not found:
        return
    with st.expander(f"Earlier jobs ({len(found):,})"):
        show_table(
            {
                "started (UTC)": [f"{job.created:%Y-%m-%d %H:%M}" for job in found],
                "job": [job.title for job in found],
                "state": [job.state for job in found],
            }
        )
        texts = {job.id: f"{job.created:%Y-%m-%d %H:%M}: {job.title} ({job.state})" for job in found}
        chosen = st.selectbox("Show job", [None, *texts], format_func=lambda key: texts.get(key, ""))
        if chosen is not None and chosen in texts:
            job_panel(jobs().get(chosen), unfolded=True, section="earlier")


def _runs(runs: list[RunState]) -> None:
    st.header("Runs")
    if not runs:
        st.info("There is no run yet. Add a study below: its sequences are embedded and stored as a run.")
        return
    words = {True: "yes", False: "not yet", None: ""}
    show_table(
        {
            "dataset": [run.info.dataset for run in runs],
            "run": [run.info.run_id for run in runs],
            "records": [run.info.records for run in runs],
            "model": [run.info.model or "" for run in runs],
            "version": [run.version or "" for run in runs],
            "in the reference": [words[run.in_reference] for run in runs],
            "vectors": [human_bytes(run.info.bytes) for run in runs],
            "health": ["broken" if run.info.fault else "ok" for run in runs],
        }
    )


def _references(references: list[ReferenceState]) -> None:
    st.header("References")
    intact = [(state, state.manifest) for state in references if state.manifest is not None]
    if not intact:
        st.info(
            "There is no reference yet. Consolidate builds one from the runs: each distinct sequence once, indexed."
        )
        return
    show_table(
        {
            "reference": [state.address for state, _ in intact],
            "build": [manifest.build for _, manifest in intact],
            "sequences": [manifest.counts["sequences"] for _, manifest in intact],
            "records": [manifest.counts["records"] for _, manifest in intact],
            "datasets": [manifest.counts["datasets"] for _, manifest in intact],
            "runs": [manifest.counts["runs"] for _, manifest in intact],
            "model": [manifest.spec.model for _, manifest in intact],
            "version": [manifest.version or "" for _, manifest in intact],
            "calibrated": ["yes" if state.calibrated else "no" for state, _ in intact],
            "size": [human_bytes(sum(e["bytes"] for e in manifest.files.values())) for _, manifest in intact],
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
        st.info("data/lancedb does not contain a table of sequences yet.")
        return
    numbers = {
        "Rows": state.rows,
        "With a vector": state.embedded,
        "Pending": state.pending,
        "Rejected": state.rejected,
    }
    for column, (name, value) in zip(st.columns(4), numbers.items(), strict=True):
        column.metric(name, f"{value:,}")
    if state.invalid:
        st.error(
            f"{state.invalid:,} vectors of the table are not finite; 'ednabed table embed --no-resume' replaces them."
        )
    if state.pending and st.button("Embed the pending rows"):
        _start("Embed the pending rows of the table", ["table", "embed"])


@st.cache_data(max_entries=3, show_spinner=False)
def _table_bytes(folder: str, changed: int) -> int:
    return folder_bytes(Path(folder))


@st.cache_data(max_entries=3, show_spinner="Counting the rows of the table …")
def _table_state(workspace: str, changed: int) -> TableStatus | None:
    return table_state(Path(workspace))


# -- actions -----------------------------------------------------------------------------------------------------------


def _actions(runs: list[RunState], references: list[ReferenceState]) -> None:
    st.header("Actions")
    names = ["Add a study", "Consolidate", "Compress", "Tag", "Verify", "Export"]
    add, consolidate, compress, tag, verify, export = st.tabs(names)
    with add, shown_errors():
        _add()
    with consolidate, shown_errors():
        _consolidate(references)
    with compress, shown_errors():
        _compress(runs)
    with tag, shown_errors():
        _tag(runs, references)
    with verify, shown_errors():
        _verify(runs, references)
    with export, shown_errors():
        show_export(runs, references)


def _start(title: str, arguments: list[str]) -> None:
    show_started(jobs().start(title, arguments, about={"kind": KIND}))


def _add() -> None:
    st.markdown(
        "Sequences (FASTA, FASTQ, TSV, CSV, Parquet, also .gz or .zst; QIIME 2 artifacts; Darwin Core Archives) become "
        "a run of a dataset. With a count table, the run has one record for each sequence and each sample with reads."
    )
    with st.form("add", border=False):
        files = st.file_uploader("Sequence files", accept_multiple_files=True, key="add_files")
        counts = st.file_uploader(
            "Count table, optional: reads of each sequence in each sample (TSV, CSV, BIOM, .qza, mothur, DADA2). "
            "A table that also contains the sequences needs no sequence file",
            accept_multiple_files=True,
            key="add_counts",
        )
        no_counts = st.checkbox(_NO_COUNTS, key="add_no_counts", help=_NO_COUNTS_HELP)
        samples = st.file_uploader(
            "Samples (TSV or CSV: sample, latitude, longitude, date, …), optional",
            key="add_samples",
        )
        labels = st.file_uploader("Taxonomy (TSV, CSV or .qza: id and lineage), optional", key="add_labels")
        dataset = st.text_input("Name of the dataset", placeholder="lake_2026")
        begin = st.form_submit_button("Embed", type="primary")
    if not begin:
        return
    if not (files or counts) or not dataset.strip():
        raise UsageError("a file or the name of the dataset is missing; choose at least one file and name the dataset")
    if counts and no_counts:
        raise UsageError(f"a count table is chosen, but '{_NO_COUNTS}' is ticked; remove the table or clear the box")
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
                with named_in_errors(path, upload.name):
                    read(path)
                arguments += [option, str(path)]
    if no_counts:
        arguments.append("--no-counts")
    title = f"Embed {dataset.strip()}{records_text(records)}"
    about = {"kind": KIND, "records": records}
    show_started(jobs().start(title, [*arguments, *map(str, paths)], about=about, folder=folder))


def _refuse_undecided(paths: Sequence[Path], names: Sequence[str]) -> None:
    """Refuse sequence files that may also contain counts.

    Raises:
        UsageError: There is one.
    """
    for path, name in zip(paths, names, strict=True):
        if find_counts(path) == "sequences and counts":
            raise UsageError(
                f"{name}: has ids, sequences and columns of whole numbers, like a table of reads per sample; choose "
                f"it as a count table instead, or tick '{_NO_COUNTS}'"
            )


def _consolidate(references: list[ReferenceState]) -> None:
    st.markdown(
        "Builds one reference from the runs of this workspace. If records are labelled, it then learns how reliable "
        "its answers are (calibration), which takes some minutes for large references."
    )
    rebuild = st.toggle("From scratch, from the runs that exist now", key="consolidate_anew")
    drop = rebuild and st.toggle("Drop runs of the reference that no longer exist", key="consolidate_drop")
    calibrate = st.toggle("Calibrate", value=True, key="consolidate_calibrate")
    left, right = st.columns(2)
    if left.button("Consolidate", type="primary"):
        arguments = ["consolidate", "--rebuild" if rebuild else "--incremental"]
        arguments += ["--drop-missing"] if drop else []
        _start("Consolidate the runs", arguments if calibrate else [*arguments, "--no-calibrate"])
    uncalibrated = [state for state in references if state.manifest is not None and not state.calibrated]
    if uncalibrated:
        address = right.selectbox("Reference to calibrate", [state.address for state in uncalibrated])
        if right.button("Calibrate this reference"):
            _start(f"Calibrate {address}", ["reference", "calibrate", "--reference", address])


def _compress(runs: list[RunState]) -> None:
    st.markdown(
        "Compresses the vectors of runs. First see what it would save; nothing changes until you press *Compress*."
    )
    days = int(st.number_input("Only runs at least this many days old", 0, 10_000, 0, key="compress_days"))
    half = st.toggle("Round to float16: half the size, values change slightly", key="compress_half")
    delete = st.toggle("Delete the originals once every value is compared", key="compress_delete")
    choice = ["--older-than", str(days), *(["--float16"] if half else [])]
    choice += ["--delete-original"] if delete else []
    left, right = st.columns(2)
    if left.button("What would it save?", disabled=not runs):
        _start("Compress: what it would save", ["compress", *choice])
    has_dry_run = _has_dry_run(["compress", *choice], runs)
    reason = None if has_dry_run else "First see what it would save with these settings"
    if right.button("Compress", type="primary", disabled=not has_dry_run, help=reason):
        _start("Compress", ["compress", *choice, "--execute"])


def _has_dry_run(arguments: list[str], runs: list[RunState]) -> bool:
    """Return whether the last compression job was a dry run with these arguments, after the newest run was created."""
    done = [job for job in jobs().list() if job.arguments[:1] == ["compress"] and job.state == "done"]
    if not done or done[0].arguments != arguments:
        return False
    newest = max((run.info.created or "" for run in runs), default="")
    return not newest or datetime.fromisoformat(newest) <= done[0].created


def _tag(runs: list[RunState], references: list[ReferenceState]) -> None:
    workspace = settings().workspace
    build, function = st.columns(2)
    with build.form("tag_build"):
        st.markdown("**Name a build** of a reference, so that it is kept when later ones replace it.")
        current = [state.address for state in references if state.manifest is not None and state.name is None]
        address = st.selectbox("Reference", current)
        name = st.text_input("Name of the build", placeholder="reference_2026-11")
        if st.form_submit_button("Name this build"):
            if address is None or not name.strip():
                raise UsageError("the reference or the name is missing; choose a reference and give a name")
            manifest = layout.name_build(workspace / address, name.strip())
            st.success(literal(f"{name.strip()}: build {manifest.build}"))
    with function.form("tag_function"):
        st.markdown("**Register a version** for the function that computed a run, and tag all runs that it computed.")
        known = Versions.read(workspace)
        sound = [run for run in runs if run.info.fingerprint is not None and run.info.fault is None]
        labels = [run.info.label for run in sound]
        chosen = st.selectbox("Function of this run", labels)
        version = st.text_input("Name of the version", placeholder="v1.0")
        if st.form_submit_button("Register and tag"):
            if chosen is None or not version.strip():
                raise UsageError("the run or the name is missing; choose a run and give a name")
            manifest_of_run = manager().open_run(chosen).manifest
            assert manifest_of_run is not None
            register(workspace, version.strip(), manifest_of_run.spec)
            done = auto_tag(workspace, version=version.strip())
            st.success(literal(f"{version.strip()}: {len(done.tagged.get(version.strip(), ()))} runs tagged now"))
        if known.versions:
            st.caption(literal("Registered: " + ", ".join(known.versions)))


def _verify(runs: list[RunState], references: list[ReferenceState]) -> None:
    st.markdown("Reads every file and compares it with its checksum.")
    left, right = st.columns(2)
    if left.button("Verify all runs", disabled=not runs):
        _start("Verify the runs", ["runs", "verify"])
    addresses = [state.address for state in references]
    address = right.selectbox("Reference", addresses, key="verify_reference")
    if right.button("Verify this reference", disabled=not addresses):
        _start(f"Verify {address}", ["reference", "verify", "--reference", str(address)])
