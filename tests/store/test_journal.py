"""The journal keeps flushed rows, cuts incomplete tails, and shifts no row after a failure."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.sequences import digest
from ednabed.store.journal import VectorJournal, digest_bytes

D = 3
ROW, ENTRY = 4 * D, 25


def key(i: int) -> bytes:
    return hashlib.sha256(str(i).encode()).digest()[:24]


def rows(first: int, count: int):
    """Digests, vectors and flags for the numbers from ``first`` onwards."""
    numbers = np.arange(first, first + count)
    return (
        [key(i) for i in numbers],
        (numbers[:, None] * 10 + np.arange(D)).astype(np.float32),
        numbers % 3 == 0,
    )


def fill(folder, count: int) -> None:
    with VectorJournal(folder, D) as journal:
        journal.append(*rows(0, count))


def check(journal: VectorJournal, numbers: list[int]) -> None:
    """Check that the journal contains exactly the rows of these numbers."""
    digests, flags = journal.entries()
    assert len(journal) == len(numbers)
    assert digests == [key(i) for i in numbers]
    assert flags.tolist() == [i % 3 == 0 for i in numbers]
    vectors = journal.read(np.arange(len(numbers)))
    assert vectors.dtype == np.float32
    wanted = np.array(numbers).reshape(-1, 1) * 10 + np.arange(D)
    np.testing.assert_array_equal(vectors, wanted.astype(np.float32).reshape(-1, D))


def test_what_is_appended_can_be_read_at_once_and_after_reopening(tmp_path):
    with VectorJournal(tmp_path, D) as journal:
        assert journal.append(*rows(0, 4)) == 0
        assert journal.append(*rows(4, 2)) == 4
        check(journal, list(range(6)))
        assert journal.append(*rows(6, 1)) == 6
    with VectorJournal(tmp_path, D) as journal:
        check(journal, list(range(7)))
        assert journal.append(*rows(7, 2)) == 7
        np.testing.assert_array_equal(journal.read(np.array([8, 0, 8]))[:, 0], [80, 0, 80])
        assert journal.read(np.array([], np.int64)).shape == (0, D)
    with VectorJournal(tmp_path, D) as journal:
        check(journal, list(range(9)))


def test_the_format_on_disk_is_the_documented_one(tmp_path):
    fill(tmp_path, 5)
    digests, vectors, flags = rows(0, 5)
    assert (tmp_path / "vectors.f32").read_bytes() == vectors.astype("<f4").tobytes()
    assert (tmp_path / "digests.bin").read_bytes() == b"".join(
        d + (b"\1" if f else b"\0") for d, f in zip(digests, flags, strict=True)
    )


@pytest.mark.parametrize("name", ["vectors.f32", "digests.bin"])
def test_a_tail_torn_at_any_byte_is_cut(tmp_path, name):
    fill(tmp_path / "whole", 6)
    whole = {n: (tmp_path / "whole" / n).read_bytes() for n in ("vectors.f32", "digests.bin")}
    size = {"vectors.f32": ROW, "digests.bin": ENTRY}[name]
    for length in range(len(whole[name]) + 1):
        folder = tmp_path / "torn"
        folder.mkdir(exist_ok=True)
        for n, data in whole.items():
            (folder / n).write_bytes(data[:length] if n == name else data)
        kept = list(range(length // size))
        with VectorJournal(folder, D) as journal:
            check(journal, kept)
            journal.append(*rows(100, 2))
            check(journal, [*kept, 100, 101])
        with VectorJournal(folder, D) as journal:
            check(journal, [*kept, 100, 101])


@settings(max_examples=60)
@given(st.integers(0, 6 * ROW), st.integers(0, 6 * ENTRY), st.integers(0, 3))
def test_both_tails_torn(tmp_path_factory, vector_bytes, entry_bytes, more):
    folder = tmp_path_factory.mktemp("journal")
    fill(folder, 6)
    os.truncate(folder / "vectors.f32", vector_bytes)
    os.truncate(folder / "digests.bin", entry_bytes)
    kept = list(range(min(vector_bytes // ROW, entry_bytes // ENTRY)))
    with VectorJournal(folder, D) as journal:
        journal.append(*rows(50, more))
        check(journal, kept + list(range(50, 50 + more)))


def test_vectors_reach_the_disk_before_their_entries(tmp_path, monkeypatch):
    synced = []
    real = os.fsync

    def watch(descriptor):
        synced.append(
            ((tmp_path / "vectors.f32").stat().st_size // ROW, (tmp_path / "digests.bin").stat().st_size // ENTRY)
        )
        real(descriptor)

    with VectorJournal(tmp_path, D, flush_seconds=1e9) as journal:
        monkeypatch.setattr(os, "fsync", watch)
        journal.append(*rows(0, 4))
        journal.flush()
        journal.append(*rows(4, 3))
        journal.flush()
    assert synced == [(4, 0), (4, 4), (7, 4), (7, 7)]


def test_nothing_reaches_the_disk_before_a_flush_is_due_and_all_of_it_after(tmp_path):
    journal = VectorJournal(tmp_path, D, flush_seconds=1e9)
    journal.append(*rows(0, 4))
    assert (tmp_path / "digests.bin").stat().st_size == 0
    journal.flush()
    assert (tmp_path / "digests.bin").stat().st_size == 4 * ENTRY
    journal.close()
    with VectorJournal(tmp_path, D, flush_seconds=0) as journal:
        journal.append(*rows(4, 1))
        assert (tmp_path / "digests.bin").stat().st_size == 5 * ENTRY


def test_much_work_is_flushed_early(tmp_path, monkeypatch):
    monkeypatch.setattr("ednabed.store.journal._WAITING_BYTES", 5 * ROW)
    with VectorJournal(tmp_path, D, flush_seconds=1e9) as journal:
        journal.append(*rows(0, 4))
        assert (tmp_path / "digests.bin").stat().st_size == 0
        journal.append(*rows(4, 1))
        assert (tmp_path / "digests.bin").stat().st_size == 5 * ENTRY


def test_reset_discards_everything_including_waiting_rows(tmp_path):
    with VectorJournal(tmp_path, D, flush_seconds=1e9) as journal:
        journal.append(*rows(0, 4))
        journal.flush()
        journal.append(*rows(4, 2))
        journal.reset()
        check(journal, [])
        assert journal.append(*rows(9, 2)) == 0
        check(journal, [9, 10])
    with VectorJournal(tmp_path, D) as journal:
        check(journal, [9, 10])


def test_closing_keeps_appended_rows_even_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), VectorJournal(tmp_path, D, flush_seconds=1e9) as journal:
        journal.append(*rows(0, 3))
        raise RuntimeError
    journal.close()
    with VectorJournal(tmp_path, D) as journal:
        check(journal, [0, 1, 2])


@pytest.mark.parametrize("fails_at", [0, 1], ids=["vectors", "entries"])
@pytest.mark.parametrize("torn", [0, 1, 7])
def test_a_flush_that_fails_halfway_shifts_no_row_when_it_is_retried(tmp_path, monkeypatch, fails_at, torn):
    """On a full disk, only some bytes are written. The next flush must not append the rows to that incomplete tail."""
    real, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == fails_at + 1:
            os.ftruncate(descriptor, os.fstat(descriptor).st_size - torn)
            raise OSError(28, "No space left on device")
        real(descriptor)

    with VectorJournal(tmp_path, D, flush_seconds=1e9) as journal:
        journal.append(*rows(0, 2))
        journal.flush()
        monkeypatch.setattr(os, "fsync", full)
        journal.append(*rows(2, 3))
        with pytest.raises(OSError, match="No space"):
            journal.flush()
        monkeypatch.setattr(os, "fsync", real)
        journal.append(*rows(5, 1))
    with VectorJournal(tmp_path, D) as journal:
        check(journal, [0, 1, 2, 3, 4, 5])


class Model:
    """The expected contents of a journal, in lists."""

    def __init__(self):
        self.flushed: list[int] = []
        self.waiting: list[int] = []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["append", "flush", "reset", "reopen", "kill", "read"]), max_size=25))
def test_any_order_of_operations(tmp_path_factory, operations):
    folder = tmp_path_factory.mktemp("journal")
    journal, model, number = VectorJournal(folder, D, flush_seconds=1e9), Model(), 0
    for operation in operations:
        if operation == "append":
            assert journal.append(*rows(number, 2)) == len(model.flushed) + len(model.waiting)
            model.waiting += [number, number + 1]
            number += 2
        elif operation == "kill":
            # Only the data on the disk survives, because the files were never closed.
            kept = {n: (folder / n).read_bytes() for n in ("vectors.f32", "digests.bin")}
            journal.close()
            for n, data in kept.items():
                (folder / n).write_bytes(data)
            journal = VectorJournal(folder, D, flush_seconds=1e9)
            model.waiting = []
        elif operation == "reset":
            journal.reset()
            model.flushed, model.waiting = [], []
        else:
            if operation == "read":
                check(journal, model.flushed + model.waiting)
            elif operation == "flush":
                journal.flush()
            else:
                journal.close()
                journal = VectorJournal(folder, D, flush_seconds=1e9)
            model.flushed += model.waiting
            model.waiting = []
    check(journal, model.flushed + model.waiting)
    journal.close()


def test_digest_bytes_are_those_of_the_refget_digest():
    for sequence in (b"ACGT", b"", b"A" * 1000):
        assert digest_bytes(digest(sequence)) == hashlib.sha512(sequence).digest()[:24]
