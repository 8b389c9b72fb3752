"""Importing files: no record is lost or duplicated, and nothing is written if something is wrong."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ednabed.errors import InputError, StoreError
from ednabed.tables.fill import embed_table
from ednabed.tables.importing import ImportResult, import_records
from ednabed.tables.status import survey
from ednabed.tables.table import Database, VectorColumns
from support import expected, letters
from table_support import make, read, rows, same_vector, sequences, simple, vector_array


def write_tsv(path: Path, lines: list[tuple[Any, ...]]) -> Path:
    path.write_text("".join("\t".join(map(str, line)) + "\n" for line in lines), encoding="utf-8")
    return path


def counts(result: ImportResult) -> tuple[int, int, int, int, int, int]:
    return result.read, result.added, result.replaced, result.unchanged, result.repeated, len(result.rejected)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(str(tmp_path / "new" / "folder" / "db"))


def test_rows_and_extra_columns_equal_the_input(tmp_path: Path, database: Database) -> None:
    letters_ = sequences(5000)
    lines = [(f"r{i}", s, f"sité {i % 7}", i) for i, s in enumerate(letters_)]
    path = write_tsv(tmp_path / "a.tsv", [("id", "sequence", "site", "depth"), *lines])
    result = import_records(database, [path])
    assert counts(result) == (5000, 5000, 0, 0, 0, 0)
    found = rows(database)
    assert len(found) == 5000
    for id_, sequence, site, depth in lines:
        row = found[id_]
        assert (row["dna_sequence"], row["site"], str(row["depth"])) == (sequence, site, str(depth))
    status = survey(database.open())
    assert (status.rows, status.pending, status.dimension) == (5000, 5000, None)


def test_typed_columns_of_parquet_keep_their_types(tmp_path: Path, database: Database) -> None:
    table = pa.table(
        {
            "id": ["a", "b", "c"],
            "sequence": ["ACGT", None, "GG"],
            "depth": pa.array([1, None, 3], pa.int16()),
            "temperature": [0.5, None, -1.25],
            "clean": [True, None, False],
            "size": [3, 1, 2],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    import_records(database, [tmp_path / "a.parquet"])
    found = read(database)
    assert [found.schema.field(c).type for c in ("depth", "temperature", "clean")] == [
        pa.int16(),
        pa.float64(),
        pa.bool_(),
    ]
    assert found["depth"].to_pylist() == [1, None, 3]
    assert found["temperature"].to_pylist() == [0.5, None, -1.25]
    assert found["clean"].to_pylist() == [True, None, False]
    assert found["abundance"].to_pylist() == [3, 1, 2]
    assert found["dna_sequence"].to_pylist() == ["ACGT", "", "GG"]


def test_the_same_file_again_changes_nothing(tmp_path: Path, database: Database) -> None:
    path = tmp_path / "a.fasta.gz"
    path.write_bytes(gzip.compress(b"".join(f">r{i};size={i}\n{s}\n".encode() for i, s in enumerate(sequences(300)))))
    import_records(database, [path])
    embed_table(database.open(), letters(), tmp_path)
    before, version = read(database), database.open().lance.version
    for _ in range(2):
        assert counts(import_records(database, [path])) == (300, 0, 0, 300, 0, 0)
        assert counts(import_records(database, [path], replace=True)) == (300, 0, 0, 300, 0, 0)
    assert read(database).equals(before)
    assert database.open().lance.version == version


def test_a_file_with_more_records_adds_only_those(tmp_path: Path, database: Database) -> None:
    letters_ = sequences(10)
    lines = [(f"r{i}", s) for i, s in enumerate(letters_)]
    import_records(database, [write_tsv(tmp_path / "a.tsv", [("id", "sequence"), *lines[:6]])])
    embed_table(database.open(), letters(), tmp_path)
    result = import_records(database, [write_tsv(tmp_path / "b.tsv", [("id", "sequence"), *lines])])
    assert counts(result) == (10, 4, 0, 6, 0, 0)
    found = rows(database)
    assert [found[f"r{i}"]["vector"] is None for i in range(10)] == [False] * 6 + [True] * 4


def test_a_changed_sequence_is_refused_and_nothing_is_written(tmp_path: Path, database: Database) -> None:
    import_records(database, [write_tsv(tmp_path / "a.tsv", [("id", "sequence"), ("a", "ACGT"), ("it's", "GG")])])
    before, version = read(database), database.open().lance.version
    changed = write_tsv(tmp_path / "b.tsv", [("id", "sequence", "site"), ("new", "TT", "x"), ("it's", "GC", "y")])
    with pytest.raises(StoreError, match=r"'sequences'.*it's.*`replace=True`"):
        import_records(database, [changed])
    assert read(database).equals(before)
    assert database.open().lance.version == version


def test_replace_stores_the_new_sequence_and_clears_all_vectors_of_the_row(tmp_path: Path, database: Database) -> None:
    old = sequences(4)
    lines = [(f"r{i}", s, f"site {i}") for i, s in enumerate([*old, "AC"])]
    import_records(database, [write_tsv(tmp_path / "a.tsv", [("id", "sequence", "site"), *lines])])
    second = VectorColumns("second")
    embed_table(database.open(), letters(), tmp_path)
    embed_table(database.open(second), letters(salt=1), tmp_path)
    new = sequences(3, seed=1)
    changed = [("r1", new[0], "elsewhere"), ("r2", old[2], "site 2"), ("r4", new[1], "?"), ("r9", new[2], "site 9")]
    path = write_tsv(tmp_path / "b.tsv", [("id", "sequence", "site"), *changed])
    assert counts(import_records(database, [path], replace=True)) == (4, 1, 2, 1, 0, 0)
    found = rows(database)
    assert len(found) == 6
    for id_, sequence in (("r1", new[0]), ("r4", new[1]), ("r9", new[2])):
        row = found[id_]
        assert row["dna_sequence"] == sequence
        for columns in (VectorColumns(), second):
            names = (columns.vector, columns.status, columns.reason, columns.fingerprint)
            assert [row[name] for name in names] == [None] * 4
    for i in (0, 2, 3):
        assert same_vector(found[f"r{i}"], expected(old[i]))
        assert same_vector(found[f"r{i}"], expected(old[i], 1), "second")
        assert found[f"r{i}"]["site"] == f"site {i}"
    assert embed_table(database.open(), letters(), tmp_path).embedded == 3
    assert embed_table(database.open(second), letters(salt=1), tmp_path).embedded == 3
    found = rows(database)
    assert same_vector(found["r4"], expected(new[1]))
    assert same_vector(found["r1"], expected(new[0], 1), "second")


def test_replace_leaves_user_lists_alone(tmp_path: Path) -> None:
    place = pa.array([[1.5, 2.5], [3.5, 4.5]], pa.list_(pa.float64(), 2))
    further = {"place": place, "odd name": place, "vector": vector_array([np.ones(10)] * 2)}
    database = simple(tmp_path / "db", ["ACGT", "GGGG"], **further)
    import_records(database, [write_tsv(tmp_path / "a.tsv", [("id", "sequence"), ("r0", "TT")])], replace=True)
    found = rows(database)["r0"]
    assert (found["dna_sequence"], found["place"], found["odd name"]) == ("TT", [1.5, 2.5], [1.5, 2.5])
    assert found["vector"] is None
    assert rows(database)["r1"]["vector"] == [1.0] * 10


def test_ids_are_unique_within_and_across_inputs(tmp_path: Path, database: Database) -> None:
    a = write_tsv(tmp_path / "a.tsv", [("id", "sequence"), ("x", "AC"), ("y", "GG"), ("x", "AC"), ("y", "GC")])
    b = write_tsv(
        tmp_path / "b.tsv", [("id", "sequence"), ("x", "AC"), ("z", "TT"), ("z", "TA"), ("", "AA"), ("", "C")]
    )
    result = import_records(database, [a, b])
    assert counts(result) == (9, 3, 0, 0, 2, 4)
    assert {id_: row["dna_sequence"] for id_, row in rows(database).items()} == {"x": "AC", "y": "GG", "z": "TT"}
    clash = "this id occurs earlier in the input with another sequence"
    assert result.rejected == [
        ("y", clash, "a.tsv", 4),
        ("z", clash, "b.tsv", 3),
        ("", "the record has no id", "b.tsv", 4),
        ("", "the record has no id", "b.tsv", 5),
    ]


def test_a_known_id_repeated_with_the_replacing_sequence_is_replaced_once(tmp_path: Path, database: Database) -> None:
    import_records(database, [write_tsv(tmp_path / "a.tsv", [("id", "sequence"), ("x", "AC")])])
    b = write_tsv(tmp_path / "b.tsv", [("id", "sequence"), ("x", "GG"), ("x", "GG"), ("x", "AC")])
    assert counts(import_records(database, [b], replace=True)) == (3, 0, 1, 0, 1, 1)
    assert rows(database)["x"]["dna_sequence"] == "GG"


def test_ids_and_columns_with_odd_characters(tmp_path: Path, database: Database) -> None:
    ids = ["it's", 'say "x"', "日本 語", "a;DROP TABLE", "%_\\", "x' OR '1'='1"]
    lines = [(f"{id_}", s, 1) for id_, s in zip(ids, sequences(6), strict=True)]
    header = ("id", "sequence", "lat.deg")
    import_records(database, [write_tsv(tmp_path / "a.tsv", [header, *lines])])
    assert embed_table(database.open(), letters(), tmp_path).embedded == 6
    new = [(id_, s, 2) for id_, s in zip(ids, sequences(6, seed=5), strict=True)]
    path = write_tsv(tmp_path / "b.tsv", [header, *new])
    assert import_records(database, [path], replace=True).replaced == 6
    embed_table(database.open(), letters(), tmp_path)
    found = rows(database)
    assert {id_: row["dna_sequence"] for id_, row in found.items()} == {id_: s for id_, s, _ in new}
    assert all(same_vector(found[id_], expected(s)) for id_, s, _ in new)
    # Lance does not allow a dot in a column name.
    assert [str(row["lat_deg"]) for row in found.values()] == ["2"] * 6


def test_columns_named_like_those_of_the_table_are_kept_under_new_names(tmp_path: Path, database: Database) -> None:
    header = ("id", "sequence", "sequence_id", "dna_sequence", "a.b", "a_b")
    path = write_tsv(tmp_path / "a.tsv", [header, ("x", "ACGT", "y", "GG", "dot", "line")])
    import_records(database, [path])
    row = rows(database)["x"]
    assert (row["dna_sequence"], row["sequence_id_input"], row["dna_sequence_input"]) == ("ACGT", "y", "GG")
    assert sorted(str(row[c]) for c in row if c.startswith("a_b")) == ["dot", "line"]


def test_new_columns_in_a_later_import(tmp_path: Path, database: Database) -> None:
    import_records(database, [write_tsv(tmp_path / "a.tsv", [("id", "sequence", "site"), ("x", "AC", "sea")])])
    later = write_tsv(tmp_path / "b.tsv", [("id", "sequence", "crew"), ("y", "GG", "Ann"), ("z", "TT", "Bo")])
    import_records(database, [later])
    found = rows(database)
    assert {i: (r["site"], r["crew"]) for i, r in found.items()} == {
        "x": ("sea", None),
        "y": (None, "Ann"),
        "z": (None, "Bo"),
    }


def test_inputs_with_different_columns_at_once(tmp_path: Path, database: Database) -> None:
    a = write_tsv(tmp_path / "a.tsv", [("id", "sequence", "site"), ("x", "AC", "sea")])
    (tmp_path / "b.fasta").write_text(">y\nGGTT\n", encoding="utf-8")
    c = write_tsv(tmp_path / "c.tsv", [("id", "sequence", "crew"), ("z", "TT", "Bo")])
    assert import_records(database, [a, tmp_path / "b.fasta", c]).added == 3
    found = rows(database)
    assert [(i, found[i]["site"], found[i]["crew"], found[i]["source"]) for i in "xyz"] == [
        ("x", "sea", None, "a.tsv"),
        ("y", None, None, "b.fasta"),
        ("z", None, "Bo", "c.tsv"),
    ]


def test_a_column_of_two_types_is_one_sentence_and_nothing_is_written(tmp_path: Path, database: Database) -> None:
    pq.write_table(pa.table({"id": ["a"], "sequence": ["AC"], "depth": [1]}), tmp_path / "a.parquet")
    b = write_tsv(tmp_path / "b.tsv", [("id", "sequence", "depth"), ("b", "AC", "deep"), ("a", "GG", "deep")])
    with pytest.raises(InputError, match="depth"):
        import_records(database, [tmp_path / "a.parquet", b])
    with pytest.raises(StoreError, match="no table"):
        database.open()
    import_records(database, [tmp_path / "a.parquet"])
    before = read(database)
    with pytest.raises(InputError, match=r"b\.tsv.*'depth'.*deep"):
        import_records(database, [b], replace=True)
    assert read(database).equals(before)
    c = write_tsv(tmp_path / "c.tsv", [("id", "sequence", "depth"), ("c", "AC", "17")])
    import_records(database, [c])
    assert rows(database)["c"]["depth"] == 17


def test_labels_are_joined_by_id(tmp_path: Path, database: Database) -> None:
    (tmp_path / "a.fasta").write_text(">x\nACGT\n>y\nGGTT\n", encoding="utf-8")
    labels = write_tsv(tmp_path / "labels.tsv", [("id", "taxonomy"), ("y", "k__Animalia; p__Chordata")])
    import_records(database, [tmp_path / "a.fasta"], labels=labels)
    found = rows(database)
    assert (found["x"]["lineage"], found["y"]["lineage"]) == (None, "Animalia;Chordata;;;;;")


@pytest.mark.parametrize("there", [False, True], ids=["new", "existing"])
def test_a_broken_file_among_several_leaves_the_table_as_it_was(
    tmp_path: Path, database: Database, there: bool
) -> None:
    good = [write_tsv(tmp_path / f"{n}.tsv", [("id", "sequence"), (n, "ACGT")]) for n in ("a", "b")]
    if there:
        import_records(database, [write_tsv(tmp_path / "o.tsv", [("id", "sequence"), ("o", "GG"), ("a", "TT")])])
        before = read(database)
    broken = tmp_path / "broken.fasta.gz"
    text = b"".join(f">z{i}\n{s}\n".encode() for i, s in enumerate(sequences(20_000)))
    broken.write_bytes(gzip.compress(text)[:-50_000])
    with pytest.raises(InputError, match="broken"):
        import_records(database, [good[0], broken, good[1]], replace=True)
    if there:
        assert read(database).equals(before)
    else:
        with pytest.raises(StoreError, match="no table"):
            database.open()


@pytest.mark.parametrize("text", ["", "id\tsequence\n", "id\tsequence\n\tACGT\n"], ids=["empty", "header", "no id"])
def test_a_file_without_records_is_refused(tmp_path: Path, database: Database, text: str) -> None:
    (tmp_path / "a.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.tsv"):
        import_records(database, [tmp_path / "a.tsv"])
    with pytest.raises(StoreError, match="no table"):
        database.open()


def test_import_into_a_table_created_by_another_program(tmp_path: Path) -> None:
    schema = pa.schema(
        [
            pa.field("sequence_id", pa.string(), nullable=False),
            pa.field("dna_sequence", pa.string(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), 10), nullable=False),
        ]
    )
    table = pa.table([["a", "b"], ["ACGT", "GGTT"], vector_array([np.ones(10)] * 2)], schema=schema)
    database = make(tmp_path / "db", table)
    (tmp_path / "a.fasta").write_text(">c\nACGTACGT\n>a\nTTTT\n", encoding="utf-8")
    result = import_records(database, [tmp_path / "a.fasta"], replace=True)
    assert (result.added, result.replaced) == (1, 1)
    found = rows(database)
    assert {i: (r["dna_sequence"], r["vector"]) for i, r in found.items()} == {
        "a": ("TTTT", None),
        "b": ("GGTT", [1.0] * 10),
        "c": ("ACGTACGT", None),
    }


def test_duplicate_ids_in_the_table_are_refused(tmp_path: Path) -> None:
    database = make(tmp_path / "db", {"sequence_id": ["a", "a"], "dna_sequence": ["AC", "AC"]})
    with pytest.raises(StoreError, match="occurs 2 times"):
        import_records(database, [write_tsv(tmp_path / "a.tsv", [("id", "sequence"), ("b", "AC")])])


def test_two_imports_at_once(tmp_path: Path, database: Database) -> None:
    files = [
        write_tsv(tmp_path / f"{n}.tsv", [("id", "sequence"), *((f"{n}{i}", s) for i, s in enumerate(sequences(4000)))])
        for n in ("a", "b")
    ]

    def until_done(path: Path) -> int:
        for attempt in range(1000):
            try:
                import_records(database, [path])
                return attempt
            except StoreError as error:
                assert "another process is importing" in str(error)
        raise AssertionError("the other import never ends")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(until_done, files))
    assert set(rows(database)) == {f"{n}{i}" for n in "ab" for i in range(4000)}


IMPORT = """
import os, sys
from pathlib import Path
from ednabed.tables import importing as ti
from ednabed.tables.table import Database
path, db, die, replace = sys.argv[1:]
if die == "rows":
    ti._rows = lambda *a: os._exit(137)
elif die == "between":
    inner = ti._widen
    def widen(*a):
        inner(*a)
        os._exit(137)
    ti._widen = widen
ti.import_records(Database(db), [Path(path)], replace=replace == "1")
"""


@pytest.mark.parametrize("die", ["rows", "between"])
def test_a_killed_import_is_finished_by_the_next(tmp_path: Path, database: Database, die: str) -> None:
    import_records(database, [write_tsv(tmp_path / "a.tsv", [("id", "sequence"), ("x", "AC"), ("y", "GG")])])
    later = write_tsv(
        tmp_path / "b.tsv",
        [("id", "sequence", "site"), ("x", "TT", "sea"), *((f"n{i}", "CC", "sea") for i in range(50))],
    )
    command = [sys.executable, "-c", IMPORT, str(later), database.address, die, "1"]
    killed = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, check=False)
    assert killed.returncode == 137, killed.stderr
    assert set(rows(database)) == {"x", "y"}
    import_records(database, [later], replace=True)
    found = rows(database)
    assert set(found) == {"x", "y", *(f"n{i}" for i in range(50))}
    assert found["x"]["dna_sequence"] == "TT"
    assert lancedb.connect(database.address).list_tables().tables == ["sequences"]
