"""Search in a table against the definition, exactly and with an index: hits, counts, order and refusals."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import ednabed.search.tables as module
from ednabed.engine.embed import Engine
from ednabed.engine.open import open_embedder
from ednabed.errors import StoreError, UsageError
from ednabed.models.spec import Policy
from ednabed.reference.parts import keys_of
from ednabed.search.hits import SearchOptions
from ednabed.search.queries import Query, QueryBatch
from ednabed.search.tables import TableSearch, by_row_id
from ednabed.sequences import digest, normalise_one
from ednabed.tables import collection
from ednabed.tables.fill import embed_table
from ednabed.tables.importing import import_records
from ednabed.tables.index import build_index
from ednabed.tables.provenance import SPEC_KEY, spec_of
from ednabed.tables.table import Database, VectorColumns
from support import expected, letters
from table_support import make, rows, sequences, simple, vector_array

KEYS = [
    "rank", "similarity", "distance", "id", "dataset", "run_id", "seq_idx", "sample", "abundance", "lineage",
    "occurrences", "datasets", "length", "source", "source_file", "sequence",
]  # fmt: skip
both_ways = pytest.mark.parametrize("indexed", [False, True], ids=["exact", "index"])


@pytest.fixture(autouse=True)
def never_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters on few rows use the index too, so that it is tested."""
    monkeypatch.setattr(module, "SMALL_ROWS", -1)


def filled(folder: Path, letters_: list[str | None], vectors: Any, indexed: bool, **columns: Any) -> Database:
    """A table of r0, r1, ... with these vectors, as if computed by the letter encoder."""
    made = [letters().spec.fingerprint if v is not None else None for v in vectors]
    database = simple(folder / "db", letters_, vector=vector_array(vectors), embedding_fingerprint=made, **columns)
    text = json.dumps(letters().spec.to_dict())
    database.open().lance.update_field_metadata({"path": "vector", "metadata": {SPEC_KEY: text}})
    if indexed:
        assert build_index(database.open(), force=True).built
    return database


def embedded(folder: Path, letters_: list[str | None], indexed: bool, **columns: Any) -> Database:
    database = simple(folder / "db", letters_, **columns)
    embed_table(database.open(), letters(), folder)
    if indexed:
        build_index(database.open(), force=True)
    return database


def query_of(sequence: str) -> np.ndarray:
    return expected(normalise_one(sequence).decode())[None]


def search_table(
    database: Database, queries: np.ndarray, k: int, exclude: list[str | None] | None = None, **options: Any
) -> tuple[list[list[dict[str, Any]]], str | None]:
    """Return the hits of vectors, and the notice if there is one; ``exclude`` has the digests of their sequences."""
    names = exclude or [None] * len(queries)
    asked = [Query({}, None if name is None else int(keys_of([name])[0])) for name in names]
    options |= {"k": k, "sequences": True, "exclude_self": exclude is not None}
    found = TableSearch(database.open(), SearchOptions(**options))
    batch = QueryBatch(asked, list(range(len(queries))), queries)
    hits = [[hit.to_dict() for hit in hits] for _, hits in found.run(batch)]
    assert len(found.notices) <= 1
    return hits, found.notices[0] if found.notices else None


def search(database: Database, queries: np.ndarray, k: int, **settings: Any) -> list[list[dict[str, Any]]]:
    return search_table(database, queries, k, **settings)[0]


def by_definition(database: Database, query: np.ndarray, column: str = "vector") -> list[tuple[float, str, str, int]]:
    """Similarity, digest, first id and number of rows of each distinct sequence, as hits are ordered."""
    groups: dict[str, list[str]] = {}
    found = rows(database)
    for id_, row in found.items():
        if row[column] is not None and any(row[column]):
            groups.setdefault(digest(normalise_one(row["dna_sequence"])), []).append(id_)
    listed = []
    for key, ids in groups.items():
        vector = np.array(found[min(ids)][column], np.float64)
        cosine = float(query[0] @ vector / np.linalg.norm(query[0].astype(np.float64)) / np.linalg.norm(vector))
        listed.append((cosine, key, min(ids), len(ids)))
    return sorted(listed, key=lambda g: (-round(float(np.float32(g[0])), 6), g[1]))


