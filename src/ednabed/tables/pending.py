"""Find the pending rows of a LanceDB table by scanning a snapshot, and write their results back by guarded merges.

Results are merged by id, on condition that the sequence is still the one they were computed from. A row whose sequence
was replaced meanwhile therefore keeps its null and is found by the next scan. Vectors that another function wrote
meanwhile are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ednabed.base.arrays import FloatArray, Ints
from ednabed.engine.embed import WINDOW_BASES
from ednabed.tables.table import EMBEDDED, ID, REJECTED, SEQUENCE, Table, quoted

_SAME_SEQUENCE = f"(target.{SEQUENCE} = source.{SEQUENCE} OR (target.{SEQUENCE} IS NULL AND source.{SEQUENCE} IS NULL))"


@dataclass(frozen=True)
class Rows:
    """Rows of the table: id, sequence, and the reason for an earlier rejection by this function, or None."""

    ids: list[str]
    sequences: list[str | None]
    reasons: list[str | None]

    def first(self, n: int | None) -> Rows:
        """Return the first ``n`` rows; None returns all."""
        return Rows(self.ids[:n], self.sequences[:n], self.reasons[:n])


@dataclass
class Results:
    """Results that are not in the table yet: for each row a vector, or the reason why there is none."""

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
        positions: Ints,
        number_of_row: Ints,
        vectors: FloatArray,
        reasons: dict[int, str],
    ) -> None:
        """Add the results of a window of rows.

        Args:
            window: The rows.
            positions: Positions in the window, counted from 0, of the rows with a usable sequence; int64, shape (m,).
            number_of_row: For each of ``positions``, the row of ``vectors`` with its vector; int64, shape (m,).
            vectors: float32, shape (distinct sequences, d).
            reasons: Position of a row to the reason why it has no vector; may include some of ``positions``.
        """
        good = np.array([p not in reasons for p in positions.tolist()], bool)
        ids, sequences = window.ids, window.sequences
        self.ids += [ids[p] for p in positions[good].tolist()]
        self.sequences += [sequences[p] for p in positions[good].tolist()]
        self.vectors.append(vectors[number_of_row[good]])
        for p, reason in reasons.items():
            if reason == window.reasons[p]:
                # It was rejected before for the same reason.
                continue
            self.refused_ids.append(ids[p])
            self.refused_sequences.append(sequences[p])
            self.reasons.append(reason)


@dataclass(frozen=True)
class PendingRows:
    """The rows that still need a vector of one function.

    Attributes:
        table: The table.
        fingerprint: Fingerprint of the function.
        dimension: Length of its vectors.
        resume: False also includes the rows whose vector another function computed.
    """

    table: Table
    fingerprint: str
    dimension: int
    resume: bool

    def count(self) -> int:
        """Return the number of pending rows."""
        return sum(len(rows.ids) for rows in self._scan(with_sequence=False))

    def windows(self, max_rows: int, *, rejected: bool = False) -> Iterator[Rows]:
        """Yield pending rows, at most ``max_rows`` or some millions of bases at a time.

        ``rejected`` yields the rows that this function rejected before. Each command checks them again, because their
        sequence or the minimum length may have changed.
        """
        window, bases = Rows([], [], []), 0
        for part in self._scan(with_sequence=True, rejected=rejected):
            for id_, sequence, reason in zip(part.ids, part.sequences, part.reasons, strict=True):
                window.ids.append(id_)
                window.sequences.append(sequence)
                window.reasons.append(reason)
                bases += len(sequence or "")
                if len(window.ids) == max_rows or bases >= WINDOW_BASES:
                    yield window
                    window, bases = Rows([], [], []), 0
        if window.ids:
            yield window

    def write_vectors(self, results: Results) -> int:
        """Write vectors to the table; return the number of rows updated."""
        c = self.table.columns
        flat = np.concatenate(results.vectors).ravel()
        return self._update(
            {
                ID: pa.array(results.ids),
                SEQUENCE: pa.array(results.sequences, pa.string()),
                c.vector: pa.FixedSizeListArray.from_arrays(pa.array(flat), self.dimension),
                c.status: pa.repeat(EMBEDDED, len(results.ids)),
                c.reason: pa.nulls(len(results.ids), pa.string()),
                c.fingerprint: pa.repeat(self.fingerprint, len(results.ids)),
            },
        )

    def write_rejections(self, results: Results) -> int:
        """Mark rows as rejected, with the reason; return the number of rows updated."""
        c, n = self.table.columns, len(results.refused_ids)
        return self._update(
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

        The filter cannot recognise zero vectors; they are identified from the vectors themselves.
        """
        names = self.table.columns
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

    def _scan(self, *, with_sequence: bool, rejected: bool = False) -> Iterator[Rows]:
        c = self.table.columns
        names = [ID, c.vector, c.fingerprint, c.reason, *([SEQUENCE] if with_sequence else [])]
        for batch in self.table.scan(names, self._where(rejected)):
            pending = ~self.table.vectors(batch).any(axis=1)
            if not self.resume:
                pending |= np.array([f != self.fingerprint for f in batch.column(c.fingerprint).to_pylist()], bool)
            chosen = batch.filter(pa.array(pending))
            reasons = chosen.column(c.reason).to_pylist() if rejected else [None] * len(chosen)
            yield Rows(
                chosen.column(ID).to_pylist(), chosen.column(SEQUENCE).to_pylist() if with_sequence else [], reasons
            )

    def _update(self, rows: dict[str, Any]) -> int:
        """Merge rows into the table by id and sequence; return the number of rows updated.

        Unless all vectors are to be replaced, a row that another function filled meanwhile is not updated.
        """
        new = pa.table(rows)
        if not self.resume:
            return self.table.merge(new, _SAME_SEQUENCE)
        columns = self.table.columns
        vector, status, fingerprint = quoted(columns.vector), quoted(columns.status), quoted(columns.fingerprint)
        ours = f"target.{fingerprint} IS NULL OR target.{fingerprint} = '{self.fingerprint}'"
        done = self.table.merge(new, f"{_SAME_SEQUENCE} AND ({ours} OR target.{status} = '{REJECTED}')")
        if done < len(new):
            # A vector may have been cleared by hand while its old fingerprint remained. This is checked only now,
            # because a guard on vectors doubles the time of a merge. Rows updated above match too and count again.
            done = self.table.merge(new, f"{_SAME_SEQUENCE} AND ({ours} OR target.{vector} IS NULL)")
        return done
