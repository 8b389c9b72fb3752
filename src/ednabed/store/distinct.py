"""Numbers of distinct sequences and known ids, stored in SQLite so that memory use does not grow with the file.

Distinct sequences get the numbers 0, 1, 2, ... in order of first occurrence. The file is temporary: it is rebuilt from
the input each time a command starts.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from ednabed.base.arrays import Bools, Ints
from ednabed.errors import StoreError


class DistinctIndex:
    """Index from digest to number, and from (source, id) to number.

    Args:
        path: Temporary file; an old one is removed.
    """

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._path = path
        self._db = sqlite3.connect(path, isolation_level=None)
        # The file is temporary, so it needs no journal and does not wait for the disk.
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
        """Return the number of distinct sequences."""
        return self._count

    def number(self, digests: Sequence[bytes]) -> Ints:
        """Return the number of each digest; new digests get the next numbers. int64, shape (n,)."""
        number_of = {digest: -1 for digest in digests}
        with self._cursor() as cursor:
            cursor.executemany(
                "INSERT OR IGNORE INTO sequences (number, digest) "
                "VALUES ((SELECT COALESCE(MAX(number), -1) + 1 FROM sequences), ?)",
                [(digest,) for digest in number_of],
            )
            new = cursor.rowcount
            if new == len(number_of):
                number_of.update(zip(number_of, range(self._count, self._count + new), strict=True))
            else:
                for digest in number_of:
                    number_of[digest] = cursor.execute(
                        "SELECT number FROM sequences WHERE digest = ?", (digest,)
                    ).fetchone()[0]
        self._count += new
        return np.fromiter((number_of[d] for d in digests), np.int64, len(digests))

    def find(self, digests: Sequence[bytes]) -> Ints:
        """Return the number of each digest, or -1 if it has none. int64, shape (n,)."""
        with self._cursor() as cursor:
            select = "SELECT number FROM sequences WHERE digest = ?"
            found = (cursor.execute(select, (digest,)).fetchone() for digest in digests)
            return np.fromiter((-1 if row is None else row[0] for row in found), np.int64, len(digests))

    def claim(self, source: int, ids: Sequence[str], numbers: Ints) -> Bools:
        """Bind ids of one source to sequences; return which are already bound to another sequence. bool, shape (n,)."""
        rows = [(source, id_, number) for id_, number in zip(ids, numbers.tolist(), strict=True)]
        with self._cursor() as cursor:
            cursor.executemany("INSERT OR IGNORE INTO ids VALUES (?, ?, ?)", rows)
            if cursor.rowcount == len(rows):
                return np.zeros(len(rows), bool)
            select = "SELECT number FROM ids WHERE source = ? AND id = ?"
            return np.array([cursor.execute(select, row[:2]).fetchone()[0] != row[2] for row in rows], bool)

    def get_ids(self, source: int, ids: Sequence[str]) -> Ints:
        """Return the number to which each id of a source is bound, or -1 if it is not bound. int64, shape (n,)."""
        select = "SELECT number FROM ids WHERE source = ? AND id = ?"
        with self._cursor() as cursor:
            found = (cursor.execute(select, (source, id_)).fetchone() for id_ in ids)
            return np.fromiter((-1 if row is None else row[0] for row in found), np.int64, len(ids))

    def first_time(self, source: int, ids: Sequence[str]) -> Bools:
        """Return which ids of a source are seen for the first time, and record them. bool, shape (n,)."""
        insert = "INSERT OR IGNORE INTO ids VALUES (?, ?, 0)"
        with self._cursor() as cursor:
            return np.array([cursor.execute(insert, (source, id_)).rowcount == 1 for id_ in ids], bool)

    @contextmanager
    def _cursor(self) -> Iterator[sqlite3.Cursor]:
        try:
            with closing(self._db.cursor()) as cursor:
                yield cursor
        except sqlite3.OperationalError as error:
            raise StoreError(f"{self._path}: {error}; free some space on its disk and run the command again") from error

    def close(self) -> None:
        """Close the file, so that it can be removed."""
        self._db.close()