def check(database: Database, hits: list[dict[str, Any]], query: np.ndarray, k: int, **settings: Any) -> None:
    wanted = by_definition(database, query, **settings)[:k]
    assert [(h["id"], h["occurrences"]) for h in hits] == [(id_, n) for _, _, id_, n in wanted]
    assert [h["similarity"] for h in hits] == pytest.approx([cosine for cosine, *_ in wanted], abs=1e-6)
    assert [h["rank"] for h in hits] == list(range(1, len(wanted) + 1))


@both_ways
def test_hits_are_distinct_sequences(tmp_path: Path, indexed: bool) -> None:
    distinct = sequences(60)
    letters_ = [
        *distinct,
        *distinct[:20],
        *(s.lower() for s in distinct[:5]),
        *(s.replace("T", "u") for s in distinct[3:9]),
    ]
    letters_.append(f"{distinct[4][:10]}--{distinct[4][10:]}")
    random.Random(0).shuffle(letters_)
    database = embedded(tmp_path, letters_, indexed)
    for sequence in [*distinct[:10], *sequences(5, seed=9)]:
        query = query_of(sequence)
        (hits,) = search(database, query, 7)
        check(database, hits, query, 7)
    query = query_of(distinct[4])
    hit = search(database, query, 1)[0][0]
    assert (hit["occurrences"], hit["sequence"], hit["length"]) == (5, distinct[4], 30)
    assert list(hit) == KEYS
    assert hit["distance"] == round(1 - hit["similarity"], 6) and hit["source_file"] == database.address


@both_ways
def test_many_queries_are_as_one_by_one(tmp_path: Path, indexed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "_QUERIES_AT_ONCE", 7)
    monkeypatch.setattr("ednabed.tables.table._QUERIES", 3)
    database = embedded(tmp_path, sequences(100), indexed)
    queries = np.concatenate([query_of(s) for s in sequences(25, seed=5)])
    together = search(database, queries, 4)
    assert [len(hits) for hits in together] == [4] * 25
    for query, hits in zip(queries, together, strict=True):
        assert search(database, query[None], 4) == [hits]
        check(database, hits, query[None], 4)


@both_ways
def test_ties_are_in_the_order_of_digests(tmp_path: Path, indexed: bool) -> None:
    """Forty sequences, two vectors: only digests distinguish them."""
    letters_ = sequences(40)
    vectors = [np.eye(10)[i % 2] for i in range(40)]
    database = filled(tmp_path, letters_, vectors, indexed)
    query = np.eye(10, dtype=np.float32)[:1] * 3
    for k in (1, 5, 20, 25, 40, 50):
        (hits,) = search(database, query, k)
        check(database, hits, query, k)
        assert len(hits) == min(k, 40)


@both_ways
def test_a_sequence_with_many_rows_hides_no_other(tmp_path: Path, indexed: bool) -> None:
    distinct = sequences(30)
    database = embedded(tmp_path, distinct[:1] * 200 + distinct[1:2] * 100 + distinct, indexed)
    query = query_of(distinct[0])
    (hits,) = search(database, query, 3)
    check(database, hits, query, 3)
    assert hits[0]["occurrences"] == 201


def test_rows_beyond_counting_by_index_are_counted_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distinct = sequences(30)
    database = embedded(tmp_path, distinct[:1] * 200 + distinct, True)
    monkeypatch.setattr(collection, "_MAX_FETCHED", 50)
    asked = []
    original = collection.TableCollection.blocks

    def blocks(self: collection.TableCollection, allowed: Any = None) -> Any:
        asked.append(self.rows)
        return original(self, allowed)

    monkeypatch.setattr(collection.TableCollection, "blocks", blocks)
    queries = np.concatenate([query_of(distinct[0]), np.float32(np.eye(10)[3:4])])
    for query, hits in zip(queries, search(database, queries, 3), strict=True):
        check(database, hits, query[None], 3)
    assert asked == [30], "one exact pass"


@both_ways
def test_more_hits_than_sequences(tmp_path: Path, indexed: bool) -> None:
    database = embedded(tmp_path, sequences(12) * 2, indexed)
    query = query_of(sequences(1)[0])
    for k in (11, 12, 13, 1000):
        (hits,) = search(database, query, k)
        check(database, hits, query, k)


