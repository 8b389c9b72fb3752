"""Rows of a LanceDB table that wait for a vector: found by scans of a snapshot, given back by guarded merges.

Results go back by id, each guarded by the sequence it was computed from, so a row whose sequence was replaced meanwhile
keeps its null and is found by the next scan; vectors that another function put there meanwhile are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ednabed.engine.embed import WINDOW_LETTERS
from ednabed.models.base import FloatArray
from ednabed.store.table import (
    EMBEDDED,
    ID,
    REJECTED,
    SEQUENCE,
    Database,
    VectorColumns,
    lance_errors,
    quoted,
    scan,
    vectors_of,
)

_SAME_SEQUENCE = f"(target.{SEQUENCE} = source.{SEQUENCE} OR (target.{SEQUENCE} IS NULL AND source.{SEQUENCE} IS NULL))"


@dataclass(frozen=True)
class Rows:
    """Rows of the table: id, sequence, and why this function rejected them before (None where it did not)."""

    ids: list[str]
    sequences: list[str | None]
    reasons: list[str | None]

    def first(self, n: int | None) -> Rows:
        """Return the first ``n`` rows; None takes all."""
        return Rows(self.ids[:n], self.sequences[:n], self.reasons[:n])


@dataclass
class Results:
    """Rows with their result, not yet in the table: a vector, or the reason why there is none."""

    ids: list[str] = field(default_factory=list)
    sequences: list[str | None] = field(default_factory=list)
    vectors: list[FloatArray] = field(default_factory=list)
    refused_ids: list[str] = field(default_factory=list)
    refused_sequences: list[str | None] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids) + len(self.refused_ids)

    def add(
        self,
        window: Rows,
        positions: npt.NDArray[np.int64],
        of_row: npt.NDArray[np.int64],
        vectors: FloatArray,
        reasons: dict[int, str],
    ) -> None:
        """Add what became of some rows.

        Args:
            window: The rows, n of them.
            positions: int64, shape (m,): the rows, counted from 0, whose sequence could be used.
            of_row: int64, shape (m,): the row of ``vectors`` that is theirs.
            vectors: float32, shape (distinct sequences, d).
            reasons: Number of a row to why it has no vector, also of some of ``positions``.
        """
        good = np.array([p not in reasons for p in positions.tolist()], bool)
        ids, sequences = window.ids, window.sequences
        self.ids += [ids[p] for p in positions[good].tolist()]
        self.sequences += [sequences[p] for p in positions[good].tolist()]
        self.vectors.append(vectors[of_row[good]])
        for p, reason in reasons.items():
            if reason == window.reasons[p]:
                # Rejected before, for the same reason.
                continue
            self.refused_ids.append(ids[p])
            self.refused_sequences.append(sequences[p])
            self.reasons.append(reason)


@dataclass(frozen=True)
class PendingRows:
    """The rows that one function has to fill.

    Attributes:
        database: Where the table is.
        columns: Vector column and companions.
        fingerprint: Of the function.
        dimension: Length of its vectors.
        resume: False also takes the rows whose vector another function made.
    """

    database: Database
    columns: VectorColumns
    fingerprint: str
    dimension: int
    resume: bool

    def count(self, table: Any) -> int:
        """Return how many rows are pending in a snapshot of the table."""
        return sum(len(rows.ids) for rows in self._scan(table, with_sequence=False))

    def windows(self, table: Any, most: int, *, rejected: bool = False) -> Iterator[Rows]:
        """Yield pending rows, at most ``most`` or some millions of letters at a time.

        ``rejected`` gives the rows that this function rejected before: their sequence, or the least length, may be
        another now, so they are judged again by each command.
        """
        window, letters = Rows([], [], []), 0
        for part in self._scan(table, with_sequence=True, rejected=rejected):
            for id_, sequence, reason in zip(part.ids, part.sequences, part.reasons, strict=True):
                window.ids.append(id_)
                window.sequences.append(sequence)
                window.reasons.append(reason)
                letters += len(sequence or "")
                if len(window.ids) == most or letters >= WINDOW_LETTERS:
                    yield window
                    window, letters = Rows([], [], []), 0
        if window.ids:
            yield window

    def give_vectors(self, table: Any, results: Results) -> int:
        """Bring vectors into the table; return how many rows took theirs."""
        c = self.columns
        flat = np.concatenate(results.vectors).ravel()
        return self._update(
            table,
            {
                ID: pa.array(results.ids),
                SEQUENCE: pa.array(results.sequences, pa.string()),
                c.vector: pa.FixedSizeListArray.from_arrays(pa.array(flat), self.dimension),
                c.status: pa.repeat(EMBEDDED, len(results.ids)),
                c.reason: pa.nulls(len(results.ids), pa.string()),
                c.fingerprint: pa.repeat(self.fingerprint, len(results.ids)),
            },
        )

    def give_reasons(self, table: Any, results: Results) -> int:
        """Mark rows as rejected, with the reason; return how many took it."""
        c, n = self.columns, len(results.refused_ids)
        return self._update(
            table,
            {
                ID: pa.array(results.refused_ids),
                SEQUENCE: pa.array(results.refused_sequences, pa.string()),
                c.vector: pa.nulls(n, pa.list_(pa.float32(), self.dimension)),
                c.status: pa.repeat(REJECTED, n),
                c.reason: pa.array(results.reasons),
                c.fingerprint: pa.repeat(self.fingerprint, n),
            },
        )

    def _where(self, rejected: bool) -> str:
        """Return the filter for rows that may be pending, or for those that this function rejected.

        Zero vectors are told from others by looking at them.
        """
        names = self.columns
        vector, status, fingerprint = quoted(names.vector), quoted(names.status), quoted(names.fingerprint)
        current = f"({fingerprint} IS NOT NULL AND {fingerprint} = '{self.fingerprint}')"
        refused = f"({status} IS NOT NULL AND {status} = '{REJECTED}' AND {current})"
        if rejected:
            return refused
        # The first element of a zero vector is zero; Lance counts elements from 1.
        maybe = f"{vector} IS NULL OR {vector}[1] = 0.0"
        if not self.resume:
            maybe += f" OR NOT {current}"
        return f"({maybe}) AND NOT {refused}"

    def _scan(self, table: Any, *, with_sequence: bool, rejected: bool = False) -> Iterator[Rows]:
        c = self.columns
        names = [ID, c.vector, c.fingerprint, c.reason, *([SEQUENCE] if with_sequence else [])]
        for batch in scan(self.database, table, names, self._where(rejected)):
            vectors, _ = vectors_of(batch.column(c.vector), self.dimension)
            pending = ~vectors.any(axis=1)
            if not self.resume:
                pending |= np.array([f != self.fingerprint for f in batch.column(c.fingerprint).to_pylist()], bool)
            chosen = batch.filter(pa.array(pending))
            reasons = chosen.column(c.reason).to_pylist() if rejected else [None] * len(chosen)
            yield Rows(
                chosen.column(ID).to_pylist(), chosen.column(SEQUENCE).to_pylist() if with_sequence else [], reasons
            )

    def _update(self, table: Any, rows: dict[str, Any]) -> int:
        """Merge rows into the table by id and sequence; return how many took it.

        Unless all vectors are to be replaced, a row that another function filled meanwhile does not take it.
        """
        if not self.resume:
            return self._merge_where(table, rows, _SAME_SEQUENCE)
        vector, status = quoted(self.columns.vector), quoted(self.columns.status)
        fingerprint = quoted(self.columns.fingerprint)
        ours = f"target.{fingerprint} IS NULL OR target.{fingerprint} = '{self.fingerprint}'"
        guard = f"{_SAME_SEQUENCE} AND ({ours} OR target.{status} = '{REJECTED}')"
        done = self._merge_where(table, rows, guard)
        if done < len(rows[ID]):
            # A vector that was cleared by hand beside its old fingerprint. Asked only now, because a guard on vectors
            # doubles the time of a merge; the rows that took it above are ours by now, so they count again.
            done = self._merge_where(table, rows, f"{_SAME_SEQUENCE} AND ({ours} OR target.{vector} IS NULL)")
        return done

    def _merge_where(self, table: Any, rows: dict[str, Any], guard: str) -> int:
        merge = table.merge_insert(ID).when_matched_update_all(where=guard)
        with lance_errors(self.database.address):
            # Nulls of a rejected row's vector pass only under this word; vectors are known to be finite.
            return int(merge.execute(pa.table(rows), on_bad_vectors="null").num_updated_rows)
