"""Is it new? Groups of sequences that are not in a reference, with their cards and their positions on the map."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import streamlit as st

from ednabed.base.arrays import FloatArray
from ednabed.dashboard.inputs import choose_inputs
from ednabed.dashboard.job import Job
from ednabed.dashboard.mapping import Mapped, draw_map, map_of
from ednabed.dashboard.parts import (
    choose_job,
    choose_reference,
    job_panel,
    jobs,
    jobs_of,
    reference_at,
    show_started,
    show_table,
    shown_errors,
)
from ednabed.dashboard.plots import figure_text
from ednabed.dashboard.results import read_candidates, read_members, read_representatives
from ednabed.dashboard.texts import arrows, literal
from ednabed.export.discovery import FILES
from ednabed.export.spreadsheet import for_spreadsheets

KIND = "discover"
RESULTS = "discovery"
CARDS = 12
"""Number of cards per page."""
MAX_PLACED = 500
"""Maximum number of groups placed on the map, those with the most reads."""


def show() -> None:
    """Show the page."""
    st.title("Discover")
    with st.expander("Look for new taxa", expanded=not jobs_of(KIND)), shown_errors():
        _begin()
    job = choose_job(KIND, "Results")
    if job is not None and job_panel(job):
        with shown_errors():
            _results(job)


def _begin() -> None:
    state = choose_reference("discover_reference", calibrated=True)
    if state is None:
        return
    alpha = st.slider("Maximum false discovery rate of claims of absence", 0.01, 0.20, 0.05, 0.01, key="discover_alpha")
    inputs = choose_inputs("discover")
    if inputs is None:
        return
    arguments = ["discover", *map(str, inputs.paths), "--reference", state.address, "--alpha", str(alpha)]
    arguments += ["--output", str(inputs.folder / RESULTS)]
    if inputs.counts is not None:
        arguments += ["--abundance", str(inputs.counts)]
    about = {"kind": KIND, "reference": state.address, "records": inputs.records, "alpha": alpha}
    show_started(jobs().start(f"Discover in {inputs.title}", arguments, about=about, folder=inputs.folder))


def _results(job: Job) -> None:
    folder = job.folder / RESULTS
    candidates = read_candidates(folder)
    taxa = [group for group in candidates if group["candidate"] == "yes"]
    left, middle, right = st.columns(3)
    left.metric("Groups not in the reference", f"{len(candidates):,}")
    middle.metric("Candidate taxa", f"{len(taxa):,}")
    right.metric("Reads in the groups", f"{sum(int(group['reads']) for group in candidates):,}")
    st.caption(
        literal(f"Compared with the reference {job.about.get('reference')}. ")
        + "A group is a *candidate* if its genus, or a broader taxon, is not in the reference; if only its species is "
        "absent, it may be a described one. Each card shows how much of the taxon above the reference has."
    )
    if not candidates:
        st.info("No sequence was found to be absent from the reference.")
        return
    cards, overview, on_map = st.tabs(["Cards", "All in a table", "On the map"])
    with cards, shown_errors():
        _cards(candidates, folder)
    with overview, shown_errors():
        _table(candidates, folder)
    with on_map, shown_errors():
        # Streamlit runs all tabs at every click, and a large model is slow to load.
        if st.toggle("Place the groups on the map of the reference", key="discover_place"):
            _map(job, candidates, folder)


def _cards(candidates: list[dict[str, str]], folder: Path) -> None:
    representatives = read_representatives(folder)
    left, middle, right = st.columns(3)
    without_warnings = left.toggle("Without warnings only", key="discover_unwarned")
    candidates_only = middle.toggle("Candidates only", key="discover_only")
    shown = [
        group
        for group in candidates
        if not (without_warnings and group["warnings"]) and not (candidates_only and group["candidate"] != "yes")
    ]
    pages = max(1, math.ceil(len(shown) / CARDS))
    page = int(right.number_input(f"Page of {pages}", 1, pages, 1, key="discover_page"))
    columns = st.columns(2)
    for number, group in enumerate(shown[(page - 1) * CARDS : page * CARDS]):
        with columns[number % 2].container(border=True):
            _card(group, representatives.get(group["id"], ""))


def _card(group: dict[str, str], bases: str) -> None:
    within = arrows(group["lineage"]) or "no named taxon"
    claim = f"{group['novel_rank']} not in the reference, within {within}"
    st.markdown(f"**{literal(group['id'])}**{' (candidate)' if group['candidate'] == 'yes' else ''}: {literal(claim)}")
    p, q = float(group["p"]), float(group["q"])
    st.markdown(literal(f"p {p:.3g}, q {q:.3g} (of the {group['novel_rank']})"))
    if group["parent"]:
        genera, species, known = (int(group[f"parent_{what}"]) for what in ("genera", "species", "sequences"))
        st.markdown(
            literal(
                f"The reference has {genera:,} genera, {species:,} species, {known:,} sequences of {group['parent']}"
            )
        )
    sequences, reads, samples = (int(group[name] or 0) for name in ("sequences", "reads", "samples"))
    size = f"{reads:,} reads, {sequences:,} distinct sequences"
    st.markdown(literal(size + (f", in {samples:,} samples" if samples else "")))
    identity = f"{float(group['identity']):.1f} % identical" if group["identity"] else "not aligned"
    nearest = arrows(group["nearest_lineage"]) or "nothing"
    st.markdown(f"Nearest named: {literal(nearest)} ({literal(group['nearest_id'])}), {identity}")
    if group["warnings"]:
        st.warning(literal(group["warnings"]))
    if group["sample_reads"]:
        st.caption(literal("Reads by sample: " + group["sample_reads"].replace(";", ", ").replace("=", " ")))
    with st.expander("Representative"):
        st.code(f">{group['representative']}\n{bases}", language=None, wrap_lines=True)


def _table(candidates: list[dict[str, str]], folder: Path) -> None:
    numbers = {"sequences", "records", "reads", "samples", "length", "identity", "coverage", "p", "q", "species_p",
               "species_q", "parent_genera", "parent_species", "parent_sequences"}  # fmt: skip
    shown = [
        *("id", "candidate", "novel_rank", "lineage", "p", "q", "parent", "parent_genera", "parent_species"),
        *("parent_sequences", "reads", "sequences", "samples", "nearest_lineage", "nearest_id", "identity", "coverage"),
        *("species_p", "species_q", "length", "representative", "warnings"),
    ]
    columns = {
        name: [float(group[name]) if group[name] else None for group in candidates]
        if name in numbers
        else [group[name] for group in candidates]
        for name in shown
    }
    show_table(columns, key="discover_table")
    for column, name in zip(st.columns(len(FILES)), FILES, strict=True):
        path = folder / name
        column.download_button(
            name, partial(_bytes, path), name, on_click="ignore", width="stretch", key=f"discover_{name}"
        )


def _bytes(path: Path) -> bytes:
    return for_spreadsheets(path.read_text(encoding="utf-8")) if path.suffix == ".tsv" else path.read_bytes()


def _map(job: Job, candidates: list[dict[str, str]], folder: Path) -> None:
    state = reference_at(str(job.about.get("reference")))
    found = map_of(state)
    if found is None:
        return
    placed = candidates[:MAX_PLACED]
    positions = _positions(found.key, str(folder), len(placed), found)
    hover_texts = [
        f"<b>{figure_text(group['id'])}</b>, {int(group['reads']):,} reads<br>"
        f"{figure_text(group['novel_rank'])} not in the reference<br>"
        f"nearest: {figure_text(arrows(group['nearest_lineage']))}, {figure_text(group['identity'])} %"
        for group in placed
    ]
    draw_map(found, key="discover_map", marked=(positions, hover_texts, "groups not in the reference"))
    if len(candidates) > len(placed):
        st.caption(f"Only the {len(placed):,} groups with the most reads are shown.")
    st.caption(
        "The position of a group is the mean of the positions of its nearest sequences in the reference, weighted by "
        "similarity. Distances on the map are not measurements; the cards have those."
    )


@st.cache_data(max_entries=10, show_spinner="Placing the groups …")
def _positions(key: str, folder: str, maximum: int, _found: Mapped) -> FloatArray:
    representatives = read_representatives(Path(folder))
    placed = read_candidates(Path(folder))[:maximum]
    return _found.coordinates_of([representatives[group["id"]] for group in placed])[0]


def members_of(job: Job) -> dict[str, str]:
    """Return the sequences that a discovery found to be absent from the reference: digest to id of the group."""
    return {member["digest"]: member["candidate"] for member in read_members(job.folder / RESULTS)}