@both_ways
def test_rows_without_vector_are_not_hits(tmp_path: Path, indexed: bool) -> None:
    letters_ = sequences(30)
    vectors = [expected(s) for s in letters_]
    vectors[0] = None
    vectors[1] = np.zeros(10)
    database = filled(tmp_path, letters_, vectors, indexed)
    for query in (query_of(letters_[0]), query_of(letters_[1]), -query_of(letters_[2])):
        (hits,) = search(database, query, 40)
        assert len(hits) == 28
        check(database, hits, query, 40)
    # Pending and rejected rows as they arise in practice.
    database = embedded(tmp_path / "b", [*letters_, "ACGT", None], indexed)
    database.open().lance.add(pa.table({"sequence_id": ["new"], "dna_sequence": letters_[:1]}))
    (hits,) = search(database, query_of(letters_[0]), 40)
    assert len(hits) == 30 and hits[0]["occurrences"] == 1


@both_ways
def test_an_excluded_sequence(tmp_path: Path, indexed: bool) -> None:
    letters_ = sequences(40)
    database = embedded(tmp_path, [*letters_, letters_[0].lower()], indexed)
    queries = np.concatenate([query_of(letters_[0]), query_of(letters_[0]), query_of(letters_[1])])
    exclude = [digest(letters_[0].encode()), None, "SQ.of-another-sequence"]
    found = search(database, queries, 5, exclude=exclude)
    whole = search(database, queries[:1], 6)[0]
    assert [h["id"] for h in found[0]] == [h["id"] for h in whole[1:]]
    assert [h["rank"] for h in found[0]] == [1, 2, 3, 4, 5]
    assert found[1] == whole[:5]
    assert found[2][0]["id"] == "r1"


def test_an_excluded_sequence_does_not_displace_another(tmp_path: Path) -> None:
    """Three sequences and one with many rows: if the first is excluded, the many rows are needed for three hits."""
    letters_ = sequences(5)
    steps = [0.0, 0.1, 0.2, *[0.3] * 100, 0.4]
    vectors = [np.eye(10)[0] + step * np.eye(10)[1] for step in steps]
    database = filled(tmp_path, [*letters_[:3], *letters_[3:4] * 100, letters_[4]], vectors, True)
    (hits,) = search(database, np.eye(10, dtype=np.float32)[:1], 3, exclude=[digest(letters_[0].encode())])
    assert [(h["sequence"], h["occurrences"]) for h in hits] == [(letters_[1], 1), (letters_[2], 1), (letters_[3], 100)]


@both_ways
def test_minimum_similarity(tmp_path: Path, indexed: bool) -> None:
    database = embedded(tmp_path, sequences(40), indexed)
    query = query_of(sequences(1)[0])
    (all_hits,) = search(database, query, 10)
    least = all_hits[3]["similarity"]
    assert search(database, query, 10, min_similarity=least) == [all_hits[:4]]
    assert search(database, -query, 10, min_similarity=0.5) == [[]]


