"""Is it new? Groups of sequences that are not in a reference, with their cards and their place on the map."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import streamlit as st

from ednabed.api.results import read_candidates, read_members, read_representatives
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
    table,
    told_errors,
)
from ednabed.dashboard.plots import text
from ednabed.dashboard.texts import arrows, plain
from ednabed.export.discovery import FILES
from ednabed.export.spreadsheet import for_spreadsheets
from ednabed.models.base import FloatArray

KIND = "discover"
RESULTS = "discovery"
CARDS = 12
"""Cards on a page."""
MOST_PLACED = 500
"""Groups, those with most reads, that are placed on the map."""


def show() -> None:
    """Show the page."""
    st.title("Discover")
    with st.expander("Look for what is new", expanded=not jobs_of(KIND)), told_errors():
        _begin()
    job = choose_job(KIND, "Results")
    if job is not None and job_panel(job):
        with told_errors():
            _results(job)


def _begin() -> None:
    state = choose_reference("discover_reference", calibrated=True)
    if state is None:
        return
    alpha = st.slider(
        "Largest false discovery rate of a claim of absence", 0.01, 0.20, 0.05, 0.01, key="discover_alpha"
    )
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
    chosen = [one for one in candidates if one["candidate"] == "yes"]
    left, middle, right = st.columns(3)
    left.metric("Groups not in the reference", f"{len(candidates):,}")
    middle.metric("Candidate taxa", f"{len(chosen):,}")
    right.metric("Reads in the groups", f"{sum(int(one['reads']) for one in candidates):,}")
    st.caption(
        plain(f"By the reference {job.about.get('reference')}. ")
        + "A group is a *candidate* where its genus, or a broader taxon, is not in the reference; where only its "
        "species is absent, it may be a described one. Each card shows how much of the taxon the reference has."
    )
    if not candidates:
        st.info("No sequence was found to be absent from the reference.")
        return
    cards, every, place = st.tabs(["Cards", "All in a table", "On the map"])
    with cards, told_errors():
        _cards(candidates, folder)
    with every, told_errors():
        _table(candidates, folder)
    with place, told_errors():
        # All tabs are made at every click, and a large model takes its time.
        if st.toggle("Place the groups on the map of the reference", key="discover_place"):
            _map(job, candidates, folder)


def _cards(candidates: list[dict[str, str]], folder: Path) -> None:
    letters = read_representatives(folder)
    left, middle, right = st.columns(3)
    unwarned = left.toggle("Without warnings only", key="discover_unwarned")
    only = middle.toggle("Candidates only", key="discover_only")
    shown = [
        one for one in candidates if not (unwarned and one["warnings"]) and not (only and one["candidate"] != "yes")
    ]
    pages = max(1, math.ceil(len(shown) / CARDS))
    page = int(right.number_input(f"Page of {pages}", 1, pages, 1, key="discover_page"))
    columns = st.columns(2)
    for number, one in enumerate(shown[(page - 1) * CARDS : page * CARDS]):
        with columns[number % 2].container(border=True):
            _card(one, letters.get(one["id"], ""))


def _card(one: dict[str, str], letters: str) -> None:
    within = arrows(one["lineage"]) or "no named taxon"
    said = f"{one['novel_rank']} not in the reference, within {within}"
    st.markdown(f"**{plain(one['id'])}**{' (candidate)' if one['candidate'] == 'yes' else ''}: {plain(said)}")
    p, q = float(one["p"]), float(one["q"])
    st.markdown(plain(f"p {p:.3g}, q {q:.3g} (of the {one['novel_rank']})"))
    if one["parent"]:
        genera, species, held = (int(one[f"parent_{what}"]) for what in ("genera", "species", "sequences"))
        st.markdown(
            plain(f"The reference has {genera:,} genera, {species:,} species, {held:,} sequences of {one['parent']}")
        )
    sequences, reads, samples = (int(one[name] or 0) for name in ("sequences", "reads", "samples"))
    first = f"{reads:,} reads, {sequences:,} distinct sequences"
    st.markdown(plain(first + (f", in {samples:,} samples" if samples else "")))
    identity = f"{float(one['identity']):.1f} % identical" if one["identity"] else "not aligned"
    nearest = arrows(one["nearest_lineage"]) or "nothing"
    st.markdown(f"Nearest named: {plain(nearest)} ({plain(one['nearest_id'])}), {identity}")
    if one["warnings"]:
        st.warning(plain(one["warnings"]))
    if one["sample_reads"]:
        st.caption(plain("Reads by sample: " + one["sample_reads"].replace(";", ", ").replace("=", " ")))
    with st.expander("Representative"):
        st.code(f">{one['representative']}\n{letters}", language=None, wrap_lines=True)


def _table(candidates: list[dict[str, str]], folder: Path) -> None:
    numbers = {"sequences", "records", "reads", "samples", "length", "identity", "coverage", "p", "q", "species_p",
               "species_q", "parent_genera", "parent_species", "parent_sequences"}  # fmt: skip
    shown = [
        *("id", "candidate", "novel_rank", "lineage", "p", "q", "parent", "parent_genera", "parent_species"),
        *("parent_sequences", "reads", "sequences", "samples", "nearest_lineage", "nearest_id", "identity", "coverage"),
        *("species_p", "species_q", "length", "representative", "warnings"),
    ]
    columns = {
        name: [float(one[name]) if one[name] else None for one in candidates]
        if name in numbers
        else [one[name] for one in candidates]
        for name in shown
    }
    table(columns, key="discover_table")
    for place, name in zip(st.columns(len(FILES)), FILES, strict=True):
        path = folder / name
        place.download_button(
            name, partial(_bytes, path), name, on_click="ignore", width="stretch", key=f"discover_{name}"
        )


def _bytes(path: Path) -> bytes:
    return for_spreadsheets(path.read_text(encoding="utf-8")) if path.suffix == ".tsv" else path.read_bytes()


def _map(job: Job, candidates: list[dict[str, str]], folder: Path) -> None:
    state = reference_at(str(job.about.get("reference")))
    found = map_of(state)
    if found is None:
        return
    chosen = candidates[:MOST_PLACED]
    places = _places(found.key, str(folder), len(chosen), found)
    said = [
        f"<b>{text(one['id'])}</b>, {int(one['reads']):,} reads<br>{text(one['novel_rank'])} not in the reference<br>"
        f"nearest: {text(arrows(one['nearest_lineage']))}, {text(one['identity'])} %"
        for one in chosen
    ]
    draw_map(found, key="discover_map", marked=(places, said, "groups not in the reference"))
    if len(candidates) > len(chosen):
        st.caption(f"The {len(chosen):,} groups with most reads.")
    st.caption(
        "A group is placed at the mean of the places of its nearest sequences of the reference, weighted by "
        "similarity. Distances on the map are no measurements; the cards have those."
    )


@st.cache_data(max_entries=10, show_spinner="Placing the groups …")
def _places(key: str, folder: str, most: int, _found: Mapped) -> FloatArray:
    letters = read_representatives(Path(folder))
    chosen = read_candidates(Path(folder))[:most]
    return _found.place([letters[one["id"]] for one in chosen])[0]


def members_of(job: Job) -> dict[str, str]:
    """Return digest to group of what a discovery found to be absent from the reference."""
    return {one["digest"]: one["candidate"] for one in read_members(job.folder / RESULTS)}
