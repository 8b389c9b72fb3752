"""Keys and columns of references: the small parts, against their definitions."""

from __future__ import annotations

import base64
import hashlib

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.reference.columns import fitted, free_names, union
from ednabed.reference.parts import keys_of, unified_digests
from ednabed.sequences.records import digest


def test_keys_are_the_first_bytes_of_the_digest():
    names = [digest(b"ACGT"), "run:3", digest(b"GG"), "SQ"]
    wanted = []
    for name in names:
        raw = base64.urlsafe_b64decode(name[3:]) if name.startswith("SQ.") else hashlib.sha256(name.encode()).digest()
        wanted.append(int.from_bytes(raw[:8], "little"))
    assert keys_of(names).tolist() == wanted
    assert keys_of([]).tolist() == []
    assert keys_of(names[1:2]).tolist() == wanted[1:2]
    known = pa.array(["a", None, "b", None])
    assert unified_digests(known, "x:").to_pylist() == ["a", "x:1", "b", "x:3"]


def test_free_names():
    assert free_names(["id", "depth"]) == ["id", "depth"]
    assert free_names(["row", "row_input", "source_file"]) == ["row_input_input", "row_input", "source_file_input"]


KINDS = [
    pa.null(), pa.int8(), pa.int64(), pa.uint64(), pa.float32(), pa.float64(), pa.string(), pa.large_string(),
    pa.bool_(), pa.list_(pa.int8()), pa.dictionary(pa.int32(), pa.string()), pa.date32(), pa.binary(),
]  # fmt: skip


@settings(max_examples=100)
@given(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4), order=st.randoms())
def test_types_are_unified_whatever_the_order(kinds, order):
    schemas = [pa.schema([("x", kind), (f"own{i}", kind)]) for i, kind in enumerate(kinds)]
    found = union(schemas)
    shuffled = schemas[:]
    order.shuffle(shuffled)
    assert union(shuffled)["x"] == found["x"]
    for schema in schemas:
        table = fitted(pa.table([pa.nulls(2, field.type) for field in schema], schema=schema), found.values())
        assert table.schema == pa.schema(found.values())
        assert table.num_rows == 2


@pytest.mark.parametrize(
    ("kinds", "wanted"),
    [
        ([pa.int8(), pa.int16()], pa.int64()), ([pa.int64(), pa.float32()], pa.float64()),
        ([pa.null(), pa.int8()], pa.int8()), ([pa.int8(), pa.string()], pa.string()),
        ([pa.float32(), pa.null(), pa.float32()], pa.float32()), ([pa.int64(), pa.uint64()], pa.string()),
    ],
)  # fmt: skip
def test_types_of_several_runs(kinds, wanted):
    assert union([pa.schema([("x", kind)]) for kind in kinds])["x"].type == wanted
