"""The sequences of a reference, or of individual runs, as points: which are near each other, and what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import streamlit as st

from ednabed.dashboard.job import Job
from ednabed.dashboard.mapping import MAX_ALL_POINTS, MAX_POINTS, Mapped, chosen_rows, draw_map, map_of, map_of_runs
from ednabed.dashboard.parts import choose_reference, file_bytes, jobs_of, show_table, shown_errors, sound_runs
from ednabed.dashboard.settings import settings
from ednabed.dashboard.texts import literal
from ednabed.dashboard.views.discover import KIND as DISCOVER
from ednabed.dashboard.views.discover import members_of
from ednabed.reference.parts import keys_of
from ednabed.sequences.lineage import RANKS
from ednabed.workflows.exports import FORMATS, WITH_NAMES, export_records
from ednabed.workflows.names import NONE, find_assignments

_REFERENCE, _RUNS = "a reference", "individual runs"
_NAMES: Mapping[str, str | None] = {"newest assignments of each run": None, "names of the records only": NONE}
_NOVELTY = "novelty, by "
_MAX_LISTED = 1_000


def show() -> None:
    """Show the page."""
    st.title("Map")
    with shown_errors():
        found = _chosen()
        if found is not None:
            _draw(found)


def _chosen() -> Mapped | None:
    runs = sound_runs()
    source = st.radio("Map of", [_REFERENCE, _RUNS], horizontal=True, key="map_source") if runs else _REFERENCE
    if source == _REFERENCE:
        state = choose_reference("map_reference")
        return None if state is None else map_of(state, _names())
    chosen = st.multiselect("Runs", runs, default=runs[:1], key="map_runs")
    return map_of_runs(chosen, _names()) if chosen else None


def _names() -> str | None:
    """Return which assignments name the points (``names.find_assignments``)."""
    choice = st.selectbox(
        "Names", list(_NAMES), key="map_names",
        help="Sequences whose records have no names get those that 'ednabed classify --run', or the page Identify, "
        "kept next to their run.",
    )  # fmt: skip
    return _NAMES[choice]


def _draw(found: Mapped) -> None:
    facts = found.facts
    left, middle, right, last = st.columns([3, 3, 4, 2], vertical_alignment="bottom")
    novelty = {f"{_NOVELTY}{job.title}, {job.created:%Y-%m-%d %H:%M}": job for job in _discoveries()}
    choices = [*reversed(RANKS), "dataset", "marker", "cluster of points", *novelty]
    colour = left.selectbox("Colour by", choices, index=choices.index("class"), key="map_colour")
    part = middle.text_input("Show names or ids that contain", key="map_sought").strip()
    runs = right.multiselect("Runs (none chosen: all)", facts.runs, key="map_in_runs") if len(facts.runs) > 1 else []
    draw_all = last.toggle(
        "All points", key="map_all", help=f"Draw up to {MAX_ALL_POINTS:,} points, which takes longer."
    )
    selected = np.ones(found.collection.rows, bool)
    if runs:
        selected &= facts.in_runs(runs)
    if part:
        selected &= _containing(found, part)
    rows = chosen_rows(found, selected, MAX_ALL_POINTS if draw_all else MAX_POINTS)
    if not len(rows):
        st.info("No sequence on the map matches.")
        return
    values = _values(found, colour, novelty)
    # A browser sends back all data of the selected points, and Streamlit accepts 25 MB.
    selecting = len(rows) <= MAX_POINTS
    key = "map_plot" if selecting else "map_plot_all"
    chart = draw_map(found, key=key, values=values, rows=rows, selecting=selecting)
    if not selecting:
        st.caption(f"To select points, draw at most {MAX_POINTS:,}: switch *All points* off, or filter by name or run.")
    _legend(found, len(rows), int((found.on_map & selected).sum()))
    points = chart.selection["points"] if selecting else []
    picked = sorted({row for point in points for row in np.ravel(point.get("customdata", ())).tolist()})
    with shown_errors():
        _picked(found, np.array(picked, np.int64))


def _discoveries() -> list[Job]:
    return [job for job in jobs_of(DISCOVER) if job.state == "done"]


def _values(found: Mapped, colour: str, novelty: Mapping[str, Job]) -> Sequence[str]:
    """Return the value by which each row is coloured."""
    facts = found.facts
    if colour in RANKS:
        return facts.names(colour)
    if colour == "dataset":
        return [facts.datasets[number] for number in facts.dataset.tolist()]
    if colour == "marker":
        return [facts.markers[number] for number in facts.marker.tolist()]
    if colour == "cluster of points":
        return [f"group {number + 1}" if number >= 0 else "" for number in found.clusters.tolist()]
    members = members_of(novelty[colour])
    digests = list(members)
    pairs = zip(keys_of(digests).tolist(), (members[digest] for digest in digests), strict=True) if digests else ()
    groups = dict(pairs)
    return [groups.get(key, "") for key in found.collection.keys.tolist()]


def _containing(found: Mapped, text: str) -> npt.NDArray[np.bool_]:
    """Return whether the lineage or id of each row contains a text, ignoring case; bool, shape (rows,)."""
    part = text.lower()
    in_lineage = np.array([part in ";".join(lineage).lower() for lineage in found.facts.lineages] + [False])
    in_id = np.array([part in name.lower() for name in found.ids], bool)
    return np.asarray(in_lineage[found.facts.lineage] | in_id, bool)


def _legend(found: Mapped, drawn: int, matching: int) -> None:
    sampled = "" if drawn == matching else (
        f" {drawn:,} of {matching:,} points are drawn: those with the smallest sequence hashes, a random sample that "
        "is always the same."
    )  # fmt: skip
    st.caption(
        literal(f"{found.map.method}, laid out {found.map.created[:10]}. {found.map.rule}")
        + sampled
        + " Sequences that are near each other on the map mostly have similar vectors; large distances mean little. "
        "Draw a lasso or a box around points to list and export them; double-click to clear the selection."
    )


def _picked(found: Mapped, rows: npt.NDArray[np.int64]) -> None:
    if not len(rows):
        return
    facts = found.facts
    st.header(f"{len(rows):,} sequences selected")
    shown = rows[:_MAX_LISTED]
    lineages = [facts.lineages[number] if number >= 0 else ("",) * 7 for number in facts.lineage[shown].tolist()]
    show_table(
        {
            "id": found.ids[shown].tolist(),
            **{rank: [lineage[level] for lineage in lineages] for level, rank in enumerate(RANKS)},
            "dataset": [facts.datasets[number] for number in facts.dataset[shown].tolist()],
            "records": facts.records[shown].tolist(),
            "reads": facts.reads[shown].tolist(),
        },
        key="map_picked",
    )
    if len(rows) > len(shown):
        st.caption(f"The table shows the first {len(shown):,}; exports contain all.")

    assignments = _NAMES[st.session_state["map_names"]]

    def written(format_: str) -> bytes:
        def write(path: Path) -> None:
            named = format_ in WITH_NAMES
            assigned = find_assignments(found.collection, settings().workspace, assignments) if named else None
            export_records(found.collection, path, format_, rows=rows, assigned=assigned)

        return file_bytes(f"selection{FORMATS[format_][0]}", write)

    for column, name in zip(st.columns([1, 1, 1, 3]), ("fasta", "tsv", "parquet"), strict=False):
        column.download_button(
            name.upper(), partial(written, name), f"selection{FORMATS[name][0]}", on_click="ignore",
            width="stretch", key=f"map_export_{name}",
        )  # fmt: skip
