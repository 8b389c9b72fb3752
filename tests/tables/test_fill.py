"""Embedding a table: which rows are pending, what each row gets, and that everything else is unchanged."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ednabed.api import EmbeddingEngine
from ednabed.base.arrays import FloatArray
from ednabed.cli.main import main
from ednabed.errors import EmbeddingError, StoreError, UsageError
from ednabed.models.base import Embedder, Tokens
from ednabed.models.spec import Policy
from ednabed.store.checkpoint import CHECKPOINT, checkpoint_folder
from ednabed.tables import fill, prepare
from ednabed.tables.fill import embed_table
from ednabed.tables.importing import import_records
from ednabed.tables.status import survey
from ednabed.tables.table import Database, VectorColumns
from support import LetterEncoder, expected, letters
from table_support import finish, make, read, rows, same_vector, sequences, simple, start, vector_array

OWN = letters().spec.fingerprint
OTHER = letters(salt=1).spec.fingerprint


class Meddler(LetterEncoder):
    """Encoder that calls ``hook`` before each batch, to imitate other programs while vectors are computed."""

    def __init__(self, hook: Callable[[int], None], **further: Any) -> None:
        super().__init__(**further)
        self.hook = hook

    def forward(self, tokens: Tokens) -> FloatArray:
        self.hook(len(self.batches))
        return super().forward(tokens)


def meddler(hook: Callable[[int], None]) -> Embedder:
    return Embedder.from_encoder(Meddler(hook), Policy())


def check_complete(database: Database, salt: int = 0, column: str = "vector") -> None:
    """Check that every row has the vector of its own sequence."""
    for id_, row in rows(database).items():
        assert same_vector(row, expected(row["dna_sequence"], salt), column), id_


def test_every_row_gets_the_vector_of_its_sequence(tmp_path: Path) -> None:
    letters_ = sequences(500)
    database = simple(tmp_path / "db", letters_)
    embedder = letters()
    stats = embed_table(database.open(), embedder, tmp_path)
    assert (stats.rows, stats.pending, stats.embedded, stats.rejected, stats.left) == (500, 500, 500, 0, 0)
    assert (stats.computed, stats.taken_up, stats.model, stats.fingerprint) == (500, 0, "letters", OWN)
    assert (stats.device, stats.precision) == ("cpu", "fp32")
    found = rows(database)
    for i, sequence in enumerate(letters_):
        row = found[f"r{i}"]
        assert same_vector(row, expected(sequence))
        assert (row["dna_sequence"], row["embedding_status"], row["embedding_reason"]) == (sequence, "embedded", None)
        assert row["embedding_fingerprint"] == OWN


def test_the_second_call_computes_and_writes_nothing(tmp_path: Path) -> None:
    # Without an A, the first element of the vector is 0.0, which does not imply a zero vector.
    letters_ = [s.replace("A", "C") for s in sequences(40)]
    assert all(expected(s)[0] == 0 for s in letters_)
    database = simple(tmp_path / "db", [*letters_, "ACGT"])
    embed_table(database.open(), letters(), tmp_path)
    before, version = read(database), database.open().lance.version
    embedder = letters()
    stats = embed_table(database.open(), embedder, tmp_path)
    assert (stats.pending, stats.embedded, stats.rejected, stats.computed) == (0, 0, 0, 0)
    assert embedder.encoder.rows == 0
    assert read(database).equals(before)
    assert database.open().lance.version == version
    stats = embed_table(database.open(), embedder, tmp_path, resume=False)
    assert (stats.pending, embedder.encoder.rows) == (0, 0)


def test_pending_is_null_or_all_zero(tmp_path: Path) -> None:
    letters_ = [s.replace("A", "G") for s in sequences(7)]
    vectors = [expected(s) for s in letters_]
    vectors[1:5] = [None, np.zeros(10), -np.zeros(10), np.zeros(10)]
    fingerprints = [OWN, None, None, None, OWN, OWN, OWN]
    database = simple(
        tmp_path / "db", letters_, vector=vector_array(vectors), embedding_fingerprint=pa.array(fingerprints)
    )
    embedder = letters()
    stats = embed_table(database.open(), embedder, tmp_path)
    assert (stats.pending, stats.embedded, embedder.encoder.rows) == (4, 4, 4)
    check_complete(database)


def test_rejected_rows_have_a_reason_and_no_vector(tmp_path: Path) -> None:
    good = sequences(3)
    bad = {
        "": "empty sequence",
        "ACGTACGTACGTACGTACGTAZGT": "invalid character 'Z' at position 22",
        "ACGT": "4 bases, fewer than the minimum of 20",
        "N" * 30: "contains no A, C, G or T",
        "ACGTACGTACGTACGTACGTÄ": "invalid character 'Ä' at position 21",
    }
    database = simple(tmp_path / "db", [*good, *bad, None], vector=vector_array([np.zeros(10)] * 9))
    stats = embed_table(database.open(), letters(), tmp_path)
    assert (stats.pending, stats.embedded, stats.rejected, stats.left) == (9, 3, 6, 0)
    found = rows(database)
    for i, reason in enumerate([*bad.values(), "empty sequence"], start=3):
        row = found[f"r{i}"]
        assert row["embedding_reason"].startswith(reason)
        assert (row["embedding_status"], row["vector"], row["embedding_fingerprint"]) == ("rejected", None, OWN)
    assert found["r8"]["dna_sequence"] is None
    status = survey(database.open())
    assert (status.embedded, status.pending, status.rejected) == (3, 0, 6)
    assert embed_table(database.open(), letters(), tmp_path).pending == 0


def test_another_function_checks_rejected_rows_again(tmp_path: Path) -> None:
    database = simple(tmp_path / "db", ["ACGTR" * 6, sequences(1)[0]])
    strict = letters(Policy(alphabet="strict"))
    assert embed_table(database.open(), strict, tmp_path).rejected == 1
    stats = embed_table(database.open(), letters(), tmp_path, resume=False)
    assert (stats.embedded, stats.rejected) == (2, 0)
    row = rows(database)["r0"]
    assert (row["embedding_status"], row["embedding_reason"]) == ("embedded", None)


def test_a_model_that_refuses_rows(tmp_path: Path) -> None:
    long, short = "ACGT" * 20, "ACGT" * 10
    database = simple(tmp_path / "db", [long, short, long])
    stats = embed_table(database.open(), letters(Policy(long="reject"), max_tokens=50), tmp_path)
    assert (stats.embedded, stats.rejected) == (1, 2)
    assert "81 tokens, more than the 50 allowed" in rows(database)["r2"]["embedding_reason"]


def test_a_model_that_returns_zeros_ends_with_rejected_rows(tmp_path: Path) -> None:
    class Zeros(LetterEncoder):
        def forward(self, tokens: Tokens) -> FloatArray:
            out = super().forward(tokens)
            out[out[:, 0] == 0] = 0
            return out

    zero, other = "CG" * 15, "AC" * 15
    database = simple(tmp_path / "db", [zero, other, zero])
    stats = embed_table(database.open(), Embedder.from_encoder(Zeros(), Policy()), tmp_path)
    assert (stats.embedded, stats.rejected) == (1, 2)
    row = rows(database)["r0"]
    assert (row["vector"], row["embedding_status"]) == (None, "rejected")
    assert "zeros" in row["embedding_reason"]


def test_spellings_of_one_sequence_share_a_computation(tmp_path: Path) -> None:
    one, two = sequences(2)
    spellings = [one, one.lower(), one.replace("T", "U"), f"{one[:9]}-{one[9:]}", f" {one}\n", two, one]
    database = simple(tmp_path / "db", spellings)
    embedder = letters()
    stats = embed_table(database.open(), embedder, tmp_path)
    assert (stats.embedded, stats.computed, embedder.encoder.rows) == (7, 2, 2)
    found = rows(database)
    assert all(same_vector(found[f"r{i}"], expected(two if i == 5 else one)) for i in range(7))
    assert [found[f"r{i}"]["dna_sequence"] for i in range(7)] == spellings


def test_duplicates_far_apart_also_share_a_computation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill, "MERGE_ROWS", 10)
    letters_ = sequences(25)
    database = simple(tmp_path / "db", letters_ * 4)
    embedder = letters()
    stats = embed_table(database.open(), embedder, tmp_path)
    assert (stats.embedded, stats.computed, embedder.encoder.rows) == (100, 25, 25)
    check_complete(database)


def test_memory_for_duplicates_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill, "MERGE_ROWS", 10)
    monkeypatch.setattr(fill, "_RECENT_BYTES", 5 * 4 * 10)
    database = simple(tmp_path / "db", sequences(25) * 2)
    assert embed_table(database.open(), letters(), tmp_path).embedded == 50
    check_complete(database)


def test_other_columns_are_untouched(tmp_path: Path) -> None:
    n = 60
    numbers = np.random.default_rng(3)
    every_third: Callable[[list[Any]], list[Any]] = lambda values: [  # noqa: E731
        None if i % 3 == 0 else v for i, v in enumerate(values)
    ]
    now = datetime(2024, 2, 29, 12, 30, 1, 999_999, tzinfo=UTC)
    further = {
        "count": pa.array(every_third([int(x) for x in numbers.integers(-(2**63), 2**63 - 1, n)]), pa.int64()),
        "small": pa.array(every_third(list(range(n))), pa.uint8()),
        "depth": pa.array(every_third([float(x) for x in numbers.normal(size=n)]), pa.float64()),
        "odd": pa.array([[-0.0, float("inf"), 5e-324][i % 3] for i in range(n)], pa.float64()),
        "half": pa.array(numbers.normal(size=n).astype(np.float16)),
        "when": pa.array(every_third([now] * n), pa.timestamp("us", tz="UTC")),
        "day": pa.array(every_third([now.date()] * n), pa.date32()),
        "clean": pa.array(every_third([i % 2 == 0 for i in range(n)]), pa.bool_()),
        "raw": pa.array(every_third([bytes(numbers.bytes(i)) for i in range(n)]), pa.binary()),
        "words": pa.array(every_third([["é", "", None][: i % 4] for i in range(n)]), pa.list_(pa.string())),
        "place": pa.array([[float(i), -float(i)] for i in range(n)], pa.list_(pa.float64(), 2)),
        "nested": pa.array(every_third([{"a": i, "b": [str(i)]} for i in range(n)])),
        "text": pa.array(every_third(['it\'s\n"x" 日本'] * n), pa.large_string()),
        "empty": pa.array([None] * n, pa.string()),
        "foreign": vector_array([numbers.normal(size=4) for _ in range(n)], 4),
    }
    database = simple(tmp_path / "db", ["ACGT", *sequences(n - 1)], **further)
    before = read(database)
    embed_table(database.open(), letters(), tmp_path, max_sequences=17)
    embed_table(database.open(), letters(), tmp_path)
    embed_table(database.open(VectorColumns("second")), letters(salt=1), tmp_path)
    embed_table(database.open(), letters(salt=2), tmp_path, resume=False)
    after = read(database)
    assert after.column_names[: len(before.column_names)] == before.column_names
    assert after.select(before.column_names).equals(before)
    # equals() treats -0.0 as 0.0.
    assert np.array_equal(np.signbit(after["odd"].to_numpy()), np.signbit(before["odd"].to_numpy()))


@pytest.mark.parametrize("nullable", [True, False])
@pytest.mark.parametrize("text", [pa.string(), pa.large_string()], ids=str)
def test_a_table_created_by_another_program(tmp_path: Path, nullable: bool, text: pa.DataType) -> None:
    letters_ = [*sequences(20), "ACGT"]
    schema = pa.schema(
        [
            pa.field("sequence_id", text, nullable),
            pa.field("dna_sequence", text, nullable),
            pa.field("vector", pa.list_(pa.float32(), 10), nullable),
        ]
    )
    ids = [f"r{i}" for i in range(21)]
    database = make(tmp_path / "db", pa.table([ids, letters_, vector_array([np.zeros(10)] * 21)], schema=schema))
    stats = embed_table(database.open(), letters(), tmp_path)
    assert (stats.embedded, stats.rejected) == (20, 1)
    found = rows(database)
    assert all(same_vector(found[f"r{i}"], expected(letters_[i])) for i in range(20))
    assert found["r20"]["vector"] is None
    assert database.open().lance.schema.field("dna_sequence").type == text


def test_a_table_created_by_a_pydantic_model(tmp_path: Path) -> None:
    from lancedb.pydantic import LanceModel, Vector

    class Row(LanceModel):
        sequence_id: str
        dna_sequence: str
        vector: Vector(10)  # type: ignore[valid-type]

    table = lancedb.connect(str(tmp_path / "db")).create_table("sequences", schema=Row)
    table.add([Row(sequence_id=f"r{i}", dna_sequence=s, vector=[0.0] * 10) for i, s in enumerate(sequences(5))])
    database = Database(str(tmp_path / "db"))
    assert embed_table(database.open(), letters(), tmp_path).embedded == 5
    check_complete(database)


def test_ids_and_sequences_with_odd_characters(tmp_path: Path) -> None:
    one = sequences(1)[0]
    ids = ["it's", 'say "x"', "日本", "a\nb", "a\tb", "", " ", "x' OR '1'='1", "\\", "`", "%", "\u0000"]
    letters_ = [f"{one[:5]}\n{one[5:]}", f"{one}'", '"', "日本", *[one] * 8]
    database = make(tmp_path / "db", {"sequence_id": ids, "dna_sequence": letters_})
    embed_table(database.open(), letters(), tmp_path)
    found = rows(database)
    assert [found[i]["dna_sequence"] for i in ids] == letters_
    done = [i for i in ids if same_vector(found[i], expected(one))]
    refused = [i for i in ids if found[i]["embedding_status"] == "rejected"]
    assert refused == [*ids[1:4], ""]
    assert sorted(done + refused) == sorted(ids)
    assert found[""]["embedding_reason"] == "the record has no id"
    assert survey(database.open()).pending == 0


@pytest.mark.parametrize("pending", [np.zeros(768), None], ids=["zeros", "null"])
def test_a_column_of_another_dimension_without_a_vector_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, pending: np.ndarray | None
) -> None:
    database = simple(tmp_path / "db", sequences(3), vector=vector_array([pending] * 3, 768), place=["a", "b", "c"])
    stats = embed_table(database.open(), letters(), tmp_path)
    assert stats.embedded == 3
    assert "had 768 dimensions and no vector in any row; it is replaced by one of 10" in caplog.text
    check_complete(database)
    assert [row["place"] for row in rows(database).values()] == ["a", "b", "c"]
    caplog.clear()
    assert embed_table(database.open(), letters(), tmp_path).pending == 0
    assert caplog.text == ""


def while_a_column_is_replaced(monkeypatch: pytest.MonkeyPatch, meddle: Callable[[], Any]) -> None:
    """Let another program act between the last check of a column and its removal."""
    look = prepare.holds_vectors
    calls: list[int] = []

    def look_and_meddle(*arguments: Any) -> bool:
        found = look(*arguments)
        calls.append(1)
        if len(calls) == 2:
            meddle()
        return found

    monkeypatch.setattr(prepare, "holds_vectors", look_and_meddle)


def test_vectors_written_while_a_column_is_replaced_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = simple(tmp_path / "db", sequences(3), vector=vector_array([np.zeros(12)] * 3, 12))
    one = {"where": "sequence_id = 'r1'", "values": {"vector": [1.0] * 12}}
    while_a_column_is_replaced(monkeypatch, lambda: database.open().lance.update(**one))
    with pytest.raises(StoreError, match="received vectors of 12 dimensions meanwhile"):
        embed_table(database.open(), letters(), tmp_path)
    assert rows(database)["r1"]["vector"] == [1.0] * 12


def test_another_process_replaces_and_fills_the_same_column_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = simple(tmp_path / "db", sequences(3), vector=vector_array([np.zeros(12)] * 3, 12))

    def other() -> None:
        assert embed_table(database.open(), letters(), tmp_path / "other").embedded == 3

    while_a_column_is_replaced(monkeypatch, other)
    stats = embed_table(database.open(), letters(), tmp_path)
    assert (stats.pending, stats.embedded) == (0, 0)
    check_complete(database)


def test_another_dimension_is_refused_with_both_values_and_a_solution(tmp_path: Path) -> None:
    vectors = [np.zeros(512), np.ones(512), None]
    database = simple(tmp_path / "db", sequences(3), vector=vector_array(vectors, 512))
    before = read(database)
    for resume in (True, False):
        message = r"'vector' contains vectors of 512 .* produces 10.*another `vector_column`"
        with pytest.raises(StoreError, match=message):
            embed_table(database.open(), letters(), tmp_path, resume=resume)
    assert read(database).equals(before)
    embed_table(database.open(VectorColumns("small")), letters(), tmp_path)
    check_complete(database, column="small")
    assert read(database).select(before.column_names).equals(before)


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.float32()), pa.list_(pa.float16(), 10), pa.list_(pa.float64(), 10), pa.string(), pa.binary(40)],
    ids=str,
)
def test_a_column_without_float32_vectors_is_refused(tmp_path: Path, kind: pa.DataType) -> None:
    database = simple(tmp_path / "db", sequences(2), other=pa.array([None, None], kind))
    message = r"column 'other' is .* expected fixed_size_list<float>\[d\].* another `vector_column`"
    with pytest.raises(StoreError, match=message):
        embed_table(database.open(VectorColumns("other")), letters(), tmp_path)
    assert "other_status" not in database.open().lance.schema.names


def test_ids_that_are_not_unique_are_refused(tmp_path: Path) -> None:
    twice = make(tmp_path / "twice", {"sequence_id": ["a", "a"], "dna_sequence": sequences(2)})
    with pytest.raises(StoreError, match="'a' occurs 2 times"):
        embed_table(twice.open(), letters(), tmp_path)
    absent = make(tmp_path / "absent", {"sequence_id": ["a", None], "dna_sequence": sequences(2)})
    with pytest.raises(StoreError, match="1 rows have no sequence_id"):
        embed_table(absent.open(), letters(), tmp_path)
    with pytest.raises(StoreError, match="has no table 'sequences'"):
        embed_table(Database(str(tmp_path / "nowhere")).open(), letters(), tmp_path)


def test_an_empty_table(tmp_path: Path) -> None:
    empty = pa.table({"sequence_id": ["a"], "dna_sequence": ["A"]}).slice(0, 0)
    stats = embed_table(make(tmp_path / "db", empty).open(), letters(), tmp_path)
    assert (stats.rows, stats.pending, stats.embedded) == (0, 0, 0)


def test_vectors_of_another_function_are_not_mixed(tmp_path: Path) -> None:
    letters_ = sequences(30)
    database = simple(tmp_path / "db", letters_)
    embed_table(database.open(), letters(), tmp_path, max_sequences=10)
    before = read(database)
    with pytest.raises(StoreError, match=rf"{OWN[:12]}.*letters-1 is {OTHER[:12]}.*`resume=False`.* `vector_column`"):
        embed_table(database.open(), letters(salt=1), tmp_path)
    assert read(database).equals(before)

    stats = embed_table(database.open(VectorColumns("second")), letters(salt=1), tmp_path)
    assert stats.embedded == 30
    assert read(database).select(before.column_names).equals(before)
    check_complete(database, 1, "second")

    stats = embed_table(database.open(), letters(salt=1), tmp_path, resume=False)
    assert (stats.pending, stats.embedded) == (30, 30)
    check_complete(database, 1)
    assert survey(database.open()).fingerprints == {OTHER: 30}


def test_columns_vector_and_embedding_are_independent(tmp_path: Path) -> None:
    database = simple(tmp_path / "db", sequences(5))
    embed_table(database.open(), letters(), tmp_path)
    embed_table(database.open(VectorColumns("embedding")), letters(salt=1), tmp_path)
    check_complete(database)
    check_complete(database, 1, "embedding")
    assert survey(database.open()).fingerprints == {OWN: 5}
    assert survey(database.open(VectorColumns("embedding"))).fingerprints == {OTHER: 5}


def test_vectors_of_unknown_origin_are_not_mixed(tmp_path: Path) -> None:
    vectors = vector_array([None, np.zeros(10), np.ones(10)])
    database = simple(tmp_path / "db", sequences(3), vector=vectors)
    before = read(database)
    with pytest.raises(StoreError, match="an unknown function"):
        embed_table(database.open(), letters(), tmp_path)
    assert read(database).equals(before)
    assert embed_table(database.open(), letters(), tmp_path, resume=False).embedded == 3
    check_complete(database)


def test_max_sequences_is_never_exceeded_and_repeated_runs_finish(tmp_path: Path) -> None:
    letters_ = [*sequences(20), "AC", None, *sequences(20)[:3]]
    database = simple(tmp_path / "db", letters_)
    handled, left = 0, []
    while handled < 25:
        stats = embed_table(database.open(), letters(), tmp_path, max_sequences=7)
        assert 0 < stats.embedded + stats.rejected <= 7
        assert stats.pending == 25 - handled
        handled += stats.embedded + stats.rejected
        left.append(stats.left)
        assert survey(database.open()).pending == 25 - handled == stats.left
    assert left == [18, 11, 4, 0]
    assert survey(database.open()).rejected == 2
    assert embed_table(database.open(), letters(), tmp_path, max_sequences=7).pending == 0
    with pytest.raises(UsageError, match="at least 1"):
        embed_table(database.open(), letters(), tmp_path, max_sequences=0)


def test_a_failing_encoder_names_the_record_and_stores_no_zeros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(LetterEncoder):
        def forward(self, tokens: Tokens) -> FloatArray:
            out = super().forward(tokens)
            out[out[:, 0] == 1] = np.nan
            return out

    monkeypatch.setattr(fill, "MERGE_ROWS", 5)
    database = make(
        tmp_path / "db",
        {"sequence_id": [*(f"r{i}" for i in range(20)), "bad"], "dna_sequence": [*sequences(20), "A" * 30]},
    )
    with pytest.raises(EmbeddingError, match=r"'bad'.*not finite"):
        embed_table(database.open(), Embedder.from_encoder(Failing(), Policy()), tmp_path)
    found = rows(database)
    assert found["bad"]["vector"] is None
    kept = [i for i in range(20) if same_vector(found[f"r{i}"], expected(found[f"r{i}"]["dna_sequence"]))]
    assert all(found[f"r{i}"]["vector"] is None for i in range(20) if i not in kept)


# ---- other programs that write to the table meanwhile


def test_rows_replaced_meanwhile_do_not_get_the_old_vector(tmp_path: Path) -> None:
    old, new = sequences(40), sequences(40, seed=9)
    database = simple(tmp_path / "db", old)
    path = tmp_path / "new.tsv"
    path.write_text("id\tsequence\n" + "".join(f"r{i}\t{new[i]}\n" for i in range(0, 40, 4)), encoding="utf-8")

    def hook(batch: int) -> None:
        if batch == 0:
            import_records(database, [path], replace=True)

    embedder = meddler(hook)
    stats = embed_table(database.open(), embedder, tmp_path)
    assert stats.embedded == 40
    assert embedder.encoder.rows == 50
    found = rows(database)
    assert [found[f"r{i}"]["dna_sequence"] for i in range(40)] == [(old if i % 4 else new)[i] for i in range(40)]
    check_complete(database)


def test_one_row_replaced_meanwhile_is_done_in_the_next_pass(tmp_path: Path) -> None:
    old, new = sequences(2)
    database = simple(tmp_path / "db", [old])

    def hook(batch: int) -> None:
        if batch == 0:
            database.open().lance.update(where="sequence_id = 'r0'", values={"dna_sequence": new})

    assert embed_table(database.open(), meddler(hook), tmp_path).embedded == 1
    check_complete(database)


def test_rows_that_become_null_or_rejected_meanwhile(tmp_path: Path) -> None:
    database = simple(tmp_path / "db", sequences(2))

    def hook(batch: int) -> None:
        if batch == 0:
            database.open().lance.merge_insert("sequence_id").when_matched_update_all().execute(
                pa.table({"sequence_id": ["r0"], "dna_sequence": pa.array([None], pa.string())})
            )

    stats = embed_table(database.open(), meddler(hook), tmp_path)
    assert (stats.embedded, stats.rejected) == (1, 1)
    assert rows(database)["r0"]["vector"] is None


def test_rows_deleted_meanwhile_stay_deleted(tmp_path: Path) -> None:
    database = simple(tmp_path / "db", sequences(3))

    def hook(batch: int) -> None:
        if batch == 0:
            database.open().lance.delete("sequence_id != 'r1'")

    stats = embed_table(database.open(), meddler(hook), tmp_path)
    assert stats.embedded == 1
    assert set(rows(database)) == {"r1"}
    database = simple(tmp_path / "db2", sequences(1))
    stats = embed_table(database.open(), meddler(lambda batch: database.open().lance.delete("true")), tmp_path)
    assert (stats.embedded, rows(database)) == (0, {})


def test_a_row_that_changes_constantly_ends_with_one_sentence(tmp_path: Path) -> None:
    letters_ = sequences(100)
    database = simple(tmp_path / "db", letters_[:1])

    def hook(batch: int) -> None:
        database.open().lance.update(where="sequence_id = 'r0'", values={"dna_sequence": letters_[batch + 1]})

    with pytest.raises(StoreError, match="keeps changing"):
        embed_table(database.open(), meddler(hook), tmp_path)
    assert rows(database)["r0"]["vector"] is None


def test_other_columns_written_meanwhile_are_kept(tmp_path: Path) -> None:
    database = simple(tmp_path / "db", sequences(10), site=["old"] * 10)

    def hook(batch: int) -> None:
        if batch == 0:
            database.open().lance.update(where="sequence_id = 'r3'", values={"site": "new"})

    embed_table(database.open(), meddler(hook), tmp_path)
    check_complete(database)
    assert [rows(database)[f"r{i}"]["site"] for i in (2, 3)] == ["old", "new"]


def test_a_column_added_meanwhile_is_kept(tmp_path: Path) -> None:
    database = simple(tmp_path / "db", sequences(10))

    def hook(batch: int) -> None:
        if batch == 0:
            database.open().lance.add_columns({"twice": "length(dna_sequence) * 2"})

    embed_table(database.open(), meddler(hook), tmp_path)
    check_complete(database)
    assert {row["twice"] for row in rows(database).values()} == {60}


def test_a_compaction_meanwhile_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill, "MERGE_ROWS", 10)
    monkeypatch.setattr(fill, "_MERGE_BYTES", 0)
    database = simple(tmp_path / "db", sequences(100))
    embed_table(database.open(), meddler(lambda batch: database.open().lance.optimize()), tmp_path)
    check_complete(database)


def test_a_compaction_that_fails_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lancedb.table import LanceTable

    def fail(*arguments: Any, **named: Any) -> None:
        raise RuntimeError("Retryable commit conflict")

    monkeypatch.setattr(LanceTable, "optimize", fail)
    database = simple(tmp_path / "db", sequences(10))
    assert embed_table(database.open(), letters(), tmp_path).embedded == 10
    check_complete(database)


def test_a_writer_that_appends_meanwhile_is_not_disturbed(tmp_path: Path) -> None:
    database = simple(tmp_path / "db", sequences(200))
    later = sequences(50, seed=4)

    def hook(batch: int) -> None:
        if batch < 5:
            added = slice(batch * 10, batch * 10 + 10)
            ids = [f"later{i}" for i in range(50)][added]
            database.open().lance.add(pa.table({"sequence_id": ids, "dna_sequence": later[added]}))

    stats = embed_table(database.open(), meddler(hook), tmp_path)
    assert stats.embedded == 250
    assert len(rows(database)) == 250
    check_complete(database)


def test_a_writer_that_never_stops_does_not_keep_the_command_forever(tmp_path: Path) -> None:
    database = simple(tmp_path / "db", sequences(10))

    def hook(batch: int) -> None:
        row = {"sequence_id": [f"later{batch}"], "dna_sequence": sequences(1, seed=batch + 1)}
        database.open().lance.add(pa.table(row))

    stats = embed_table(database.open(), meddler(hook), tmp_path)
    assert stats.left == survey(database.open()).pending == 1
    assert stats.embedded == survey(database.open()).embedded > 10
    assert embed_table(database.open(), letters(), tmp_path).left == 0
    check_complete(database)


@pytest.mark.parametrize("processes", [2, 3])
def test_concurrent_processes_all_succeed(tmp_path: Path, processes: int) -> None:
    # Merges are small, so that commits and the compactions of the first finishers coincide.
    database = simple(tmp_path / "db", [*sequences(600), "AC"])
    running = [
        start(database, tmp_path, merge_rows=40, seconds_a_row=0.0005, flush_seconds=0.0) for _ in range(processes)
    ]
    done = threading.Event()
    added = []

    def append() -> None:
        while not done.wait(0.05):
            sequence = sequences(1, seed=len(added) + 100)[0]
            database.open().lance.add(pa.table({"sequence_id": [f"later{len(added)}"], "dna_sequence": [sequence]}))
            added.append(sequence)

    writer = threading.Thread(target=append)
    writer.start()
    try:
        stats = [finish(process) for process in running]
    finally:
        done.set()
        writer.join()
    assert all(s["rows"] >= 601 for s in stats)
    # Rows appended after the last scan of the last process are pending.
    embed_table(database.open(), letters(), tmp_path)
    found = rows(database)
    assert len(found) == 601 + len(added)
    assert found.pop("r600")["embedding_status"] == "rejected"
    assert all(same_vector(row, expected(row["dna_sequence"])) for row in found.values())


def test_two_models_at_once_fill_their_own_columns(tmp_path: Path) -> None:
    database = simple(tmp_path / "db", sequences(400))
    running = [
        start(database, tmp_path, merge_rows=40, seconds_a_row=0.0005, salt=salt, vector_column=column)
        for salt, column in ((0, "vector"), (1, "second"))
    ]
    assert [finish(process)["embedded"] for process in running] == [400, 400]
    check_complete(database)
    check_complete(database, 1, "second")


def test_two_models_at_once_never_mix_in_one_column(tmp_path: Path) -> None:
    database = simple(tmp_path / "db", sequences(20))

    def hook(batch: int) -> None:
        if batch == 0:
            embed_table(database.open(), letters(salt=1), tmp_path)

    with pytest.raises(StoreError, match=f"computed by another function \\({OTHER[:12]}\\).*cannot be mixed"):
        embed_table(database.open(), meddler(hook), tmp_path)
    # The work that the other command reported is still there.
    for row in rows(database).values():
        assert row["embedding_fingerprint"] == OTHER
        assert same_vector(row, expected(row["dna_sequence"], 1))


def test_only_some_of_the_rows_cannot_be_replaced_by_another_function(tmp_path: Path) -> None:
    database = simple(tmp_path / "db", sequences(20))
    embed_table(database.open(), letters(salt=1), tmp_path)
    with pytest.raises(StoreError, match="without `max_sequences`"):
        embed_table(database.open(), letters(), tmp_path, resume=False, max_sequences=5)
    assert {row["embedding_fingerprint"] for row in rows(database).values()} == {OTHER}


def test_rejected_rows_are_checked_again(tmp_path: Path) -> None:
    """A corrected sequence and another minimum length take effect; rows rejected for the same reason are left alone."""
    database = simple(tmp_path / "db", ["ACGTACGTACGT", "JJJJJJJJJJJJJJJJJJJJJJJJJ", "ACJ" * 10])
    assert embed_table(database.open(), letters(), tmp_path).rejected == 3
    version = database.open().lance.version
    stats = embed_table(database.open(), letters(), tmp_path)
    assert (stats.pending, stats.embedded, stats.rejected, database.open().lance.version) == (0, 0, 0, version)
    database.open().lance.update(where="sequence_id = 'r2'", values={"dna_sequence": "ACG" * 10})
    stats = embed_table(database.open(), letters(), tmp_path, min_length=5)
    assert (stats.embedded, stats.rejected) == (2, 0)
    found = rows(database)
    assert [found[f"r{i}"]["embedding_status"] for i in range(3)] == ["embedded", "rejected", "embedded"]
    assert same_vector(found["r2"], expected("ACG" * 10))


def test_the_table_records_what_computed_its_vectors(tmp_path: Path) -> None:
    database = simple(tmp_path / "db", sequences(5))
    assert survey(database.open()).spec is None
    embedder = letters()
    embed_table(database.open(), embedder, tmp_path)
    assert survey(database.open()).spec == embedder.spec.to_dict()


# ---- checkpoint and work in progress


def test_the_checkpoint_has_the_keys_of_the_guide(tmp_path: Path) -> None:
    database = simple(tmp_path / "db", sequences(5))
    embed_table(database.open(), letters(), tmp_path)
    path = tmp_path / "data" / "processed" / "embedder_checkpoints" / "embedding_checkpoint.json"
    assert path == checkpoint_folder(tmp_path) / CHECKPOINT
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content.keys() >= {"last_embedded_id", "model", "timestamp", "total_processed"}
    assert (content["model"], content["total_processed"]) == ("letters", 5)
    assert content["last_embedded_id"] in rows(database)
    assert datetime.fromisoformat(content["timestamp"]).tzinfo is not None


@pytest.mark.parametrize(
    "content",
    [None, b"", b"\x00garbage", b'{"last_embedded_id": "r999", "total_processed": -1}', b'{"last_embedded_id": "r29"}'],
)
def test_the_checkpoint_has_no_effect(tmp_path: Path, content: bytes | None) -> None:
    database = simple(tmp_path / "db", sequences(30))
    embed_table(database.open(), letters(), tmp_path, max_sequences=10)
    path = checkpoint_folder(tmp_path) / CHECKPOINT
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    stats = embed_table(database.open(), letters(), tmp_path)
    assert (stats.pending, stats.embedded) == (20, 20)
    check_complete(database)
    assert json.loads(path.read_text(encoding="utf-8"))["model"] == "letters"


def test_an_interrupted_attempt_is_resumed_even_in_small_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors computed before Ctrl-C are reused, however many commands it takes."""
    monkeypatch.setattr(fill, "_JOURNAL_SECONDS", 0.0)
    database = simple(tmp_path / "db", sequences(300))

    def hook(batch: int) -> None:
        if batch == 5:
            raise KeyboardInterrupt

    first = meddler(hook)
    with pytest.raises(KeyboardInterrupt):
        embed_table(database.open(), first, tmp_path)
    before = first.encoder.rows
    assert 0 < before < 300
    embedder, taken_up = letters(), 0
    for _ in range(4):
        taken_up += embed_table(database.open(), embedder, tmp_path, max_sequences=40).taken_up
    taken_up += embed_table(database.open(), embedder, tmp_path).taken_up
    assert taken_up == before
    assert embedder.encoder.rows == 300 - before
    check_complete(database)


