"""The map of sequences as pages use it: opened once, drawn, and with things placed on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import streamlit as st

from ednabed.api.manager import DataManager
from ednabed.api.maps import read_map, read_runs_map
from ednabed.api.names import assignments_state, find_assignments
from ednabed.api.points import RowFacts, first_ids, row_facts
from ednabed.api.status import ReferenceState
from ednabed.dashboard.parts import ACTIVE, facts_of, job_panel, jobs, open_reference
from ednabed.dashboard.plots import groups, sequence_map, shortened, text
from ednabed.dashboard.settings import settings
from ednabed.dashboard.texts import arrows, plain
from ednabed.engine.embed import Engine
from ednabed.errors import StoreError
from ednabed.models.base import FloatArray
from ednabed.reference import layout
from ednabed.reference.collection import Collection
from ednabed.search.queries import embedder_for
from ednabed.store.assignments import file_names
from ednabed.store.runs import find_run
from ednabed.taxonomy.sequence_map import SequenceMap

KIND = "map"
MOST_POINTS = 50_000
"""Points that are drawn where nobody asks for more."""
_LONGEST_NAME, _LONGEST_LINEAGE = 40, 130
ALL_POINTS = 250_000
"""Points that a browser is given at most."""


@dataclass(frozen=True, eq=False)
class Mapped:
    """A collection with its map.

    Attributes:
        key: Tells it apart from others, and from itself with another build or map.
        collection: The sequences.
        facts: What there is to tell of them.
        map: The map.
        places: float32, shape (rows, 2); NaN where a row is not on the map.
        clusters: int32, shape (rows,); -1 for none.
        on_map: bool, shape (rows,).
        ids: Id of the first record of each row.
    """

    key: str
    collection: Collection
    facts: RowFacts
    map: SequenceMap
    places: FloatArray
    clusters: npt.NDArray[np.int32]
    on_map: npt.NDArray[np.bool_]
    ids: npt.NDArray[np.object_]

    def place(self, sequences: Sequence[str]) -> tuple[FloatArray, npt.NDArray[np.float32]]:
        """Place sequences that need not be in the collection; see ``SequenceMap.place``.

        Raises:
            ModelError: The model of the collection is not here.
        """
        embedder = embedder_for(self.collection.spec, self.collection.name)
        vectors, refused = Engine(embedder).embed([letters.encode() for letters in sequences])
        if refused:
            raise StoreError(f"sequence {min(refused) + 1} cannot be embedded: {refused[min(refused)]}")
        return self.map.place(_landmarks(self.key, self), vectors)


@st.cache_resource(max_entries=2, show_spinner=False)
def _landmarks(key: str, _mapped: Mapped) -> FloatArray:
    return _mapped.map.landmark_vectors(_mapped.collection)


def map_of(state: ReferenceState, assignments: str | None = None) -> Mapped | None:
    """Return a reference with its map; where there is none, show a button that lays it out, and return None.

    Where some sequences are not on it, a button adds them. Sequences without labelled records have the names of their
    assignments (``names.find_assignments``).
    """
    assert state.manifest is not None
    reference = open_reference(state)
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
        st.error(plain(str(error)))
        _button(f"Map of {state.address}, anew", [*arguments, "--refit"], "Lay it out anew")
        return None
    _offer_more(found, f"Map of {state.address}", arguments)
    return found


def map_of_runs(runs: Sequence[str], assignments: str | None = None) -> Mapped | None:
    """The same for runs as they lie."""
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
    reference = open_reference(_state)
    found = read_map(reference)
    if found is None:
        raise StoreError(f"the map of {address} was taken away just now; load the page again")
    key = f"{workspace} {address} {build} {changed} {assignments} {files}"
    return _mapped(key, reference, facts_of(_state, assignments), found)


@st.cache_resource(max_entries=3, show_spinner="Reading the map …")
def _of_runs(workspace: str, runs: tuple[str, ...], created: str, assignments: str | None) -> Mapped:
    collection = DataManager(workspace).loose_runs(runs)
    found = read_runs_map(Path(workspace), runs)
    if found is None:
        raise StoreError("the map of these runs was taken away just now; load the page again")
    names = find_assignments(collection, Path(workspace), assignments).row_names(collection)
    return _mapped(f"{workspace} {runs} {created} {assignments}", collection, row_facts(collection, names), found)


def _mapped(key: str, collection: Collection, facts: RowFacts, found: SequenceMap) -> Mapped:
    places, _, clusters, on_map = found.of_rows(collection)
    ids = np.array(first_ids(collection, np.arange(collection.rows)), object)
    return Mapped(key, collection, facts, found, places, clusters, on_map, ids)


def _offer(title: str, arguments: list[str], told: str, button: str) -> None:
    st.info(f"{told} It is laid out once, which takes up to some minutes for 50,000 sequences, and kept.")
    _button(title, arguments, button)


def _offer_more(found: Mapped, title: str, arguments: list[str]) -> None:
    absent = int((~found.on_map).sum())
    if absent:
        st.info(f"{absent:,} sequences came later and are not on the map yet.")
        _button(title, arguments, "Put them on the map")
    if found.map.outgrown:
        st.info("The reference has outgrown its map: laid out anew it would show more. All places would change.")
        _button(title, [*arguments, "--refit"], "Lay it out anew")


def _button(title: str, arguments: list[str], label: str) -> None:
    """Show a button that begins work; while it is at work, and when it failed, how it stands."""
    last = next((job for job in jobs().list() if job.arguments == arguments), None)
    if last is not None and last.state != "done":
        job_panel(last)
        if last.state in ACTIVE:
            return
    if st.button(label, type="primary", key=f"begin {' '.join(arguments)}"):
        jobs().start(title, arguments, about={"kind": KIND})
        st.rerun()


def chosen_rows(found: Mapped, wanted: npt.NDArray[np.bool_] | None, most: int) -> npt.NDArray[np.int64]:
    """Return the rows to draw: those on the map that are wanted, and of too many those with the smallest keys.

    Keys are hashes of the letters, so these are a random sample that is the same at every look.
    """
    kept = found.on_map if wanted is None else found.on_map & wanted
    rows = np.flatnonzero(kept)
    if len(rows) > most:
        keys = found.collection.keys[rows]
        rows = rows[np.sort(np.argpartition(keys, most)[:most])]
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
    """Draw a map; returns what was selected on it, where points can be.

    Args:
        found: The map.
        key: Of the widget.
        values: What groups the points, of every row of the collection; None takes the phylum.
        rows: Rows to draw; None takes all, sampled as in ``chosen_rows``.
        marked: Points above all others; see ``plots.sequence_map``.
        selecting: Let the person select points.
    """
    rows = chosen_rows(found, None, MOST_POINTS) if rows is None else rows
    facts = found.facts
    every = facts.names("phylum") if values is None else values
    labels, group = groups([every[row] for row in rows.tolist()])
    figure = sequence_map(
        found.places[rows],
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
        text(shortened(arrows(lineage[2:]) or "no name below phylum", _LONGEST_LINEAGE)) for lineage in facts.lineages
    ]
    shown.append("no name")
    return [
        f"<b>{text(shortened(name, _LONGEST_NAME))}</b><br>{shown[lineage]}<br>"
        f"{text(facts.datasets[dataset])}, {records:,} records, {reads:,} reads"
        for name, lineage, dataset, records, reads in zip(
            found.ids[rows], facts.lineage[rows].tolist(), facts.dataset[rows].tolist(), facts.records[rows].tolist(),
            facts.reads[rows].tolist(), strict=True,
        )
    ]  # fmt: skip
