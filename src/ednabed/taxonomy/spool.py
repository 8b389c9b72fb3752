"""Queries that wait on disk until all queries of a study are looked up, in the order of the input."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from ednabed.base.arrays import FloatArray
from ednabed.base.bases import Codes
from ednabed.search.queries import Query


class Spool:
    """Keeps queries, and the vectors and bases of the distinct ones, in temporary files; a context manager."""

    def __init__(self) -> None:
        self._queries: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n")  # noqa: SIM115
        self._vectors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._bases: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._ends = [0]
        self._size = 0
        self._paths: dict[Path, int] = {}

    def __enter__(self) -> Spool:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the files."""
        for file in (self._queries, self._vectors, self._bases):
            file.close()

    def add_query(self, query: Query, number: int | None) -> None:
        """Store a query and the number of its distinct sequence, which has its bases; None if it was rejected."""
        file = None if query.file is None else self._paths.setdefault(query.file, len(self._paths))
        bases = query.sequence if number is None else None
        cells = [query.info, query.key, bases, query.abundance, query.sample, file, number]
        self._queries.write(json.dumps(cells) + "\n")

    def add_distinct(self, vectors: FloatArray, codes: Sequence[Codes]) -> None:
        """Store the vectors, shape (n, d), and bases of the next n distinct sequences."""
        self._vectors.write(np.ascontiguousarray(vectors, np.float32).tobytes())
        self._size = vectors.shape[1]
        for bases in codes:
            self._bases.write(bases.tobytes())
            self._ends.append(self._ends[-1] + len(bases))

    def queries(self) -> Iterator[tuple[Query, int | None]]:
        """Yield the queries as they were stored, each with its number; those with a number have no bases."""
        self._queries.seek(0)
        paths = list(self._paths)
        for line in self._queries:
            info, key, bases, abundance, sample, file, number = json.loads(line)
            query = Query(info, key, bases, abundance, sample)
            yield query if file is None else replace(query, file=paths[file]), number

    def vector(self, number: int) -> FloatArray:
        """Return the vector of a distinct sequence, float32, shape (d,)."""
        self._vectors.seek(number * self._size * 4)
        return np.frombuffer(self._vectors.read(self._size * 4), np.float32)

    def bases(self, number: int) -> Codes:
        """Return the bases of a distinct sequence."""
        first, last = self._ends[number : number + 2]
        self._bases.seek(first)
        return np.frombuffer(self._bases.read(last - first), np.uint8)