def test_a_kill_before_the_first_merge_leaves_a_checkpoint_and_a_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fill, "_JOURNAL_SECONDS", 0.0)
    database = simple(tmp_path / "data" / "lancedb", sequences(300))

    def hook(batch: int) -> None:
        if batch == 5:
            raise KeyboardInterrupt

    first = meddler(hook)
    with pytest.raises(KeyboardInterrupt):
        embed_table(database.open(), first, tmp_path)
    done = first.encoder.rows
    body = json.loads((checkpoint_folder(tmp_path) / CHECKPOINT).read_text(encoding="utf-8"))
    assert (body["total_processed"], body["model"]) == (done, "letters")
    assert body["last_embedded_id"] in rows(database)

    def status(*options: str) -> str:
        with pytest.raises(SystemExit):
            main(["--workspace", str(tmp_path), "table", "status", *options])
        return capsys.readouterr().out

    assert f"waiting    {done} computed sequences" in status()
    assert json.loads(status("--json"))["waiting"] == done
    embed_table(database.open(), letters(), tmp_path)
    assert "waiting" not in status()
    assert json.loads(status("--json"))["waiting"] == 0


def test_an_interrupted_attempt_is_found_under_another_spelling_of_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = simple(tmp_path / "db", sequences(300))

    def hook(batch: int) -> None:
        if batch == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_table(database.open(), meddler(hook), tmp_path)
    monkeypatch.chdir(tmp_path)
    assert embed_table(Database("db").open(), letters(), tmp_path).taken_up > 0
    check_complete(database)