@both_ways
def test_a_filter_comes_before_the_search(tmp_path: Path, indexed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The filter selects the five farthest sequences, in lists that are not visited without a filter."""
    monkeypatch.setattr("ednabed.tables.index._ROWS_PER_LIST", 10)
    monkeypatch.setattr("ednabed.tables.index._WIDTHS", ((1, 1),))
    letters_ = sequences(80)
    query = query_of(letters_[0])
    plain = embedded(tmp_path, letters_ * 2, False)
    far = [int(id_[1:]) % 80 for _, _, id_, _ in by_definition(plain, query)[-5:]]
    sites = ["far" if i % 80 in far and i < 80 else "near" for i in range(160)]
    database = embedded(tmp_path / "b", letters_ * 2, indexed, site=sites)
    (hits,) = search(database, query, 10, where="site = 'far'")
    assert {int(h["id"][1:]) for h in hits} == set(far) and {h["occurrences"] for h in hits} == {1}
    assert search(database, query, 3, where="site = 'nowhere'") == [[]]
    (hits,) = search(database, query, 3, where="site IS NOT NULL")
    check(database, hits, query, 3)
    for where in ("site = ", "sites = 'far'", "site = 'far' AMD true", "true; DROP TABLE sequences"):
        with pytest.raises(UsageError, match="filter, position") as error:
            search(database, query, 3, where=where)
        assert "\n" not in str(error.value)
    assert len(rows(database)) == 160


def test_a_filter_against_the_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The farthest half of all rows fulfils it: the lists near the query hold the wrong rows."""
    monkeypatch.setattr("ednabed.tables.index._ROWS_PER_LIST", 20)
    monkeypatch.setattr("ednabed.tables.index._WIDTHS", ((2, 1),))
    letters_ = sequences(600)
    query = query_of(letters_[0])
    cosines = [float(query[0] @ expected(s) / np.linalg.norm(expected(s))) for s in letters_]
    side = np.where(np.array(cosines) < np.median(cosines), "far", "near").tolist()
    database = embedded(tmp_path, letters_, True, side=side)
    assert search(database, query, 5, where="side = 'far'") == search(
        database, query, 5, where="side = 'far'", exact=True
    )


@both_ways
def test_rows_that_were_added_later(tmp_path: Path, indexed: bool) -> None:
    """Added with a vector, embedded by later commands, changed by re-import, deleted: the index is never wrong."""
    letters_ = sequences(400)
    database = embedded(tmp_path, letters_[:300], indexed)

    def compare() -> None:
        queries = np.concatenate([query_of(s) for s in letters_[::23]])
        found, notice = search_table(database, queries, 6)
        assert (notice is None) == indexed
        for query, hits in zip(queries, found, strict=True):
            check(database, hits, query[None], 6)

    late = pa.table(
        {
            "sequence_id": ["late0", "late1"],
            "dna_sequence": letters_[300:302],
            "vector": vector_array([expected(s) for s in letters_[300:302]]),
            "embedding_fingerprint": [letters().spec.fingerprint] * 2,
        }
    )
    database.open().lance.add(late)
    assert search(database, query_of(letters_[301]), 1)[0][0]["id"] == "late1"
    compare()
    fasta = tmp_path / "more.fasta"
    fasta.write_text("".join(f">m{i}\n{s}\n" for i, s in enumerate(letters_[302:])), encoding="utf-8")
    import_records(database, [fasta])
    compare()
    embed_table(database.open(), letters(), tmp_path)
    assert search(database, query_of(letters_[350]), 1)[0][0]["id"] == "m48"
    compare()
    # The same ids with other sequences, so other vectors: indexed rows are written again.
    fasta.write_text("".join(f">r{i}\n{s}\n" for i, s in enumerate(sequences(50, seed=3))), encoding="utf-8")
    import_records(database, [fasta], replace=True)
    compare()
    embed_table(database.open(), letters(), tmp_path)
    assert search(database, query_of(sequences(50, seed=3)[7]), 1)[0][0]["id"] == "r7"
    compare()
    database.open().lance.delete("sequence_id = 'r7' OR sequence_id = 'm48'")
    assert search(database, query_of(letters_[350]), 1)[0][0]["id"] != "m48"
    compare()


def test_another_function_in_the_same_column(tmp_path: Path) -> None:
    database = embedded(tmp_path, sequences(100), True)
    assert search_table(database, query_of(sequences(1)[0]), 3)[1] is None
    embed_table(database.open(), letters(salt=1), tmp_path, resume=False)
    query = expected(sequences(1)[0], salt=1)[None]
    (hits,), notice = search_table(database, query, 3)
    check(database, hits, query, 3)
    assert notice is not None and "another function" in notice and "'ednabed table index'" in notice
    embed_table(database.open(), letters(), tmp_path, resume=False, max_sequences=None)
    database.open().lance.update(where="sequence_id = 'r1'", values={"embedding_fingerprint": "e" * 64})
    with pytest.raises(StoreError, match="computed by 2 functions"):
        search_table(database, query, 3)


def test_when_exact_search_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = embedded(tmp_path, sequences(20), False)
    query = query_of(sequences(1)[0])
    notice = search_table(database, query, 3)[1]
    assert notice is not None and "exact search over 20 rows" in notice and "has no index" in notice
    assert search_table(database, query, 3, exact=True)[1] is None
    monkeypatch.setattr(module, "SMALL_ROWS", 20)
    assert search_table(database, query, 3)[1] is None
    build_index(database.open(), force=True)
    monkeypatch.setattr(module, "TableCollection", None)
    assert search_table(database, query, 3)[1] is None
    with pytest.raises(TypeError):
        search_table(database, query, 3, exact=True)


def test_nothing_is_read_for_no_queries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = embedded(tmp_path, sequences(5), False)
    monkeypatch.setattr(module, "TableCollection", None)
    found = TableSearch(database.open(), SearchOptions())
    rejected = Query({"rejected": "why"})
    assert list(found.run(QueryBatch([rejected], [], np.zeros((0, 10), np.float32)))) == [(rejected, [])]
    assert found.notices == []


def test_a_search_needs_a_table_with_vectors(tmp_path: Path) -> None:
    database = embedded(tmp_path, sequences(5), False)
    with pytest.raises(StoreError, match="'other' does not exist"):
        TableSearch(database.open(VectorColumns("other")), SearchOptions())
    with pytest.raises(StoreError, match="has no table 'sequences'"):
        search_table(Database(str(tmp_path / "nowhere")), np.ones((1, 10), np.float32), 3)


def test_a_row_as_a_query(tmp_path: Path) -> None:
    letters_ = [*sequences(3), "ACGT"]
    database = make(tmp_path / "db", {"sequence_id": ["a", "it's", "' OR TRUE --", "short"], "dna_sequence": letters_})
    embed_table(database.open(), letters(), tmp_path)
    for i, name in enumerate(["a", "it's", "' OR TRUE --"]):
        batch = by_row_id(database.open(), name)
        assert (batch.queries[0].info, batch.queries[0].sequence) == ({"id": name, "length": 30}, letters_[i])
        assert np.array_equal(batch.vectors, query_of(letters_[i]))
        assert batch.queries[0].key == int(keys_of([digest(letters_[i].encode())])[0])
    with pytest.raises(StoreError, match="has no row with sequence_id 'A'"):
        by_row_id(database.open(), "A")
    with pytest.raises(StoreError, match="row 'short' has no vector yet; run 'ednabed table embed'"):
        by_row_id(database.open(), "short")


def test_the_columns_of_a_hit(tmp_path: Path) -> None:
    letters_ = sequences(4)
    table = {
        "sequence_id": ["d", "c", "b", "a"],
        "dna_sequence": [letters_[0], letters_[1], letters_[0], letters_[3]],
        "sample": ["s1", "s2", "s3", None],
        "abundance": pa.array([4.5, 2.0, float("nan"), None]),
        "lineage": ["k__Animalia;p__Chordata", None, "Animalia;Chordata;;;;;", ";".join("abcdefghij")],
        "source": ["f.fasta"] * 4,
    }
    database = make(tmp_path / "db", table)
    embed_table(database.open(), letters(), tmp_path)
    hits = {h["id"]: h for h in search(database, query_of(letters_[0]), 9)[0]}
    assert set(hits) == {"a", "b", "c"}, "the first of b and d by id"
    # JSON cannot represent NaN; a lineage of unknown form is returned as it is.
    told = [(hits[i]["sample"], hits[i]["abundance"], hits[i]["lineage"], hits[i]["source"]) for i in "abc"]
    assert told == [
        (None, None, "a;b;c;d;e;f;g;h;i;j", "f.fasta"),
        ("s3", None, "Animalia;Chordata;;;;;", "f.fasta"),
        ("s2", 2.0, None, "f.fasta"),
    ]
    assert {(h["dataset"], h["run_id"], h["seq_idx"]) for h in hits.values()} == {(None, None, None)}
    json.dumps(list(hits.values()), allow_nan=False)


def test_rank_columns_form_a_lineage(tmp_path: Path) -> None:
    ranks = {"kingdom": ["Animalia", None], "family": ["Salmonidae", ""], "species": ["Salmo trutta", None]}
    database = simple(tmp_path / "db", sequences(2), **ranks)
    embed_table(database.open(), letters(), tmp_path)
    hits = {h["id"]: h for h in search(database, query_of(sequences(1)[0]), 2)[0]}
    assert hits["r0"]["lineage"] == "Animalia;;;;Salmonidae;;Salmo trutta" and hits["r1"]["lineage"] is None
    assert hits["r0"]["sample"] is None and hits["r0"]["source"] is None


def test_a_sequence_that_was_changed_by_hand(tmp_path: Path) -> None:
    """It can no longer be normalised; it is still a row with a vector."""
    database = embedded(tmp_path, sequences(3), False)
    database.open().lance.update(where="sequence_id = 'r1'", values={"dna_sequence": "AC*GT"})
    hits = {h["id"]: h for h in search(database, query_of(sequences(1)[0]), 9)[0]}
    assert (hits["r1"]["sequence"], hits["r1"]["length"], len(hits)) == (None, 0, 3)


def test_strict_sequences_are_grouped_as_they_were_embedded(tmp_path: Path) -> None:
    letters_ = [*sequences(3), "ACGTNACGTACGTACGTACGTACGT"]
    database = simple(tmp_path / "db", [*letters_, letters_[3].replace("N", "R")])
    embed_table(database.open(), letters(Policy(alphabet="strict")), tmp_path)
    query = query_of(letters_[3])
    assert spec_of(database.open()).alphabet == "strict"
    assert search(database, query, 1)[0][0]["occurrences"] == 1


def test_real_barcodes_with_the_index_as_with_exact_search(tmp_path: Path, shared: Path) -> None:
    """25,000 COI barcodes with kmer6: rows as queries, changed ones, fragments, and sequences of another marker."""
    chosen = tmp_path / "coi.tsv"
    with (
        gzip.open(shared / "data" / "coi.tsv.gz", "rt", encoding="utf-8") as file,
        chosen.open("w", encoding="utf-8") as out,
    ):
        for number, line in enumerate(file):
            if number % 4 == 0:
                out.write(line)
    database = Database(str(tmp_path / "db"))
    import_records(database, [chosen])
    embedder = open_embedder("kmer6")
    embed_table(database.open(), embedder, tmp_path, show_progress=False)
    info = build_index(database.open())
    assert info.built and info.rows > 25_000 and info.reached and info.kind == "IVF_RQ"
    with chosen.open(encoding="utf-8") as file:
        coi = [row["sequence"] for row in csv.DictReader(file, delimiter="\t")]
    with gzip.open(shared / "data" / "16s.tsv.gz", "rt", encoding="utf-8") as file:
        other = [row["sequence"] for row in itertools.islice(csv.DictReader(file, delimiter="\t"), 0, 4000, 80)]
    chance = random.Random(1)
    own = chance.sample([s for s in coi if len(s) > 300], 60)
    changed = ["".join(c if chance.random() > 0.1 else chance.choice("ACGT") for c in s) for s in own]
    queries = [normalise_one(s) for s in [*own, *changed, *(s[100:250] for s in own), *other]]
    vectors, refused = Engine(embedder).embed(queries)
    assert not refused
    exclude = [digest(q) for q in queries]
    exact, _ = search_table(database, vectors, 10, exclude=exclude, exact=True)
    found, notice = search_table(database, vectors, 10, exclude=exclude)
    assert notice is None
    right = 0
    for wanted, hits in zip(exact, found, strict=True):
        assert len(wanted) == len(hits) == 10
        right += sum(hit["similarity"] >= wanted[-1]["similarity"] - 1e-6 for hit in hits)
        told = {hit["id"]: (hit["similarity"], hit["occurrences"], hit["sequence"]) for hit in wanted}
        for hit in hits:
            own_told = (hit["similarity"], hit["occurrences"], hit["sequence"])
            assert told.get(hit["id"], own_told) == own_told
    assert right / (10 * len(queries)) >= 0.99
    where = "lineage NOT LIKE '%Arthropoda%'"
    exact, _ = search_table(database, vectors[:60], 10, where=where, exact=True)
    found, _ = search_table(database, vectors[:60], 10, where=where)
    assert all("Arthropoda" not in str(hit["lineage"]) for hits in found for hit in hits)
    nearness = [
        sum(h["similarity"] >= w[-1]["similarity"] - 1e-6 for h in f) for w, f in zip(exact, found, strict=True)
    ]
    assert np.mean(nearness) >= 9.9
