"""Second half of creating a run: compute a vector for each distinct sequence, then write the arrays in input order.

``compute`` embeds the sequences that the journal does not contain yet; ``assemble`` writes ``embeddings.npy`` and
``records.parquet`` row by row from the journal and the staged records. Neither holds more in memory than one window of
sequences or one batch of rows, plus a few bytes per distinct sequence.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ednabed.base.arrays import Ints
from ednabed.base.files import fsync_file
from ednabed.engine.embed import WINDOW_BASES, Engine
from ednabed.engine.progress import progress_bar
from ednabed.errors import StoreError
from ednabed.models.base import Embedder
from ednabed.store.distinct import DistinctIndex
from ednabed.store.journal import VectorJournal, digest_bytes
from ednabed.store.runs import RECORDS, REJECTED
from ednabed.store.staging import NUMBER, TRUNCATED, RejectedFile, Staged
from ednabed.store.vectors import EMBEDDINGS

Window = tuple[Ints, list[str], list[bytes], list[bytes]]


class Computed:
    """The journal row of the vector of each distinct sequence.

    Attributes:
        row: Journal row, -1 if not yet computed. int64, shape (distinct,).
        truncated: Whether the sequence was cut at the token limit. bool, shape (distinct,).
        refused: Number of each distinct sequence that the model cannot embed, mapped to the reason.
    """

    def __init__(self, distinct: int) -> None:
        self.row = np.full(distinct, -1, np.int64)
        self.truncated = np.zeros(distinct, bool)
        self.refused: dict[int, str] = {}

    def take_up(self, journal: VectorJournal, index: DistinctIndex) -> int:
        """Reuse the rows left by an earlier attempt; return how many sequences of this input they cover."""
        digests, truncated = journal.entries()
        for first in range(0, len(digests), 65_536):
            numbers = index.find(digests[first : first + 65_536])
            known = np.flatnonzero(numbers >= 0)
            self.row[numbers[known]] = first + known
            self.truncated[numbers[known]] = truncated[first + known]
        return int(np.count_nonzero(self.row >= 0))


def compute(
    staged: Staged,
    embedder: Embedder,
    batch_size: int | None,
    journal: VectorJournal,
    vectors: Computed,
    taken_up: int,
    show_progress: bool | None,
) -> int:
    """Embed every distinct sequence that has no vector yet; return the number of vectors computed."""
    engine = Engine(embedder, batch_size)
    computed = 0
    with progress_bar(staged.distinct, done=taken_up, show=show_progress) as bar:
        for numbers, ids, sequences, digests in _windows(staged, vectors):
            refused, batches = engine.stream(sequences, ids)
            for batch in batches:
                first = journal.append([digests[i] for i in batch.index], batch.vectors, batch.truncated)
                batch_numbers = numbers[batch.index]
                vectors.row[batch_numbers] = first + np.arange(len(batch_numbers))
                vectors.truncated[batch_numbers] = batch.truncated
                computed += len(batch_numbers)
                bar.update(len(batch_numbers))
            vectors.refused |= {int(numbers[i]): reason for i, reason in refused.items()}
            bar.update(len(refused))
        journal.flush()
    return computed


def _windows(staged: Staged, vectors: Computed) -> Iterator[Window]:
    """Yield (numbers, ids, sequences, digests) of distinct sequences without a vector, window by window."""
    parts: list[Any] = []
    bases, highest_so_far = 0, -1
    for batch in staged.batches(["id", "sequence", "digest", "length", NUMBER]):
        column = batch.column(NUMBER).to_numpy()
        # Numbers were assigned in order of first occurrence, so a first occurrence is a new maximum.
        highest = np.maximum.accumulate(np.concatenate(([highest_so_far], column)))
        highest_so_far = int(highest[-1])
        parts.append(batch.filter(pa.array((column > highest[:-1]) & (vectors.row[column] < 0))))
        bases += int(parts[-1].column("length").to_numpy().sum())
        if bases >= WINDOW_BASES:
            yield _window(parts)
            parts, bases = [], 0
    if bases:
        yield _window(parts)


def _window(parts: list[Any]) -> Window:
    table = pa.Table.from_batches(parts)
    return (
        table.column(NUMBER).to_numpy(),
        table.column("id").to_pylist(),
        [sequence.encode() for sequence in table.column("sequence").to_pylist()],
        [digest_bytes(digest) for digest in table.column("digest").to_pylist()],
    )


def assemble(
    staged: Staged,
    embedder: Embedder,
    journal: VectorJournal,
    vectors: Computed,
    rejected: RejectedFile,
    build: Path,
) -> dict[str, int]:
    """Write ``embeddings.npy`` and ``records.parquet``, row by row in input order; return the counts.

    Raises:
        StoreError: The embedder can embed none of the sequences.
    """
    refused = np.zeros(staged.distinct, bool)
    refused[list(vectors.refused)] = True
    missing = np.flatnonzero((vectors.row < 0) & ~refused)
    if len(missing):
        raise StoreError(f"{build}: {len(missing)} sequences have no vector after embedding; this is a bug in ednabed")
    kept_rows = sum(int(np.count_nonzero(~refused[b.column(0).to_numpy()])) for b in staged.batches([NUMBER]))
    if not kept_rows:
        first = next(iter(vectors.refused.values()))
        raise StoreError(
            f"none of the {staged.accepted} sequences in the input can be embedded by {embedder.spec.model}: the first "
            f"{first}; choose another model or policy"
        )

    schema = staged.schema.append(pa.field(TRUNCATED, pa.bool_()))
    truncated_rows = 0
    last: tuple[str, int] | None = None
    reads = 0
    samples: set[str] = set()
    with (
        (build / EMBEDDINGS).open("wb") as file,
        pq.ParquetWriter(build / RECORDS, schema, compression="zstd") as writer,
    ):
        header = {"descr": "<f4", "fortran_order": False, "shape": (kept_rows, embedder.spec.dimension)}
        np.lib.format.write_array_header_1_0(file, header)
        for batch in staged.batches():
            numbers: Ints = batch.column(NUMBER).to_numpy()
            bad = refused[numbers]
            if bad.any():
                dropped = batch.filter(pa.array(bad))
                reasons = [vectors.refused[number] for number in dropped.column(NUMBER).to_pylist()]
                ids, sources, records = (dropped.column(c).to_pylist() for c in ("id", "source", "record"))
                for row in zip(ids, reasons, sources, records, strict=True):
                    # The samples of a record are consecutive rows; the record is rejected once.
                    if row[2:] != last:
                        rejected.write([row])
                    last = row[2:]
                batch, numbers = batch.filter(pa.array(~bad)), numbers[~bad]
            file.write(journal.read(vectors.row[numbers]).astype("<f4", copy=False).tobytes())
            truncated = vectors.truncated[numbers]
            truncated_rows += int(truncated.sum())
            if staged.reads is not None:
                reads += sum(batch.column("abundance").drop_null().to_pylist())
                samples.update(pc.unique(batch.column("sample")).drop_null().to_pylist())
            columns = {name: batch.column(name) for name in batch.schema.names}
            arrays = [
                columns[field.name].cast(field.type) if field.name in columns else pa.nulls(len(batch), field.type)
                for field in staged.schema
            ]
            writer.write_batch(pa.record_batch([*arrays, pa.array(truncated)], schema=schema))
    rejected.close()
    for name in (EMBEDDINGS, RECORDS, REJECTED):
        fsync_file(build / name)
    count_table_totals = {} if staged.reads is None else {"samples": len(samples), "reads": reads}
    return {
        "read": kept_rows + rejected.count,
        "embedded": kept_rows,
        "rejected": rejected.count,
        "distinct": staged.distinct - len(vectors.refused),
        "truncated": truncated_rows,
        "ambiguous": staged.ambiguous,
        "labelled": staged.labelled,
        **count_table_totals,
    }