def test_nothing_large_stays_behind(tmp_path: Path) -> None:
    database = simple(tmp_path / "db", sequences(300))
    embed_table(database.open(), letters(), tmp_path)
    left = [p for p in checkpoint_folder(tmp_path).rglob("*") if p.is_file() and p.stat().st_size > 0]
    assert [p.name for p in left] == [CHECKPOINT]


def test_work_left_for_deleted_rows_is_discarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill, "_JOURNAL_SECONDS", 0.0)
    database = simple(tmp_path / "db", sequences(300))

    def hook(batch: int) -> None:
        if batch == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_table(database.open(), meddler(hook), tmp_path)
    database.open().lance.delete("sequence_id != 'r299'")
    embed_table(database.open(), letters(), tmp_path)
    check_complete(database)
    left = [p for p in checkpoint_folder(tmp_path).rglob("*") if p.is_file() and p.stat().st_size > 0]
    assert [p.name for p in left] == [CHECKPOINT]


# ---- the guide's Python name


def test_the_engine_updates_the_table(tmp_path: Path) -> None:
    database = simple(tmp_path / "db", [*sequences(30), "AC"])
    engine = EmbeddingEngine("kmer6")
    stats = engine.embed_and_update_lancedb(database.address, max_sequences=10, workspace=tmp_path)
    assert (stats["rows"], stats["pending"], stats["embedded"], stats["left"]) == (31, 31, 10, 21)
    stats = engine.embed_and_update_lancedb(Path(database.address), workspace=tmp_path)
    assert (stats["embedded"], stats["rejected"], stats["left"], stats["model"]) == (20, 1, 0, "kmer6")
    # Keys of the older guide.
    assert (stats["sequences_processed"], stats["sequences_embedded"], stats["errors"]) == (21, 20, 1)
    wanted = engine.get_embeddings(sequences(30))
    found = rows(database)
    assert all(same_vector(found[f"r{i}"], wanted[i]) for i in range(30))
    again = engine.embed_and_update_lancedb(database.address, resume=False, workspace=tmp_path)
    assert (again["pending"], again["computed"]) == (0, 0)
    both = EmbeddingEngine("kmer6", strand="both")
    with pytest.raises(StoreError, match="resume=False"):
        both.embed_and_update_lancedb(database.address, workspace=tmp_path)
    with pytest.raises(UsageError, match=r"max_sequences` is 'five'.*expected a whole number"):
        engine.embed_and_update_lancedb(database.address, workspace=tmp_path, max_sequences="five")
    stats = both.embed_and_update_lancedb(database.address, resume=False, workspace=tmp_path)
    assert stats["embedded"] == 30
    stats = engine.embed_and_update_lancedb(database.address, workspace=tmp_path, vector_column="given")
    assert stats["embedded"] == 30


