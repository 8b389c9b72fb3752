"""Numbers for distinct sequences, and ids that were seen, kept in SQLite so that memory does not grow with the file.

Distinct sequences get the numbers 0, 1, 2, ... in order of first occurrence. The file is scratch: it is made anew from
the input each time a command starts.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ednabed.errors import StoreError


class DistinctIndex:
    """Digest to number, and (source, id) to number.

    Args:
        path: Scratch file; an old one is removed.
    """

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._path = path
        self._db = sqlite3.connect(path, isolation_level=None)
        # Scratch: nothing needs to survive, so no journal and no waiting for the disk.
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "PRAGMA cache_size = -65536",
            "CREATE TABLE sequences (number INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE)",
            "CREATE TABLE ids (source INTEGER, id TEXT, number INTEGER, PRIMARY KEY (source, id)) WITHOUT ROWID",
            "BEGIN",
        ):
            with self._cursor() as cursor:
                cursor.execute(statement)
        self._count = 0

    def __len__(self) -> int:
        """Return how many distinct sequences were numbered."""
        return self._count

    def number(self, digests: Sequence[bytes]) -> npt.NDArray[np.int64]:
        """Return the number of each digest, new ones numbered on. int64, shape (n,)."""
        block = {digest: -1 for digest in digests}
        with self._cursor() as cursor:
            cursor.executemany(
                "INSERT OR IGNORE INTO sequences (number, digest) "
                "VALUES ((SELECT COALESCE(MAX(number), -1) + 1 FROM sequences), ?)",
                [(digest,) for digest in block],
            )
            new = cursor.rowcount
            if new == len(block):
                block.update(zip(block, range(self._count, self._count + new), strict=True))
            else:
                for digest in block:
                    block[digest] = cursor.execute(
                        "SELECT number FROM sequences WHERE digest = ?", (digest,)
                    ).fetchone()[0]
        self._count += new
        return np.fromiter((block[d] for d in digests), np.int64, len(digests))

    def find(self, digests: Sequence[bytes]) -> npt.NDArray[np.int64]:
        """Return the number of each digest, -1 where it was never numbered. int64, shape (n,)."""
        with self._cursor() as cursor:
            select = "SELECT number FROM sequences WHERE digest = ?"
            found = (cursor.execute(select, (digest,)).fetchone() for digest in digests)
            return np.fromiter((-1 if row is None else row[0] for row in found), np.int64, len(digests))

    def claim(self, source: int, ids: Sequence[str], numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Bind ids of one source to sequences; return where an id is bound to another sequence already. bool, (n,)."""
        rows = [(source, id_, number) for id_, number in zip(ids, numbers.tolist(), strict=True)]
        with self._cursor() as cursor:
            cursor.executemany("INSERT OR IGNORE INTO ids VALUES (?, ?, ?)", rows)
            if cursor.rowcount == len(rows):
                return np.zeros(len(rows), bool)
            select = "SELECT number FROM ids WHERE source = ? AND id = ?"
            return np.array([cursor.execute(select, row[:2]).fetchone()[0] != row[2] for row in rows], bool)

    def get_ids(self, source: int, ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return the number to which each id of a source is bound, -1 where it was never claimed. int64, shape (n,)."""
        select = "SELECT number FROM ids WHERE source = ? AND id = ?"
        with self._cursor() as cursor:
            found = (cursor.execute(select, (source, id_)).fetchone() for id_ in ids)
            return np.fromiter((-1 if row is None else row[0] for row in found), np.int64, len(ids))

    def first_time(self, source: int, ids: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return where an id of a source is seen for the first time, and remember it. bool, shape (n,)."""
        insert = "INSERT OR IGNORE INTO ids VALUES (?, ?, 0)"
        with self._cursor() as cursor:
            return np.array([cursor.execute(insert, (source, id_)).rowcount == 1 for id_ in ids], bool)

    @contextmanager
    def _cursor(self) -> Iterator[sqlite3.Cursor]:
        try:
            with closing(self._db.cursor()) as cursor:
                yield cursor
        except sqlite3.OperationalError as error:
            raise StoreError(
                f"{self._path}: {error}; free some space on that disk and run the command again"
            ) from error

    def close(self) -> None:
        """Close the file; it can then be removed."""
        self._db.close()
