"""The index of a table: when it is built, measured and not used; and the function that computed the vectors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from lancedb.index import IvfFlat

import ednabed.tables.index as module
from ednabed.engine.open import open_embedder
from ednabed.errors import StoreError
from ednabed.tables.fill import embed_table
from ednabed.tables.index import INDEX_KEY, build_index, find_index, rows_to_fetch
from ednabed.tables.provenance import SPEC_KEY, spec_of
from ednabed.tables.status import survey
from ednabed.tables.table import Database, VectorColumns
from support import letters
from table_support import rows, sequences, simple, vector_array


def embedded(folder: Path, n: int, **settings: Any) -> Database:
    database = simple(folder / "db", sequences(n, **settings))
    embed_table(database.open(), letters(), folder)
    return database


def metadata(database: Database, column: str = "vector") -> dict[str, str]:
    found = database.open().lance.schema.field(column).metadata or {}
    return {key.decode(): value.decode() for key, value in found.items()}


def why_not(database: Database) -> str | None:
    table = database.open()
    info, why = find_index(table, spec_of(table))
    assert info is None
    return why


# -- which function ----------------------------------------------------------------------------------------------------


def test_the_function_of_a_column(tmp_path: Path) -> None:
    database = embedded(tmp_path, 5)
    embed_table(database.open(VectorColumns("other")), letters(salt=2), tmp_path)
    assert spec_of(database.open()) == letters().spec
    assert spec_of(database.open(VectorColumns("other"))) == letters(salt=2).spec


def test_pending_and_rejected_rows_do_not_matter(tmp_path: Path) -> None:
    database = simple(tmp_path / "db", [*sequences(4), "ACGT", None])
    embed_table(database.open(), letters(), tmp_path)
    database.open().lance.add(pa.table({"sequence_id": ["new"], "dna_sequence": sequences(1)}))
    assert spec_of(database.open()) == letters().spec
    # Cleared by hand, while the fingerprint of another function remained.
    table = database.open().lance
    table.update(where="sequence_id = 'r0'", values={"embedding_fingerprint": "f" * 64, "vector": None})
    assert spec_of(database.open()) == letters().spec
    table.update(where="sequence_id = 'r1'", values={"embedding_fingerprint": "f" * 64})
    with pytest.raises(StoreError, match=rf"by 2 functions \(ffffffffffff, {letters().spec.fingerprint[:12]}\)"):
        spec_of(database.open())


def test_vectors_of_unknown_origin_are_refused(tmp_path: Path) -> None:
    vectors = vector_array([np.ones(10), None, np.zeros(10)])
    with pytest.raises(StoreError, match="by an unknown function"):
        spec_of(simple(tmp_path / "unknown", sequences(3), vector=vectors).open())
    database = embedded(tmp_path, 3)
    database.open().lance.add(
        pa.table({"sequence_id": ["x"], "dna_sequence": ["ACGT"], "vector": vector_array([np.ones(10)])})
    )
    with pytest.raises(StoreError, match=r"by 2 functions \(an unknown one, .*table embed --no-resume"):
        spec_of(database.open())
    table = embedded(tmp_path / "b", 3).open().lance
    table.update_field_metadata({"path": "vector", "metadata": {SPEC_KEY: None}})
    with pytest.raises(StoreError, match="by an unknown function"):
        spec_of(Database(str(tmp_path / "b" / "db")).open())
    table.update_field_metadata({"path": "vector", "metadata": {SPEC_KEY: '{"schema": 99}'}})
    with pytest.raises(StoreError, match="spec has schema 99"):
        spec_of(Database(str(tmp_path / "b" / "db")).open())


def test_a_column_without_vectors_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"'vector' does not exist.*table embed"):
        spec_of(simple(tmp_path / "a", sequences(3)).open())
    with pytest.raises(StoreError, match=r"has no vector.*table embed"):
        spec_of(simple(tmp_path / "b", sequences(3), vector=vector_array([None, np.zeros(10), None])).open())
    database = simple(tmp_path / "c", ["ACGT", "", None])
    embed_table(database.open(), letters(), tmp_path)
    with pytest.raises(StoreError, match="has no vector"):
        spec_of(database.open())
    with pytest.raises(StoreError, match="has no vector"):
        build_index(database.open(), force=True)


# -- building ----------------------------------------------------------------------------------------------------------


def test_a_small_table_gets_no_index_unless_forced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = embedded(tmp_path, 30)
    before = database.open().lance.version
    info = build_index(database.open())
    assert (info.built, info.rows, info.name, info.reached) == (False, 30, None, True)
    assert database.open().lance.version == before
    assert build_index(database.open(), force=True).built
    monkeypatch.setattr(module, "SMALL_ROWS", 29)
    assert build_index(database.open()).built


def test_the_properties_of_an_index_are_stored_next_to_the_function(tmp_path: Path) -> None:
    database = embedded(tmp_path, 300)
    info = build_index(database.open(), force=True)
    kept = metadata(database)
    assert set(kept) == {SPEC_KEY, INDEX_KEY}
    values = json.loads(kept[INDEX_KEY])
    assert values["schema"] == 1
    for name in ("name", "kind", "lists", "nprobes", "refine_factor", "recall", "fingerprint", "date", "rows"):
        assert values[name] == getattr(info, name)
    # Ten dimensions are too few for RaBitQ.
    assert (info.kind, info.rows, info.measured_on, info.recall, info.reached) == ("IVF_FLAT", 300, 200, 1.0, True)
    table = database.open()
    assert find_index(table, spec_of(table)) == (info, None)
    assert table.indices() == [info.name]
    assert survey(database.open()).embedded == 300
    again = build_index(database.open(), force=True)
    assert again.date is not None and info.date is not None and again.date >= info.date
    assert len(database.open().lance.list_indices()) == 1


def test_dimensions_of_models_get_codes(tmp_path: Path) -> None:
    database = simple(tmp_path / "db", sequences(500, 200))
    embed_table(database.open(VectorColumns("kmer")), open_embedder("kmer6"), tmp_path)
    info = build_index(database.open(VectorColumns("kmer")), force=True)
    assert (info.kind, info.name, info.reached) == ("IVF_RQ", "kmer_idx", True)
    assert INDEX_KEY in metadata(database, "kmer")


def test_rows_without_vectors_are_not_indexed(tmp_path: Path) -> None:
    database = simple(tmp_path / "db", [*sequences(40), "ACGT", None])
    embed_table(database.open(), letters(), tmp_path, max_sequences=20)
    info = build_index(database.open(), force=True)
    assert info.rows == 20
    assert info.recall == 1.0


@pytest.mark.parametrize("n", [1, 2, 3])
def test_very_few_rows(tmp_path: Path, n: int) -> None:
    database = embedded(tmp_path, n)
    info = build_index(database.open(), force=True)
    assert info.built and info.reached
    assert info.recall == (None if n == 1 else 1.0)


def brute_recall(database: Database, nprobes: int, refine_factor: int) -> float:
    """Return the recall of an index over all rows, by definition."""
    table = database.open()
    k = rows_to_fetch(10)
    found = rows(database)
    ids = list(found)
    vectors = np.array([found[i]["vector"] for i in ids])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = unit @ unit.T
    np.fill_diagonal(scores, -2)
    least = np.sort(scores, axis=1)[:, -10]
    queries = vectors.astype(np.float32)
    hits = table.search_index(queries, k, ["sequence_id"], nprobes=nprobes, refine_factor=refine_factor)
    counts = np.zeros(len(ids))
    for query, id_ in zip(hits.column("query_index").to_pylist(), hits.column("sequence_id").to_pylist(), strict=True):
        counts[query] += scores[query, ids.index(id_)] >= least[query] - 1e-6
    return float(np.minimum(counts, 10).mean() / 10)


def test_the_search_is_widened_until_enough_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS_PER_LIST", 10)
    database = embedded(tmp_path, 600)
    monkeypatch.setattr(module, "_WIDTHS", ((1, 1),))
    narrow = build_index(database.open(), force=True)
    assert narrow.lists == 64
    assert narrow.recall is not None and narrow.recall < 0.9 and not narrow.reached
    # The sample is 200 of 600 rows.
    assert narrow.recall == pytest.approx(brute_recall(database, 1, 1), abs=0.05)
    monkeypatch.setattr(module, "_WIDTHS", ((1, 1), (2, 1), (32, 4), (64, 4), (64, 8)))
    wide = build_index(database.open(), force=True)
    assert wide.reached and wide.nprobes in (32, 64)
    assert brute_recall(database, wide.nprobes, wide.refine_factor) >= 0.98


def test_strangers_are_also_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = embedded(tmp_path, 600)
    monkeypatch.setattr(module, "_ROWS_PER_LIST", 10)
    monkeypatch.setattr(module, "_WIDTHS", ((6, 4),))
    recalls = []
    for noise in (0.001, 50.0):
        monkeypatch.setattr(module, "TABLE_TARGET", replace(module.TABLE_TARGET, noise=noise))
        info = build_index(database.open(), force=True)
        assert info.recall is not None and info.recall_strangers is not None
        recalls.append((info.recall, info.recall_strangers))
    (rows_near, near), (rows_far, far) = recalls
    assert rows_near == pytest.approx(rows_far, abs=0.05) and near == pytest.approx(rows_near, abs=0.1)
    assert far < near - 0.03


def test_both_recalls_must_be_reached(tmp_path: Path) -> None:
    info = build_index(embedded(tmp_path, 20).open(), force=True)
    assert info.reached
    for values in ({"recall": 0.98}, {"recall_strangers": 0.98}, {"recall": 0.0}):
        assert not replace(info, **values).reached


def test_ties_are_not_errors(tmp_path: Path) -> None:
    """Each sequence has thirty rows, so any ten of them are the ten nearest."""
    database = simple(tmp_path / "db", sequences(10) * 30)
    embed_table(database.open(), letters(), tmp_path)
    assert build_index(database.open(), force=True).recall == 1.0


def test_an_index_of_another_program_is_not_touched(tmp_path: Path) -> None:
    database = embedded(tmp_path, 50)
    database.open().lance.create_index("vector", config=IvfFlat(num_partitions=1), name="theirs")
    with pytest.raises(StoreError, match=r"'theirs' of another program.*drop_index\('theirs'\)"):
        build_index(database.open(), force=True)
    assert INDEX_KEY not in metadata(database)


def test_an_index_that_was_not_measured_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = embedded(tmp_path, 50)
    build_index(database.open(), force=True)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_measure", killed)
    with pytest.raises(KeyboardInterrupt):
        build_index(database.open(), force=True)
    assert len(database.open().lance.list_indices()) == 1
    assert why_not(database) is None
    monkeypatch.undo()
    assert build_index(database.open(), force=True).reached


# -- when it is not used -----------------------------------------------------------------------------------------------


def test_vectors_of_another_function_invalidate_the_index(tmp_path: Path) -> None:
    database = embedded(tmp_path, 50)
    build_index(database.open(), force=True)
    embed_table(database.open(), letters(salt=1), tmp_path, resume=False)
    assert why_not(database) == "its index was built for vectors of another function"


def test_an_index_that_was_dropped_or_replaced(tmp_path: Path) -> None:
    database = embedded(tmp_path, 50)
    build_index(database.open(), force=True)
    config = IvfFlat(num_partitions=1, distance_type="l2")
    database.open().lance.create_index("vector", config=config, name="vector_idx")
    assert why_not(database) == "its index was replaced by another program"
    database.open().lance.drop_index("vector_idx")
    assert why_not(database) == "its index no longer exists"


def test_many_rows_outside_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = embedded(tmp_path, 50)
    build_index(database.open(), force=True)
    database.open().lance.add(pa.table({"sequence_id": ["x", "y"], "dna_sequence": sequences(2)}))
    table = database.open()
    assert find_index(table, letters().spec)[1] is None
    monkeypatch.setattr(module, "SMALL_ROWS", 1)
    assert why_not(database) == "2 rows are not in its index yet"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1, "name": "vector_idx"}', "no json"])
def test_metadata_written_by_another_version(tmp_path: Path, text: str) -> None:
    database = embedded(tmp_path, 5)
    database.open().lance.update_field_metadata({"path": "vector", "metadata": {INDEX_KEY: text}})
    assert why_not(database) == "its index was created by another version of ednabed"


def test_one_query_and_many_have_the_same_columns(tmp_path: Path) -> None:
    database = embedded(tmp_path, 150)
    info = build_index(database.open(), force=True)
    table = database.open()
    vectors = np.array([row["vector"] for row in rows(database).values()], np.float32)
    ids = list(rows(database))
    widths = {"nprobes": info.nprobes, "refine_factor": info.refine_factor}
    many = table.search_index(vectors, 1, ["sequence_id"], **widths)
    assert many.column("query_index").to_pylist() == list(range(150))
    assert many.column("sequence_id").to_pylist() == ids
    single = table.search_index(vectors[7:8], 1, ["sequence_id"], **widths)
    assert (single.column_names, single.column("query_index").to_pylist()) == (many.column_names, [0])
    assert single.column("sequence_id").to_pylist() == [ids[7]]