def test_the_engine_uses_the_table_of_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = simple(tmp_path / "data" / "lancedb", sequences(3))
    monkeypatch.chdir(tmp_path)
    assert EmbeddingEngine("kmer6").embed_and_update_lancedb()["embedded"] == 3
    assert survey(database.open()).embedded == 3


# ---- any table

ROW = st.tuples(
    st.sampled_from(["good", "no A", "repeated", "lower", "short", "alien", "empty", "null"]),
    st.sampled_from(["null", "zero", "minus zero", "own", "other", "unknown"]),
    st.sampled_from([None, "embedded", "rejected", "mine"]),
)


def build(cases: list[tuple[str, str, str | None]]) -> dict[str, dict[str, Any]]:
    """A table as a plain dict."""
    spare = sequences(len(cases), seed=77)
    built = {}
    for i, (letters_, vector, status) in enumerate(cases):
        sequence = {
            "good": spare[i],
            "no A": spare[i].replace("A", "T"),
            "repeated": spare[0],
            "lower": spare[i].lower(),
            "short": "ACG",
            "alien": spare[i] + "?",
            "empty": "",
            "null": None,
        }[letters_]
        usable = letters_ in ("good", "no A", "repeated", "lower")
        if not usable and vector in ("own", "other"):
            vector = "null"
        made = expected(sequence.upper()) if usable else None
        values, fingerprint = {
            "null": (None, None),
            "zero": (np.zeros(10), None),
            "minus zero": (-np.zeros(10), OWN),
            "own": (made, OWN),
            "other": (None if made is None else made + 1, OTHER),
            "unknown": (np.ones(10), None),
        }[vector]
        if status == "rejected" and values is None:
            fingerprint = [OWN, OTHER, None][i % 3]
        built[f"r{i}"] = {
            "sequence": sequence,
            "usable": usable,
            "vector": values,
            "status": status,
            "fingerprint": fingerprint,
        }
    return built


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cases=st.lists(ROW, min_size=1, max_size=12), resume=st.booleans())
def test_any_table_ends_as_the_rules_require(
    tmp_path_factory: pytest.TempPathFactory, cases: list[tuple[str, str, str | None]], resume: bool
) -> None:
    folder = tmp_path_factory.mktemp("any")
    built = build(cases)
    database = make(
        folder / "db",
        {
            "sequence_id": list(built),
            "dna_sequence": pa.array([r["sequence"] for r in built.values()], pa.string()),
            "vector": vector_array([r["vector"] for r in built.values()]),
            "embedding_status": pa.array([r["status"] for r in built.values()], pa.string()),
            "embedding_fingerprint": pa.array([r["fingerprint"] for r in built.values()], pa.string()),
            "note": [f"note {i}" for i in built],
        },
    )

    def filled(row: dict[str, Any]) -> bool:
        return row["vector"] is not None and bool(np.any(row["vector"]))

    if resume and any(filled(r) and r["fingerprint"] != OWN for r in built.values()):
        before = read(database)
        with pytest.raises(StoreError, match="cannot be mixed"):
            embed_table(database.open(), letters(), folder)
        assert read(database).equals(before)
        return
    pending = {
        id_
        for id_, r in built.items()
        if not (r["status"] == "rejected" and r["fingerprint"] == OWN)
        and (not filled(r) or (not resume and r["fingerprint"] != OWN))
    }
    judged = {
        id_ for id_, r in built.items() if r["status"] == "rejected" and r["fingerprint"] == OWN and not filled(r)
    }
    stats = embed_table(database.open(), letters(), folder, resume=resume)
    assert stats.pending == len(pending)
    pending |= judged
    usable = {id_ for id_ in pending if built[id_]["usable"]}
    # No rejected row has a reason in this table, so all get one.
    assert (stats.embedded, stats.rejected) == (len(usable), len(pending - usable))
    assert stats.computed == len({built[id_]["sequence"].upper() for id_ in usable})
    found = rows(database)
    assert set(found) == set(built)
    for id_, r in built.items():
        row = found[id_]
        assert (row["dna_sequence"], row["note"]) == (r["sequence"], f"note {id_}")
        if id_ in usable:
            assert same_vector(row, expected(r["sequence"].upper()))
            assert (row["embedding_status"], row["embedding_fingerprint"]) == ("embedded", OWN)
        elif id_ in pending:
            assert (row["vector"], row["embedding_status"], row["embedding_fingerprint"]) == (None, "rejected", OWN)
            assert row["embedding_reason"]
        else:
            assert r["vector"] is None if row["vector"] is None else same_vector(row, np.float32(r["vector"]))
            assert (row["embedding_status"], row["embedding_fingerprint"]) == (r["status"], r["fingerprint"])
    assert embed_table(database.open(), letters(), folder, resume=resume).pending == 0
