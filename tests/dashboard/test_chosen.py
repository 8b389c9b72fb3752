"""Selections that the pages make from results and maps, compared with plain Python."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.dashboard.results import UNNAMED, read_assignments
from ednabed.export.assignments import AssignmentWriter
from ednabed.sequences.lineage import RANKS
from ednabed.store.assignment import Assignment

pytest.importorskip("streamlit")
pytest.importorskip("plotly")

from ednabed.dashboard.mapping import chosen_rows
from ednabed.dashboard.plots import MAX_GROUPS
from ednabed.dashboard.views.identify import columns_of, filtered, grouped

# -- rows of a map -----------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 2**64 - 1), st.booleans(), st.booleans()), unique_by=lambda row: row[0]),
    st.integers(1, 12),
    st.booleans(),
)
def test_rows_to_draw(rows, maximum, filtering):
    keys = np.array([key for key, _, _ in rows], np.uint64)
    on_map, selected = (np.array([row[i] for row in rows], bool) for i in (1, 2))
    found = SimpleNamespace(on_map=on_map, collection=SimpleNamespace(keys=keys))
    chosen = chosen_rows(found, selected if filtering else None, maximum)
    fitting = [i for i, (_, on, match) in enumerate(rows) if on and (match or not filtering)]
    # If there are too many, those with the smallest keys, in the order of the collection.
    assert chosen.tolist() == sorted(sorted(fitting, key=lambda i: rows[i][0])[:maximum])
    assert chosen.dtype == np.int64
    assert on_map.tolist() == [row[1] for row in rows], "nothing is changed"


# -- names -------------------------------------------------------------------------------------------------------------

texts = st.none() | st.sampled_from(["", "Salmo", "SALMO trutta", "Gädus", "a.b", "%", "x;y"])
shares = st.none() | st.floats(0, 1)
STATUS = ["assigned", "not_in_reference", "unclassified", "rejected"]
queries = st.fixed_dictionaries(
    {
        "id": texts.map(lambda text: text or ""),
        "lineage": texts,
        "status": st.sampled_from(STATUS),
        "confidence": shares,
    }
    | {f"{rank}_given": texts for rank in RANKS}
    | {f"{rank}_best": texts for rank in RANKS}
    | {f"{rank}_confidence": shares for rank in RANKS}
)


def table_of(rows: list[dict]) -> pa.Table:
    kinds = {"id": pa.string(), "lineage": pa.string(), "status": pa.string(), "confidence": pa.float64()}
    kinds |= {f"{rank}_{part}": pa.string() for rank in RANKS for part in ("given", "best")}
    kinds |= {f"{rank}_confidence": pa.float64() for rank in RANKS}
    return pa.Table.from_pylist(rows, schema=pa.schema(list(kinds.items())))


@given(
    st.lists(queries, max_size=12), st.none() | st.sampled_from(RANKS), st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    st.lists(st.sampled_from(STATUS), unique=True),
    st.sampled_from(["", "salmo", "SALMO", "a.b", "%", ";", "gäd", ".", "("]),
)  # fmt: skip
def test_queries_that_match(rows, rank, minimum, status, part):
    def fits(row: dict) -> bool:
        confidence = row["confidence" if rank is None else f"{rank}_confidence"]
        return (
            (rank is None or row[f"{rank}_given"] is not None)
            and (minimum == 0 or (confidence is not None and confidence >= minimum))
            and (not status or row["status"] in status)
            and any(
                part.lower() in (row[key] or "").lower() for key in ("id", "lineage", *(f"{r}_best" for r in RANKS))
            )
        )

    assert filtered(table_of(rows), rank, minimum, status, part).to_pylist() == [row for row in rows if fits(row)]


TROUT = ("Animalia", "Chordata", "Actinopteri", "Salmoniformes", "Salmonidae", "Salmo", "Salmo trutta")


def test_columns_of_the_names(tmp_path):
    common = {"nearest_id": "r", "nearest_lineage": TROUT, "identity": 85.06, "coverage": 99.6}
    family = (*TROUT[:5], "", "")
    path = tmp_path / "a.jsonl"
    with AssignmentWriter(path, "jsonl") as writer:
        for one in (
            Assignment("all", "assigned", lineage=TROUT, names=TROUT, confidences=(0.9,) * 7, **common),
            Assignment("absent", "not_in_reference", lineage=family, names=TROUT,
                       confidences=(*(0.9,) * 5, 0.3, 0.12345), withheld="confidence", novel_rank="genus",
                       novel_p=0.001, novel_q=0.012345, note="a note", **common),
            Assignment("guess", "unclassified", names=family, withheld="identity", **common),
            Assignment("none", "rejected", note="letter"),
        ):  # fmt: skip
            writer.write(one)
    columns = columns_of(read_assignments(path))
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    keys = ("status", "name", "confidence", "guess", "guess confidence", "withheld", "not in reference", "q")
    assert [tuple(row[key] for key in keys) for row in rows] == [
        ("assigned", "Salmo trutta", 0.9, "", None, "", "", None),
        ("not in reference", "Salmonidae", 0.9, "Salmo", 0.3, "confidence", "genus", 0.0123),
        ("unclassified", "", None, "Animalia", None, "identity", "", None),
        ("rejected", "", None, "", None, "", "", None),
    ]
    absent = rows[1]
    assert (absent["id"], absent["rank"], absent["note"], absent["identity %"], absent["coverage %"]) == (
        "absent", "family", "a note", 85.1, 100.0,
    )  # fmt: skip
    assert (absent["lineage"], absent["nearest"]) == (" › ".join(TROUT[:5]), " › ".join(TROUT))


# -- bars --------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 25), st.integers(0, 3), st.booleans(), st.integers(0, 2**32 - 1))
def test_taxa_with_few_reads_are_combined(named, samples, unnamed, seed):
    reads = np.random.default_rng(seed).integers(0, 100, (named + unnamed, samples))
    labels = [f"F{i}" for i in range(named)] + [UNNAMED] * unnamed
    bars, sums = grouped(labels, reads)
    assert sums.shape == (len(bars), samples)
    assert np.array_equal(sums.sum(axis=0), reads.sum(axis=0)), "no read is lost"
    kept = min(named, MAX_GROUPS)
    assert bars[:kept] == labels[:kept] and np.array_equal(sums[:kept], reads[:kept])
    assert len(bars) == kept + (named > MAX_GROUPS) + unnamed
    if named > MAX_GROUPS:
        rest = named - MAX_GROUPS
        assert bars[MAX_GROUPS] == ("1 other" if rest == 1 else f"{rest} others")
        assert np.array_equal(sums[MAX_GROUPS], reads[MAX_GROUPS:named].sum(axis=0))
    if unnamed:
        assert bars[-1] == UNNAMED and np.array_equal(sums[-1], reads[-1])
