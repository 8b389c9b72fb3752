"""What the pages take out of results and maps, against plain Python."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.api.results import UNNAMED
from ednabed.sequences.lineage import RANKS

pytest.importorskip("streamlit")
pytest.importorskip("plotly")

from ednabed.dashboard.mapping import chosen_rows
from ednabed.dashboard.plots import MOST_GROUPS
from ednabed.dashboard.views.identify import filtered, grouped

# -- rows of a map -----------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 2**64 - 1), st.booleans(), st.booleans()), unique_by=lambda row: row[0]),
    st.integers(1, 12),
    st.booleans(),
)
def test_rows_to_draw(rows, most, some):
    keys = np.array([key for key, _, _ in rows], np.uint64)
    on_map, wanted = (np.array([row[i] for row in rows], bool) for i in (1, 2))
    found = SimpleNamespace(on_map=on_map, collection=SimpleNamespace(keys=keys))
    chosen = chosen_rows(found, wanted if some else None, most)
    fitting = [i for i, (_, on, asked) in enumerate(rows) if on and (asked or not some)]
    # Of too many those with the smallest keys, in the order of the collection.
    assert chosen.tolist() == sorted(sorted(fitting, key=lambda i: rows[i][0])[:most])
    assert chosen.dtype == np.int64
    assert on_map.tolist() == [row[1] for row in rows], "nothing is changed"


# -- names -------------------------------------------------------------------------------------------------------------

texts = st.none() | st.sampled_from(["", "Salmo", "SALMO trutta", "Gädus", "a.b", "%", "x;y"])
shares = st.none() | st.floats(0, 1)
STATUS = ["assigned", "novel", "unclassified", "rejected"]
queries = st.fixed_dictionaries(
    {
        "id": texts.map(lambda text: text or ""),
        "lineage": texts,
        "status": st.sampled_from(STATUS),
        "confidence": shares,
    }
    | {f"{rank}_given": texts for rank in RANKS}
    | {f"{rank}_confidence": shares for rank in RANKS}
)


def table_of(rows: list[dict]) -> pa.Table:
    kinds = {"id": pa.string(), "lineage": pa.string(), "status": pa.string(), "confidence": pa.float64()}
    kinds |= {f"{rank}_given": pa.string() for rank in RANKS} | {f"{rank}_confidence": pa.float64() for rank in RANKS}
    return pa.Table.from_pylist(rows, schema=pa.schema(list(kinds.items())))


@given(
    st.lists(queries, max_size=12), st.none() | st.sampled_from(RANKS), st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    st.lists(st.sampled_from(STATUS), unique=True),
    st.sampled_from(["", "salmo", "SALMO", "a.b", "%", ";", "gäd", ".", "("]),
)  # fmt: skip
def test_queries_that_are_asked_for(rows, rank, least, status, part):
    def fits(row: dict) -> bool:
        sure = row["confidence" if rank is None else f"{rank}_confidence"]
        return (
            (rank is None or row[f"{rank}_given"] is not None)
            and (least == 0 or (sure is not None and sure >= least))
            and (not status or row["status"] in status)
            and (part.lower() in row["id"].lower() or part.lower() in (row["lineage"] or "").lower())
        )

    assert filtered(table_of(rows), rank, least, status, part).to_pylist() == [row for row in rows if fits(row)]


# -- bars --------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 25), st.integers(0, 3), st.booleans(), st.integers(0, 2**32 - 1))
def test_taxa_with_few_reads_stand_together(named, samples, unnamed, seed):
    reads = np.random.default_rng(seed).integers(0, 100, (named + unnamed, samples))
    labels = [f"F{i}" for i in range(named)] + [UNNAMED] * unnamed
    bars, sums = grouped(labels, reads)
    assert sums.shape == (len(bars), samples)
    assert np.array_equal(sums.sum(axis=0), reads.sum(axis=0)), "no read is lost"
    kept = min(named, MOST_GROUPS)
    assert bars[:kept] == labels[:kept] and np.array_equal(sums[:kept], reads[:kept])
    assert len(bars) == kept + (named > MOST_GROUPS) + unnamed
    if named > MOST_GROUPS:
        rest = named - MOST_GROUPS
        assert bars[MOST_GROUPS] == ("1 other" if rest == 1 else f"{rest} others")
        assert np.array_equal(sums[MOST_GROUPS], reads[MOST_GROUPS:named].sum(axis=0))
    if unnamed:
        assert bars[-1] == UNNAMED and np.array_equal(sums[-1], reads[-1])
