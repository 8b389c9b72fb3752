"""What is here: studies, runs, references, the table, their health; and the buttons that bring them on."""

from __future__ import annotations

import streamlit as st

from ednabed.api.status import ReferenceState, RunState, reference_states, run_states, table_state, versions_fault
from ednabed.dashboard.parts import (
    ACTIVE,
    called,
    count_records,
    draft,
    job_panel,
    jobs,
    keep_uploads,
    manager,
    show_started,
    table,
    told_errors,
)
from ednabed.dashboard.settings import settings
from ednabed.dashboard.texts import bytes_text, plain
from ednabed.dashboard.views.export import show_export
from ednabed.errors import UsageError
from ednabed.models.catalog import DEFAULT_MODEL
from ednabed.reference import layout
from ednabed.sequences import read_labels, read_samples
from ednabed.store.files import check_name
from ednabed.store.version_file import Versions
from ednabed.store.versions import auto_tag, register

KIND = "studies"


def show() -> None:
    """Show the page."""
    st.title("Studies")
    workspace = settings().workspace
    runs = run_states(workspace)
    references = reference_states(workspace)
    _numbers(runs, references)
    _work()
    with told_errors():
        _runs(runs)
    with told_errors():
        _references(references)
    with told_errors():
        _actions(runs, references)
    with told_errors():
        _table()


def _numbers(runs: list[RunState], references: list[ReferenceState]) -> None:
    sound = [run for run in runs if run.info.fault is None]
    waiting = [run for run in runs if run.in_reference is False]
    own = next((r for r in references if r.name is None and r.manifest is not None), None)
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
    sizes = manager().storage(measure=False)
    last.metric("Storage", bytes_text(sizes["runs_bytes"] + sum(sizes["references"].values()) + sizes["table_bytes"]))
    broken = [run for run in runs if run.info.fault is not None]
    for run in broken[:10]:
        st.error(f"**{plain(f'{run.info.dataset}/{run.info.run_id}')} is broken:** {plain(str(run.info.fault))}")
    if len(broken) > 10:
        st.error(f"… and {len(broken) - 10:,} more runs are broken; the table tells which.")
    for reference in references:
        if reference.fault is not None:
            st.error(f"**{plain(reference.address)} is broken:** {plain(reference.fault)}")
    fault = versions_fault(settings().workspace)
    if fault is not None:
        st.error(plain(fault))


def _work() -> None:
    found = [job for job in jobs().list() if job.about.get("kind") == KIND]
    asked = st.query_params.get("job")
    for job in found:
        if job.state in ACTIVE or job.id == asked:
            job_panel(job)


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
            "vectors": [bytes_text(run.info.bytes) for run in runs],
            "health": ["broken" if run.info.fault else "opens" for run in runs],
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
            "size": [bytes_text(sum(e["bytes"] for e in manifest.files.values())) for _, manifest in whole],
        }
    )


def _table() -> None:
    if not (settings().workspace / "data" / "lancedb").is_dir():
        return
    st.header("Table of sequences")
    with st.spinner("Counting the rows of the table …"):
        state = table_state(settings().workspace)
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
    st.markdown("Sequences (FASTA, FASTQ, TSV, CSV, Parquet; also .gz or .zst) become a run of a dataset.")
    with st.form("add", border=False):
        files = st.file_uploader("Sequence files", accept_multiple_files=True, key="add_files")
        labels = st.file_uploader(
            "Names of the sequences (TSV or CSV with id and lineage), if they have any", key="add_labels"
        )
        samples = st.file_uploader(
            "What is known of the samples (TSV or CSV: sample, latitude, longitude, date, …), if anything",
            key="add_samples",
        )
        dataset = st.text_input("Name of the dataset", placeholder="lake_2026")
        begin = st.form_submit_button("Embed", type="primary")
    if not begin:
        return
    if not files or not dataset.strip():
        raise UsageError("choose at least one file, and name the dataset")
    check_name("dataset", dataset.strip())
    arguments = ["embed", "--dataset", dataset.strip(), "--model", DEFAULT_MODEL]
    with draft() as folder:
        paths = keep_uploads(folder / "inputs", files)
        records = count_records(paths, [file.name for file in files])
        if labels is not None:
            named = keep_uploads(folder / "inputs", [labels], len(files) + 1)[0]
            with called(named, labels.name):
                read_labels(named)
            arguments += ["--labels", str(named)]
        if samples is not None:
            known = keep_uploads(folder / "inputs", [samples], len(files) + 2)[0]
            with called(known, samples.name):
                read_samples(known)
            arguments += ["--samples", str(known)]
    title = f"Embed {dataset.strip()} ({records:,} records)"
    about = {"kind": KIND, "records": records}
    show_started(jobs().start(title, [*arguments, *map(str, paths)], about=about, folder=folder))


def _consolidate(references: list[ReferenceState]) -> None:
    st.markdown(
        "Makes one reference of the runs of this workspace. Where records are labelled it then learns what its answers "
        "are worth (calibration), which takes some minutes for large ones."
    )
    anew = st.toggle("From scratch, of the runs that are here now", key="consolidate_anew")
    calibrate = st.toggle("Calibrate", value=True, key="consolidate_calibrate")
    left, right = st.columns(2)
    if left.button("Consolidate", type="primary"):
        arguments = ["consolidate", "--rebuild" if anew else "--incremental"]
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
    looked = any(
        job.state == "done" and job.arguments == ["compress", *choice]
        for job in jobs().list()
        if job.about.get("kind") == KIND
    )
    told = None if looked else "Ask first what it would save with this choice"
    if do.button("Compress", type="primary", disabled=not looked, help=told):
        _start("Compress", ["compress", *choice, "--execute"])


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
        labels = [f"{run.info.dataset}/{run.info.run_id}" for run in sound]
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
