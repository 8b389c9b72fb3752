"""The map of sequences for the pages: opened once, drawn, and with further sequences placed on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import streamlit as st

from ednabed.api.manager import DataManager
from ednabed.base.arrays import FloatArray
from ednabed.base.text import shortened
from ednabed.dashboard.parts import ACTIVE, cached_reference, facts_of, job_panel, jobs
from ednabed.dashboard.plots import figure_text, groups, sequence_map
from ednabed.dashboard.settings import settings
from ednabed.dashboard.status import ReferenceState
from ednabed.dashboard.texts import arrows, message
from ednabed.engine.embed import Engine
from ednabed.errors import StoreError
from ednabed.maps.sequence_map import SequenceMap
from ednabed.reference import layout
from ednabed.reference.collection import Collection
from ednabed.search.queries import embedder_for
from ednabed.store.assignments import file_names
from ednabed.store.runs import find_run
from ednabed.workflows.maps import read_map, read_runs_map
from ednabed.workflows.names import assignments_state, find_assignments
from ednabed.workflows.points import RowFacts, first_ids, row_facts

KIND = "map"
MAX_POINTS = 50_000
"""Maximum number of points drawn by default."""
_MAX_NAME, _MAX_LINEAGE = 40, 130
MAX_ALL_POINTS = 250_000
"""Maximum number of points sent to a browser."""


@dataclass(frozen=True, eq=False)
class Mapped:
    """A collection with its map.

    Attributes:
        key: Identifies this collection with its build and map.
        collection: The sequences.
        facts: Names, datasets and counts of the rows.
        map: The map.
        positions: Positions on the map, float32, shape (rows, 2); NaN for a row that is not on the map.
        clusters: Clusters, int32, shape (rows,); -1 for none.
        on_map: Whether a row is on the map, bool, shape (rows,).
        ids: Id of the first record of each row, object, shape (rows,).
    """

    key: str
    collection: Collection
    facts: RowFacts
    map: SequenceMap
    positions: FloatArray
    clusters: npt.NDArray[np.int32]
    on_map: npt.NDArray[np.bool_]
    ids: npt.NDArray[np.object_]

    def coordinates_of(self, sequences: Sequence[str]) -> tuple[FloatArray, npt.NDArray[np.float32]]:
        """Place sequences, which need not be in the collection, on the map; see ``SequenceMap.coordinates_of``.

        Raises:
            ModelError: The model of the collection is not installed.
            StoreError: A sequence cannot be embedded.
        """
        embedder = embedder_for(self.collection.spec, self.collection.name)
        vectors, rejected = Engine(embedder).embed([bases.encode() for bases in sequences])
        if rejected:
            raise StoreError(f"sequence {min(rejected) + 1} cannot be embedded: {rejected[min(rejected)]}")
        return self.map.coordinates_of(_landmarks(self.key, self), vectors)


@st.cache_resource(max_entries=2, show_spinner=False)
def _landmarks(key: str, _mapped: Mapped) -> FloatArray:
    return _mapped.map.landmark_vectors(_mapped.collection)


def map_of(state: ReferenceState, assignments: str | None = None) -> Mapped | None:
    """Return a reference with its map; if it has none, show a button that lays it out, and return None.

    If some sequences are not on it, show a button that adds them. Sequences without labelled records get their names
    from assignments (``names.find_assignments``).
    """
    assert state.manifest is not None
    reference = cached_reference(state)
    path = reference.folder / layout.MAP
    arguments = ["reference", "map", "--reference", state.address]
    if not path.is_file():
        _offer(f"Map of {state.address}", arguments, "This reference has no map yet.", "Lay out the map")
        return None
    changed = path.stat().st_mtime_ns
    try:
        workspace = settings().workspace
        files = assignments_state(reference, workspace, assignments)
        build = state.manifest.build
        found = _of_reference(str(workspace), state.address, build, changed, assignments, files, state)
    except StoreError as error:
        st.error(message(str(error)))
        _button(f"Map of {state.address}, again", [*arguments, "--refit"], "Lay it out again")
        return None
    _offer_more(found, f"Map of {state.address}", arguments)
    return found


def map_of_runs(runs: Sequence[str], assignments: str | None = None) -> Mapped | None:
    """Return individual runs with their common map; if they have none, show a button that lays it out."""
    workspace = settings().workspace
    found = read_runs_map(workspace, runs)
    arguments = ["runs", "map", *runs]
    title = f"Map of {runs[0]}" if len(runs) == 1 else f"Map of {len(runs)} runs"
    if found is None:
        _offer(title, arguments, "These runs have no map yet.", "Lay out the map")
        return None
    files = " ".join(name for run in runs for name in file_names(find_run(workspace, run).folder))
    return _of_runs(str(workspace), tuple(runs), f"{found.created} {len(found.keys)} {files}", assignments)


@st.cache_resource(max_entries=3, show_spinner="Reading the map …")
def _of_reference(
    workspace: str,
    address: str,
    build: str,
    changed: int,
    assignments: str | None,
    files: tuple[str, ...],
    _state: ReferenceState,
) -> Mapped:
    reference = cached_reference(_state)
    found = read_map(reference)
    if found is None:
        raise StoreError(f"the map of {address} was removed just now; reload the page")
    key = f"{workspace} {address} {build} {changed} {assignments} {files}"
    return _mapped(key, reference, facts_of(_state, assignments), found)


@st.cache_resource(max_entries=3, show_spinner="Reading the map …")
def _of_runs(workspace: str, runs: tuple[str, ...], created: str, assignments: str | None) -> Mapped:
    collection = DataManager(workspace).loose_runs(runs)
    found = read_runs_map(Path(workspace), runs)
    if found is None:
        raise StoreError("the map of these runs was removed just now; reload the page")
    names = find_assignments(collection, Path(workspace), assignments).row_names(collection)
    return _mapped(f"{workspace} {runs} {created} {assignments}", collection, row_facts(collection, names), found)


def _mapped(key: str, collection: Collection, facts: RowFacts, found: SequenceMap) -> Mapped:
    positions, _, clusters, on_map = found.of_rows(collection)
    ids = np.array(first_ids(collection, np.arange(collection.rows)), object)
    return Mapped(key, collection, facts, found, positions, clusters, on_map, ids)


def _offer(title: str, arguments: list[str], reason: str, button: str) -> None:
    st.info(f"{reason} It is laid out once, which can take minutes for 50,000 sequences, and then kept.")
    _button(title, arguments, button)


def _offer_more(found: Mapped, title: str, arguments: list[str]) -> None:
    absent = int((~found.on_map).sum())
    if absent:
        st.info(f"{absent:,} sequences were added later and are not on the map yet.")
        _button(title, arguments, "Add them to the map")
    if found.map.outgrown:
        st.info("The reference has outgrown its map. A new layout would show more, but all positions would change.")
        _button(title, [*arguments, "--refit"], "Lay it out again")


def _button(title: str, arguments: list[str], label: str) -> None:
    """Show a button that starts a job, and the state of that job while it runs or if it did not finish."""
    last = next((job for job in jobs().list() if job.arguments == arguments), None)
    if last is not None and last.state != "done":
        job_panel(last)
        if last.state in ACTIVE:
            return
    if st.button(label, type="primary", key=f"begin {' '.join(arguments)}"):
        jobs().start(title, arguments, about={"kind": KIND})
        st.rerun()


def chosen_rows(found: Mapped, selected: npt.NDArray[np.bool_] | None, maximum: int) -> npt.NDArray[np.int64]:
    """Return the rows to draw: the selected ones on the map; if there are too many, those with the smallest keys.

    Keys are hashes of the sequences, so these are a random sample that is always the same.
    """
    drawn = found.on_map if selected is None else found.on_map & selected
    rows = np.flatnonzero(drawn)
    if len(rows) > maximum:
        keys = found.collection.keys[rows]
        rows = rows[np.sort(np.argpartition(keys, maximum)[:maximum])]
    return np.asarray(rows, np.int64)


def draw_map(
    found: Mapped,
    *,
    key: str,
    values: Sequence[str] | None = None,
    rows: npt.NDArray[np.int64] | None = None,
    marked: tuple[FloatArray, Sequence[str], str] | None = None,
    selecting: bool = False,
) -> Any:
    """Draw a map; return the state of the chart, with the selected points if ``selecting``.

    Args:
        found: The map.
        key: Key of the widget.
        values: Value by which the points are grouped, for every row of the collection; None takes the phylum.
        rows: Rows to draw; None takes all, sampled as in ``chosen_rows``.
        marked: Points drawn above all others; see ``plots.sequence_map``.
        selecting: Let the user select points.
    """
    rows = chosen_rows(found, None, MAX_POINTS) if rows is None else rows
    facts = found.facts
    all_values = facts.names("phylum") if values is None else values
    labels, group = groups([all_values[row] for row in rows.tolist()])
    figure = sequence_map(
        found.positions[rows],
        labels,
        group,
        _hover(found, rows),
        rows,
        marked=marked,
    )
    options: dict[str, Any] = {"config": {"scrollZoom": True, "displaylogo": False}}
    if selecting:
        options |= {"on_select": "rerun", "selection_mode": ("lasso", "box")}
    return st.plotly_chart(figure, width="stretch", key=key, **options)


def _hover(found: Mapped, rows: npt.NDArray[np.int64]) -> list[str]:
    facts = found.facts
    shown = [
        figure_text(shortened(arrows(lineage[2:]) or "no name below phylum", _MAX_LINEAGE))
        for lineage in facts.lineages
    ]
    shown.append("no name")
    return [
        f"<b>{figure_text(shortened(name, _MAX_NAME))}</b><br>{shown[lineage]}<br>"
        f"{figure_text(facts.datasets[dataset])}, {records:,} records, {reads:,} reads"
        for name, lineage, dataset, records, reads in zip(
            found.ids[rows], facts.lineage[rows].tolist(), facts.dataset[rows].tolist(), facts.records[rows].tolist(),
            facts.reads[rows].tolist(), strict=True,
        )
    ]  # fmt: skip
