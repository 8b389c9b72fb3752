"""Hits in a LanceDB table: distinct sequences, identified by their digest and described by their first row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ednabed.base.arrays import FloatArray
from ednabed.base.topk import DIGITS
from ednabed.errors import InputError
from ednabed.sequences import RANKS, RAW_SCHEMA, Alphabet, digest, normalise, normalise_one, tidy_lineage
from ednabed.sequences.lineage import tidy_ranks
from ednabed.store.table import ID, SEQUENCE, Database, VectorColumns
from ednabed.store.table_nearest import Numbers, take_rows, vectors_in

Hits = list[dict[str, Any]]
_BASE64URL = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_RANK = np.zeros(256, np.uint64)
_RANK[sorted(_BASE64URL)] = np.arange(64, dtype=np.uint64)


@dataclass(frozen=True)
class OpenedTable:
    """The open table, and the part of it that is searched.

    Attributes:
        database: Database that contains the table.
        table: LanceDB's handle, which stays at one version.
        columns: Vector column and its companion columns.
        dimension: Dimension of the vectors.
        alphabet: Alphabet with which the sequences were normalised.
        where: Filter for Lance (``read_filter``), or None.
    """

    database: Database
    table: Any
    columns: VectorColumns
    dimension: int
    alphabet: Alphabet
    where: str | None

    @property
    def shown(self) -> list[str]:
        """Columns of the table that a hit needs."""
        names = self.table.schema.names
        return [c for c in (ID, SEQUENCE, "sample", "abundance", "lineage", "source", *RANKS) if c in names]

    def vectors(self, part: Any) -> FloatArray:
        """Return the vectors of a batch or table of rows, with zeros for null."""
        return vectors_in(part, self.columns.vector, self.dimension)


@dataclass(frozen=True)
class Found:
    """A distinct sequence that was found.

    Attributes:
        digest: Digest of the normalised sequence.
        similarity: Cosine with the query.
        occurrences: Number of searched rows that contain it.
        row: Number of the row that represents it, the first by id.
    """

    digest: str
    similarity: float
    occurrences: int
    row: int

    @property
    def order(self) -> tuple[float, str]:
        """Sort key: most similar first, ties by digest."""
        return -round(self.similarity, 6), self.digest


def digests_of(sequences: Any, alphabet: Alphabet) -> npt.NDArray[np.uint8]:
    """Return the digest of each sequence, normalised, as 35 ASCII characters, uint8, shape (n, 35).

    A sequence that cannot be normalised (because it was changed later) is used as it is.
    """
    column = sequences.combine_chunks() if isinstance(sequences, pa.ChunkedArray) else sequences
    count = len(column)
    column = column.cast(pa.string()).fill_null("").cast(pa.binary())
    given = {
        "id": pa.repeat("row", count),
        "sequence": column,
        "source": pa.repeat("", count),
        "record": pa.array(np.arange(count)),
    }
    arrays = [given.get(field.name, pa.nulls(count, field.type)) for field in RAW_SCHEMA]
    accepted, refused = normalise(
        pa.RecordBatch.from_arrays(arrays, schema=RAW_SCHEMA), alphabet=alphabet, min_length=1
    )
    digests = np.zeros((count, 35), np.uint8)
    rows = accepted.column("record").to_numpy()
    digests[rows] = np.array(accepted.column("digest").to_pylist(), "S35").view(np.uint8).reshape(-1, 35)
    for row in refused.column("record").to_pylist():
        digests[row] = list(digest(column[row].as_py()).encode())
    return digests


def digest_texts(sequences: Any, alphabet: Alphabet) -> list[str]:
    """Return the digest of each sequence, after normalising."""
    return [row.tobytes().decode() for row in digests_of(sequences, alphabet)]


def digest_keys(digests: npt.NDArray[np.uint8]) -> Numbers:
    """Return numbers that sort like the digests: their first 60 bits."""
    shifts = np.arange(54, -1, -6, dtype=np.uint64)
    return np.asarray((_RANK[digests[:, 3:13]] << shifts).sum(axis=1, dtype=np.uint64))


def hits_of(opened: OpenedTable, chosen: list[list[Found]]) -> list[Hits]:
    """Return the found sequences as hits, with the columns of the row that represents each."""
    rows = np.unique(np.array([f.row for of_query in chosen for f in of_query], np.uint64))
    part = take_rows(opened.database, opened.table, rows, opened.shown)
    shown = dict(zip(rows.tolist(), part.to_pylist(), strict=True))
    out = []
    for of_query in chosen:
        hits = []
        for rank, f in enumerate(of_query, start=1):
            row = shown[f.row]
            sequence = _normalised(row[SEQUENCE], opened.alphabet)
            hits.append(
                {
                    "rank": rank,
                    "similarity": round(f.similarity, DIGITS),
                    "distance": round(1 - f.similarity, DIGITS),
                    "id": row[ID],
                    "dataset": None,
                    "run_id": None,
                    "seq_idx": None,
                    "sample": _plain(row.get("sample")),
                    "abundance": _plain(row.get("abundance")),
                    "lineage": _lineage(row),
                    "occurrences": f.occurrences,
                    "datasets": {},
                    "length": len(sequence),
                    "source": _plain(row.get("source")),
                    "source_file": opened.database.address,
                    "sequence": sequence,
                }
            )
        out.append(hits)
    return out


def _normalised(text: str | None, alphabet: Alphabet) -> str:
    """Return the normalised sequence, the empty string if it cannot be normalised."""
    try:
        return normalise_one(text or "", alphabet).decode()
    except InputError:
        return ""


def _plain(value: Any) -> str | int | float | None:
    """Return a value of a user's column in a form that JSON can represent."""
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _lineage(row: dict[str, Any]) -> str | None:
    """Return the lineage of a row: its lineage column, in standard form if it can be parsed, else its ranks."""
    text = row.get("lineage")
    if text is None:
        ranks = [str(row.get(rank) or "").replace(";", ",") for rank in RANKS]
        return tidy_ranks(";".join(ranks))
    try:
        return tidy_lineage(str(text))
    except InputError:
        return str(text)
