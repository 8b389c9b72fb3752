"""A table as a collection: the same sequences, records and hits as by definition, and as from a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ednabed.base.topk import lengths
from ednabed.engine.open import open_embedder
from ednabed.export.selection import Selection
from ednabed.reference.collection import Collection
from ednabed.reference.loose import LooseRuns
from ednabed.reference.parts import keys_of
from ednabed.reference.sources import find_sources
from ednabed.search.hits import Search, SearchOptions
from ednabed.search.queries import by_sequence
from ednabed.sequences import digest, normalise_one
from ednabed.store.run_writer import RunRequest, embed_to_run
from ednabed.store.runs import runs_root
from ednabed.tables.collection import TableCollection, digest_order, digests_of
from ednabed.tables.fill import embed_table
from ednabed.tables.importing import import_records
from ednabed.tables.provenance import spec_of
from ednabed.tables.table import ID, Database, row_ids
from ednabed.taxonomy.labels import read_row_labels
from support import expected, letters
from table_support import make, sequences, simple, vector_array


def test_rows_are_returned_in_the_requested_order(tmp_path: Path) -> None:
    vectors = np.random.default_rng(2).normal(size=(40, 10)).astype(np.float32)
    database = simple(tmp_path / "db", sequences(40), vector=vector_array(list(vectors)))
    table = database.open()
    table.lance.delete("sequence_id = 'r3'")
    ids, rows = [], []
    for batch in table.scan([ID], "sequence_id != 'r5'"):
        ids += batch.column(ID).to_pylist()
        rows += row_ids(batch).tolist()
    assert sorted(ids) == sorted(f"r{i}" for i in range(40) if i not in (3, 5))
    order = np.random.default_rng(3).permutation(len(rows))
    wanted = np.array(rows)[np.concatenate([order, order[:4]])]
    taken = table.take(wanted, [ID, "vector"])
    assert taken.column(ID).to_pylist() == [ids[i] for i in [*order, *order[:4]]]
    assert row_ids(taken).tolist() == wanted.tolist()
    assert np.array_equal(table.vectors(taken), [vectors[int(id_[1:])] for id_ in taken.column(ID).to_pylist()])
    nothing = table.take(np.zeros(0, np.int64), [ID, "vector"])
    assert nothing.num_rows == 0 and table.vectors(nothing).shape == (0, 10)


def test_digests_of_a_column_and_their_order() -> None:
    texts = [*sequences(300), "acgu-n", "AC*GT", None, ""]
    found = digests_of(pa.array(texts), "iupac")
    plain = [digest(normalise_one(t)) for t in texts[:301]]
    assert found == [*plain, digest(b"AC*GT"), digest(b""), digest(b"")]
    assert digests_of(pa.array(texts, pa.large_string()), "iupac") == found
    order = digest_order(keys_of(found))
    in_order = sorted(range(len(texts)), key=lambda i: found[i])
    assert np.all(np.diff(order[in_order].astype(object)) >= 0)
    assert len(set(order.tolist())) == len(set(found))


@pytest.mark.parametrize("where", [None, "`site` != 'b'"])
def test_a_table_by_the_definition_of_a_collection(tmp_path: Path, where: str | None) -> None:
    distinct = sequences(30)
    texts = [*distinct, *distinct[:10], *(s.lower() for s in distinct[:4]), "ACGT"]
    order = np.random.default_rng(0).permutation(len(texts))
    columns = {
        "sequence_id": [f"r{i:02}" for i in order],
        "dna_sequence": [texts[i] for i in order],
        "site": ["abc"[i % 3] for i in order],
        "sample": pa.array([None if i % 5 else i for i in order]),
    }
    database = make(tmp_path / "db", columns)
    embed_table(database.open(), letters(), tmp_path)
    database.open().lance.add(pa.table({"sequence_id": ["pending"], "dna_sequence": distinct[:1]}))
    table = database.open()
    found = TableCollection(table, spec_of(table), where)
    groups: dict[str, list[int]] = {}
    for i, text in enumerate(texts):
        if text != "ACGT" and (where is None or i % 3 != 1):
            groups.setdefault(digest(normalise_one(text)), []).append(i)
    digests = sorted(groups)
    assert (found.name, found.rows, found.part_datasets) == (database.address, len(digests), [""])
    assert np.array_equal(found.keys, keys_of(digests))
    rows = np.arange(found.rows)
    taken = found.take_sequences(rows)
    assert taken.column("digest").to_pylist() == digests
    assert taken.column("sequence").to_pylist() == [texts[groups[d][0]].upper() for d in digests]
    assert found.take_sequences(rows[:0], bases=False).column_names == ["digest", "length"]
    vectors = np.array([expected(texts[groups[d][0]].upper()) for d in digests])
    assert np.array_equal(found.vectors_of(rows[::-1]), vectors[::-1])
    assert np.array_equal(found.norms, lengths(vectors))
    for allowed in (None, rows % 3 == 1, np.zeros(len(rows), bool)):
        blocks = list(found.blocks(allowed))
        listed = np.concatenate([block for block, _, _ in blocks] or [rows[:0]])
        assert sorted(listed) == rows[slice(None) if allowed is None else allowed].tolist()
        assert all(np.array_equal(vectors[block], of_block) for block, of_block, _ in blocks)
    records = found.take_records(found.positions, ["id", "sample", "length", "source_file", "dataset", "site"])
    ids = [f"r{i:02}" for d in digests for i in sorted(groups[d])]
    assert records.column("id").to_pylist() == ids
    assert records.column("sample").to_pylist() == [None if int(i[1:]) % 5 else int(i[1:]) for i in ids]
    assert records.column("site").to_pylist() == ["abc"[int(i[1:]) % 3] for i in ids]
    assert set(records.column("length").to_pylist()) == {30} and set(records.column("dataset").to_pylist()) == {None}
    assert np.diff(found.starts).tolist() == [len(groups[d]) for d in digests]
    scanned = [(first + i, row) for first, part in found.scan_records(["id"]) for i, row in enumerate(part.to_pylist())]
    assert [position for position, _ in scanned] == list(range(len(ids)))
    of_row = {row["id"]: row["row"] for _, row in scanned}
    assert of_row == {f"r{i:02}": digests.index(d) for d, of_digest in groups.items() for i in of_digest}


def test_a_table_without_a_usable_row_is_empty(tmp_path: Path) -> None:
    database = simple(tmp_path / "db", sequences(2))
    embed_table(database.open(), letters(), tmp_path)
    table = database.open()
    found = TableCollection(table, spec_of(table), "FALSE")
    assert (found.rows, found.starts.tolist(), list(found.blocks())) == (0, [0], [])
    assert list(found.scan_records(["id"])) == []
    assert list(found.search(np.ones((1, 10), np.float32), 3)) == []


def test_search_labels_and_export_work_on_a_table_as_on_a_run(tmp_path: Path) -> None:
    lines = ["id\tsequence\tlineage\tsample\tabundance"]
    for i, sequence in enumerate([*sequences(12, 300), *sequences(3, 300)]):
        lines.append(f"x{i:02}\t{sequence}\tAnimalia;Chordata;;;;;Salmo s{i % 4}\tS{i % 2}\t{i + 1}")
    source = tmp_path / "in.tsv"
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    embedder = open_embedder("kmer6")
    embed_to_run(RunRequest([source], tmp_path, dataset="d"), embedder)
    database = Database(str(tmp_path / "db"))
    import_records(database, [source])
    embed_table(database.open(), embedder, tmp_path, show_progress=False)
    table = TableCollection(database.open(), embedder.spec)
    query = by_sequence(embedder, sequences(12, 300)[1])
    shown = ("rank", "similarity", "id", "sample", "abundance", "lineage", "occurrences", "length", "alignment")

    def described(collection: Collection) -> tuple[Any, ...]:
        labels = read_row_labels(collection)
        main = dict(zip(collection.keys.tolist(), (labels.lineages[i] for i in labels.main), strict=True))
        exported = {}
        for piece in Selection(collection).pieces(["id", "sample", "abundance"]):
            parts = zip(piece.starts, piece.starts[1:], strict=False)
            records = [piece.records.slice(first, last - first).to_pylist() for first, last in parts]
            texts = piece.sequences.column("sequence").to_pylist()
            exported |= dict(zip(piece.ids, zip(texts, records, strict=True), strict=True))
        options = SearchOptions(k=4, align=True, exclude_self=True)
        ((_, hits),) = Search(collection, options).run(query)
        return main, exported, [{key: getattr(hit, key) for key in shown} for hit in hits]

    run = LooseRuns(find_sources(runs_root(tmp_path), tmp_path).sources)
    for of_table, of_run in zip(described(table), described(run), strict=True):
        assert of_table == of_run
