"""What is it? Files against a labelled reference: names with confidences, and the composition of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from ednabed.dashboard.inputs import choose_inputs
from ednabed.dashboard.job import Job
from ednabed.dashboard.parts import (
    choose_job,
    choose_reference,
    job_panel,
    jobs,
    jobs_of,
    show_started,
    show_table,
    shown_errors,
)
from ednabed.dashboard.plots import MAX_GROUPS, composition, lines, others
from ednabed.dashboard.results import UNNAMED, SampleReads, read_assignments, read_sample_table
from ednabed.dashboard.texts import arrows, deepest_name, literal
from ednabed.export.assignments import converted
from ednabed.export.spreadsheet import for_spreadsheets
from ednabed.sequences.lineage import RANKS
from ednabed.store.assignment import STATUSES
from ednabed.taxonomy.diversity import Diversity, diversity, rarefaction_curve

KIND = "identify"
ASSIGNMENTS, TAXA = "assignments.jsonl", "taxa.tsv"
_MAX_ROWS = 10_000
_MAX_CURVES = 30
_POINTS = 40
_FEW_READS = 1_000
_GUESS_COLUMNS = ["rank", *(f"{rank}_{part}" for rank in RANKS for part in ("best", "confidence"))]


def show() -> None:
    """Show the page."""
    st.title("Identify")
    with st.expander("Identify sequences", expanded=not jobs_of(KIND)), shown_errors():
        _begin()
    job = choose_job(KIND, "Results")
    if job is None:
        return
    if job_panel(job):
        with shown_errors():
            _results(job)


def _begin() -> None:
    state = choose_reference("identify_reference")
    if state is None:
        return
    if not state.calibrated:
        st.warning(
            "This reference is not calibrated: names are assigned by fixed identity thresholds, without confidences, "
            "and missing taxa are not reported. The page Studies has a button that calibrates a reference with at "
            "least 200 labelled sequences."
        )
    confidence = 0.8
    if state.calibrated:
        confidence = st.slider("Minimum confidence of a name", 0.5, 0.99, 0.8, 0.01, key="identify_confidence")
    inputs = choose_inputs("identify")
    if inputs is None:
        return
    folder = inputs.folder / "results"
    folder.mkdir()
    source = list(map(str, inputs.paths)) if inputs.run is None else ["--run", inputs.run]
    arguments = ["classify", *source, "--reference", state.address, "--min-confidence", str(confidence)]
    arguments += ["--output", str(folder / ASSIGNMENTS), "--taxon-table", str(folder / TAXA)]
    if inputs.counts is not None:
        arguments += ["--abundance", str(inputs.counts)]
    about = {"kind": KIND, "reference": state.address, "records": inputs.records}
    show_started(jobs().start(f"Identify {inputs.title}", arguments, about=about, folder=inputs.folder))


def _results(job: Job) -> None:
    folder = job.folder / "results"
    found = _assignments(str(folder / ASSIGNMENTS))
    st.caption(literal(f"Compared with the reference {job.about.get('reference')}."))
    counts = {row["values"]: row["counts"] for row in pc.value_counts(found.column("status")).to_pylist()}
    numbers = {"Queries": found.num_rows} | {_status_text(name).capitalize(): counts.get(name, 0) for name in STATUSES}
    for column, (name, value) in zip(st.columns(len(numbers)), numbers.items(), strict=True):
        column.metric(name, f"{value:,}")
    names, samples = st.tabs(["Names", "Samples"])
    with names, shown_errors():
        _names(found, folder)
    with samples, shown_errors():
        _samples(folder)


@st.cache_resource(max_entries=4, show_spinner="Reading the results …")
def _assignments(path: str) -> pa.Table:
    return read_assignments(Path(path))


def _names(found: pa.Table, folder: Path) -> None:
    left, middle, right, last = st.columns(4)
    rank = left.selectbox("Named at least to", ["any rank or none", *RANKS], key="identify_rank")
    minimum = middle.slider("Minimum confidence", 0.0, 1.0, 0.0, 0.01, key="identify_least")
    status = right.multiselect("Status", STATUSES, format_func=_status_text, key="identify_status")
    part = last.text_input("Name, guess or id contains", key="identify_part").strip()
    kept = filtered(found, None if rank.startswith("any") else rank, minimum, status, part)
    st.caption(f"{kept.num_rows:,} of {found.num_rows:,} queries" + (
        f"; the table shows the first {_MAX_ROWS:,}" if kept.num_rows > _MAX_ROWS else ""))  # fmt: skip
    shown = kept.slice(0, _MAX_ROWS)
    show_table(columns_of(shown), key="identify_table")
    st.caption(
        "Guess: the best guess below the name given, withheld because equally near sequences disagree (tie), or "
        "because its confidence, identity or coverage is too low. Not in reference: the broadest rank whose taxon the "
        "reference lacks; q is the share of claims at least as strong that is expected to be wrong."
    )
    one, two, three, _ = st.columns([1, 1, 1, 3])
    one.download_button("TSV", lambda: _as_tsv(folder), "assignments.tsv", on_click="ignore", width="stretch")
    two.download_button(
        "QIIME 2", lambda: _as_qiime2(folder), "taxonomy.tsv", on_click="ignore", width="stretch"
    )  # fmt: skip
    three.download_button(
        "JSON lines", lambda: (folder / ASSIGNMENTS).read_bytes(), ASSIGNMENTS, on_click="ignore", width="stretch"
    )


def columns_of(found: pa.Table) -> dict[str, list[Any]]:
    """Return the columns of the table of names, by heading.

    Args:
        found: Assignments from ``read_assignments``.
    """
    guesses = [_guess(row) for row in found.select(_GUESS_COLUMNS).to_pylist()]
    return {
        "id": found.column("id").to_pylist(),
        "status": [_status_text(value) for value in found.column("status").to_pylist()],
        "rank": [value or "" for value in found.column("rank").to_pylist()],
        "name": [deepest_name(value) for value in found.column("lineage").to_pylist()],
        "confidence": _round(found.column("confidence"), 3),
        "guess": [name for name, _ in guesses],
        "guess confidence": [None if confidence is None else round(confidence, 3) for _, confidence in guesses],
        "withheld": [value or "" for value in found.column("withheld").to_pylist()],
        "not in reference": [value or "" for value in found.column("novel_rank").to_pylist()],
        "q": _round(found.column("novel_q"), 4),
        "note": found.column("note").to_pylist(),
        "identity %": _round(found.column("identity"), 1),
        "coverage %": _round(found.column("coverage"), 0),
        "lineage": [arrows(value) for value in found.column("lineage").to_pylist()],
        "nearest": [arrows(value) for value in found.column("nearest_lineage").to_pylist()],
    }


def _guess(row: Mapping[str, Any]) -> tuple[str, float | None]:
    """Return the first guess below the names given, which was withheld, and its confidence; empty if there is none."""
    first = 0 if row["rank"] is None else RANKS.index(row["rank"]) + 1
    for rank in RANKS[first:]:
        if row[f"{rank}_best"]:
            return row[f"{rank}_best"], row[f"{rank}_confidence"]
    return "", None


def _status_text(status: str) -> str:
    return status.replace("_", " ")


def filtered(found: pa.Table, rank: str | None, minimum: float, status: Sequence[str], part: str) -> pa.Table:
    """Return the queries that match all criteria.

    Args:
        found: Assignments from ``read_assignments``.
        rank: Rank at which a name is given; None takes all.
        minimum: Minimum confidence at that rank (None: of the deepest name); 0 also takes queries without a confidence.
        status: Statuses; empty takes all.
        part: Text that the id, the lineage or a best guess contains, ignoring case; empty takes all.
    """
    if rank is not None:
        found = found.filter(pc.is_valid(found.column(f"{rank}_given")))
    if minimum > 0:
        confidence = found.column("confidence" if rank is None else f"{rank}_confidence")
        found = found.filter(pc.fill_null(pc.greater_equal(confidence, minimum), False))
    if status:
        found = found.filter(pc.is_in(found.column("status"), pa.array(status)))
    if part:
        matches = [
            pc.fill_null(pc.match_substring(found.column(name), part, ignore_case=True), False)
            for name in ("id", "lineage", *(f"{rank}_best" for rank in RANKS))
        ]
        found = found.filter(reduce(pc.or_, matches))
    return found


def _round(column: pa.ChunkedArray, digits: int) -> list[float | None]:
    return [None if value is None else round(value, digits) for value in column.to_pylist()]


def _as_tsv(folder: Path) -> bytes:
    return for_spreadsheets(converted(folder / ASSIGNMENTS, "tsv"))


def _as_qiime2(folder: Path) -> bytes:
    return converted(folder / ASSIGNMENTS, "qiime2").encode()


# -- samples -----------------------------------------------------------------------------------------------------------


@st.cache_resource(max_entries=4, show_spinner=False)
def _sample_reads(path: str) -> SampleReads:
    return read_sample_table(Path(path))


@st.cache_data(max_entries=50, show_spinner="Computing the diversity …")
def _diversity(path: str, rank: str, depth: int | None) -> tuple[Diversity, dict[str, tuple[list[int], list[float]]]]:
    """Return the diversity of the samples, and the rarefaction curves of those with the most reads."""
    found = _sample_reads(path)
    named = _named(*found.by_rank(rank))
    totals = named.sum(axis=0)
    curves = {}
    for sample in np.argsort(-totals, kind="stable")[:_MAX_CURVES].tolist():
        if totals[sample]:
            # Dense at the beginning, where the curve bends.
            depths = np.unique(np.geomspace(1, int(totals[sample]), _POINTS).astype(np.int64))
            richness = rarefaction_curve(named[:, sample], depths).richness
            curves[found.samples[sample]] = (depths.tolist(), richness.tolist())
    return diversity(named.T, depth), curves


def _named(labels: list[str], reads: Any) -> Any:
    return reads[:-1] if labels and labels[-1] == UNNAMED else reads


def _samples(folder: Path) -> None:
    found = _sample_reads(str(folder / TAXA))
    if not found.reads.size:
        st.info("No query was counted in a sample.")
        return
    left, middle, right = st.columns(3)
    rank = left.selectbox("Rank", RANKS, index=RANKS.index("family"), key="identify_samples_rank")
    share = middle.radio("Bars", ["share of reads", "reads"], horizontal=True, key="identify_bars") == "share of reads"
    labels, reads = found.by_rank(rank)
    bars, sums = grouped(labels, reads)
    st.plotly_chart(composition(found.samples, bars, sums, share=share), width="stretch", key="identify_composition")
    if found.samples == ["no_sample"]:
        st.caption("The records do not name samples, and no count table was given, so all reads are in one sample.")
    st.subheader("Diversity")
    named = _named(labels, reads)
    if not named.any():
        st.info(f"No read has a name at the rank {rank}.")
        return
    totals = named.sum(axis=0)
    # A sample with few reads, often a blank, would rarefy all others to its own depth.
    large = totals[totals >= _FEW_READS]
    smallest = int(large.min()) if len(large) else int(totals[totals > 0].min())
    depth = int(
        right.number_input("Rarefaction depth (reads)", 1, int(totals.max()), smallest, key=f"identify_depth_{rank}")
    )
    result, curves = _diversity(str(folder / TAXA), rank, depth)
    all_reads = found.reads.sum(axis=0)
    show_table(
        {
            "sample": found.samples,
            "reads": all_reads.tolist(),
            f"reads named to {rank}": result.reads.tolist(),
            "richness": result.richness.tolist(),
            "Shannon": _rounded(result.shannon),
            "Simpson": _rounded(result.simpson),
            "rarefied richness": _rounded(result.rarefied.richness),
            "rarefied Shannon": _rounded(result.rarefied.shannon),
            "rarefied Simpson": _rounded(result.rarefied.simpson),
        },
        key="identify_diversity",
    )
    st.caption(
        f"Taxa at the rank {rank}; reads without a name at that rank are omitted. Shannon in nats; Simpson is 1 - Σp². "
        f"Rarefied: the exact expectation for {depth:,} reads drawn without replacement (Hurlbert 1971, Chao et al. "
        "2014), computed without random draws; None if a sample has fewer."
    )
    st.plotly_chart(lines(curves, "reads", f"expected richness ({rank})"), width="stretch", key="identify_rarefaction")
    if (totals > 0).sum() > _MAX_CURVES:
        st.caption(f"Curves of the {_MAX_CURVES} samples with the most reads.")
    left.download_button(
        "Samples by taxa (TSV)", lambda: for_spreadsheets((folder / TAXA).read_text(encoding="utf-8")), TAXA,
        on_click="ignore",
    )  # fmt: skip


def grouped(labels: list[str], reads: Any) -> tuple[list[str], Any]:
    """Combine the taxa with few reads, so that the colours of the bars can be distinguished.

    Returns:
        Names of the bars, and their reads, int64, shape (bars, samples).
    """
    unnamed = bool(labels) and labels[-1] == UNNAMED
    named = len(labels) - unnamed
    if named <= MAX_GROUPS:
        return labels, reads
    rest = reads[MAX_GROUPS:named].sum(axis=0, keepdims=True)
    parts = [reads[:MAX_GROUPS], rest, reads[named:]]
    names = [*labels[:MAX_GROUPS], others(named - MAX_GROUPS), *labels[named:]]
    return names, np.concatenate(parts)


def _rounded(values: Any) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 3) for value in values]
