"""First half of creating a run: read all input, normalise it and number distinct sequences, before any embedding.

A broken file is therefore reported within seconds rather than after hours of computation, and the number of sequences
to embed is known in advance. Accepted records go to one Parquet file per input, rejected ones to ``rejected.tsv``;
memory use does not grow with the input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ednabed.base.arrays import Ints
from ednabed.engine.progress import progress_bar
from ednabed.errors import InputError, UsageError
from ednabed.models.spec import Alphabet
from ednabed.sequences import Labels, Records, Samples, normalise, open_records
from ednabed.sequences.records import LATE_COLUMNS, unique_ids
from ednabed.sequences.stream import decode_text
from ednabed.store.distinct import DistinctIndex
from ednabed.store.journal import digest_bytes
from ednabed.store.occurrences import Occurrences, check_shared_samples

NUMBER = "ednabed_distinct_number"
TRUNCATED = "truncated"
BATCH_ROWS = 8192
Refusal = tuple[str, str, str, int]
"""Id, reason, source and record."""


@dataclass(frozen=True)
class Input:
    """One input that can be read repeatedly.

    Attributes:
        given: The name given by the user; ``-`` is standard input.
        path: The file; for standard input, a pipe or similar, a copy of its contents.
        name: Value for the column ``source``: the base name, or as much of the path as distinguishes the inputs.
        keep_placeholders: Keep names such as ``uncultured bacterium`` in lineages.
        by_sample: See ``open_records``.
        records: Separate file with the records of a count table that contains sequences; None if they are in ``path``.
    """

    given: str
    path: Path
    name: str
    keep_placeholders: bool = False
    by_sample: bool = True
    records: Path | None = None

    @contextmanager
    def stdin(self) -> Iterator[BinaryIO | None]:
        """Open the copy of standard input; yield None if the input is another file."""
        if self.given != "-":
            yield None
        else:
            with self.path.open("rb") as copy:
                yield copy

    @contextmanager
    def open(self, labels: Labels | None = None) -> Iterator[Records]:
        """Open the records. Raises InputError if the file cannot be read as sequences."""
        with open_records(
            self.records or self.path,
            batch_size=BATCH_ROWS,
            labels=labels,
            shown="standard input" if self.given == "-" else self.given,
            keep_placeholders=self.keep_placeholders,
            by_sample=self.by_sample,
        ) as records:
            yield records


@dataclass
class Staged:
    """The records read from all inputs.

    Attributes:
        inputs: Numbers of read, accepted and rejected records for each input.
        parts: Parquet files of the inputs that have an accepted record, with the columns of ``records.parquet`` and the
            number of the distinct sequence.
        distinct: Number of distinct sequences.
        ambiguous: Number of accepted records with an N.
        labelled: Number of accepted records with a lineage.
        reads: Reads of the accepted records if count tables were given, otherwise None.
        complete: Whether the inputs were read to their end.
        schema: Union of the columns of all parts, without the number.
        notes: Remarks about the inputs for the user, one sentence each.
    """

    inputs: list[dict[str, int]]
    parts: list[Path] = field(default_factory=list)
    distinct: int = 0
    ambiguous: int = 0
    labelled: int = 0
    reads: int | None = None
    complete: bool = True
    schema: Any = None
    notes: list[str] = field(default_factory=list)

    @property
    def accepted(self) -> int:
        """Number of accepted records from all inputs."""
        return sum(counts["accepted"] for counts in self.inputs)

    def batches(self, columns: list[str] | None = None) -> Iterator[Any]:
        """Yield the accepted records, including their numbers, as Arrow batches in input order."""
        for part in self.parts:
            with pq.ParquetFile(part) as file:
                yield from file.iter_batches(batch_size=BATCH_ROWS, columns=columns)


def display_names(paths: list[Path]) -> list[str]:
    """Return a name for each input: the base name, preceded by as many folders as are needed to make it unique.

    Raises:
        UsageError: A file is given twice.
    """
    parts = [("stdin",) if str(p) == "-" else p.resolve().parts for p in paths]
    for i, path_parts in enumerate(parts):
        if path_parts in parts[:i]:
            raise UsageError(f"{paths[i]} is given twice; give each input once")
    names = []
    for path_parts in parts:
        length = 1
        while sum(other[-length:] == path_parts[-length:] for other in parts) > 1:
            length += 1
        # A table cannot contain bytes that are not valid UTF-8.
        names.append("/".join(path_parts[-length:]).encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    return names


class RejectedFile:
    """``rejected.tsv``: id, reason, source, record; one line per rejected record."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="\n")
        self._file.write("id\treason\tsource\trecord\n")
        self.count = 0

    def write(self, rows: Iterable[Refusal]) -> None:
        """Add rows; tabs and line ends inside a field become spaces."""
        for row in rows:
            self._file.write("\t".join(" ".join(str(field).split()) for field in row) + "\n")
            self.count += 1

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass(frozen=True)
class Joined:
    """What is known of the records besides their inputs.

    Attributes:
        labels: Record id to lineage, or None.
        samples: Sample metadata to join to the accepted records, or None.
        counts: The count tables of each input, None for an input without one; empty if no table was given.
    """

    labels: Labels | None = None
    samples: Samples | None = None
    counts: Sequence[Occurrences | None] = ()

    @property
    def tables(self) -> list[Occurrences]:
        """The count tables, each once."""
        return [table for table in dict.fromkeys(self.counts) if table is not None]


@dataclass(frozen=True)
class Acceptance:
    """Which records are accepted.

    Attributes:
        alphabet: See ``Policy``.
        min_length: Minimum sequence length, in bases after normalisation.
        max_sequences: Maximum number of accepted records; None accepts all.
    """

    alphabet: Alphabet
    min_length: int
    max_sequences: int | None


def stage(
    inputs: list[Input],
    folder: Path,
    index: DistinctIndex,
    rejected: RejectedFile,
    joined: Joined,
    acceptance: Acceptance,
    *,
    show_progress: bool | None = False,
) -> Staged:
    """Read ``inputs`` into ``folder``.

    Args:
        inputs: Inputs to read.
        folder: Work folder.
        index: Empty index of distinct sequences.
        rejected: File that receives the rejected records.
        joined: Labels, sample metadata and count tables.
        acceptance: Which records are accepted.
        show_progress: True shows the number of records read on standard error; None shows it only on a terminal.

    Raises:
        InputError: A file cannot be read, no record in any of them was accepted, no record is in the count tables, or
            two tables have reads of the same sequence in the same sample.
    """
    join = None if joined.samples is None else _join(joined.samples, inputs)
    staged = Staged(inputs=[{"read": 0, "accepted": 0, "rejected": 0} for _ in inputs])
    staged.reads = 0 if any(joined.counts) else None
    schemas = []
    with progress_bar(None, show=show_progress, doing="reading", unit="record") as bar:
        reader = _Reader(staged, index, rejected, joined.labels, join, acceptance, bar)
        for number, (source, table) in enumerate(zip(inputs, joined.counts or [None] * len(inputs), strict=True)):
            if reader.room == 0:
                break
            with closing(PartWriter(folder, f"input-{number:04d}")) as parts:
                reader.read(number, source, table, parts)
            staged.parts += parts.paths
            schemas += parts.schemas
    for used in joined.tables:
        used.check()
    check_shared_samples(joined.tables)
    if not staged.accepted:
        raise _none_accepted(inputs, staged, joined.tables, _first_reason(folder / "rejected.tsv", rejected))
    staged.distinct = len(index)
    schema = _unify(schemas)
    staged.schema = pa.schema([field for field in schema if field.name != NUMBER])
    return staged


def _none_accepted(inputs: list[Input], staged: Staged, tables: list[Occurrences], reasons: str) -> InputError:
    read = sum(counts["read"] for counts in staged.inputs)
    if read and sum(table.without_reads for table in tables) == read:
        found = f"none of the {read} records has reads in {', '.join(table.name for table in tables)}"
        advice = "check that this count table belongs to these sequences and is not all zeros"
    else:
        found, advice = f"none of the {read} records can be embedded", "check that the file contains DNA sequences"
    return InputError(f"{', '.join(source.name for source in inputs)}: {found} ({reasons}); {advice}")


def _join(samples: Samples, inputs: list[Input]) -> Callable[[Any], Any]:
    """Return a function that joins the samples to a batch, under names unused in all inputs and in the run."""
    # Otherwise ``_free_columns`` would rename them differently in each input.
    columns = {TRUNCATED, NUMBER, *LATE_COLUMNS}
    for source in inputs:
        with source.open() as records:
            for batch in records:
                columns.update(batch.schema.names)
                # All other columns of an input are in its first batch.
                break
    return partial(samples.apply, names=samples.column_names_with(columns))


class PartWriter:
    """Writer of batches to Parquet files; starts a new file if the columns change, as with late columns in an input.

    Args:
        folder: Folder of the files.
        name: Stem of the file names; a number is appended.

    Attributes:
        paths: The files, in order.
        schemas: Their columns.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._writer: Any = None
        self.paths: list[Path] = []
        self.schemas: list[Any] = []

    def write(self, batch: Any) -> None:
        """Add a batch."""
        if self._writer is None or batch.schema != self.schemas[-1]:
            self.close()
            self.paths.append(self._folder / f"{self._name}-{len(self.paths)}.parquet")
            self.schemas.append(batch.schema)
            self._writer = pq.ParquetWriter(self.paths[-1], batch.schema, compression="zstd", compression_level=1)
        self._writer.write_batch(batch)

    def close(self) -> None:
        """Close the last file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


@dataclass
class _Reader:
    """What all inputs share while they are staged."""

    staged: Staged
    index: DistinctIndex
    rejected: RejectedFile
    labels: Labels | None
    join: Callable[[Any], Any] | None
    acceptance: Acceptance
    bar: Any

    @property
    def room(self) -> int | None:
        """How many more records may be accepted; None for any number."""
        maximum = self.acceptance.max_sequences
        return None if maximum is None else maximum - self.staged.accepted

    def read(self, number: int, source: Input, occurrences: Occurrences | None, parts: PartWriter) -> None:
        """Stage one input."""
        counts = self.staged.inputs[number]
        with source.open(self.labels) as records:
            for raw in records:
                column = raw.schema.get_field_index("source")
                raw = raw.set_column(column, raw.schema.field(column), pa.repeat(source.name, len(raw)))
                kept, refusals = self._accept(raw, number, occurrences)
                self.bar.update(len(raw))
                counts["rejected"] += len(refusals)
                self.rejected.write(refusals)
                for accepted in kept:
                    counts["accepted"] += len(accepted)
                    for batch in [accepted] if occurrences is None else occurrences.expand(accepted):
                        self._write(batch, parts)
                if self.room == 0:
                    self.staged.complete = False
                    break
            self.staged.notes += records.notes
        counts["read"] = counts["accepted"] + counts["rejected"]

    def _accept(self, raw: Any, number: int, occurrences: Occurrences | None) -> tuple[list[Any], list[Refusal]]:
        """Return the accepted records of a batch of an input, as batches, and the refused ones."""
        room = self.room
        accepted, refused = normalise(raw, alphabet=self.acceptance.alphabet, min_length=self.acceptance.min_length)
        accepted = _free_columns(accepted)
        refusals = list(
            zip(*(refused.column(c).to_pylist() for c in ("id", "reason", "source", "record")), strict=True)
        )
        if occurrences is not None:
            accepted, without_reads = occurrences.split(accepted, room)
            refusals += without_reads
        kept = []
        position = 0
        while position < len(accepted) and room != 0:
            batch = accepted.slice(position, room)
            position += len(batch)
            batch, clashing = _number(batch, self.index, number)
            refusals += clashing
            kept.append(batch)
            room = None if room is None else room - len(batch)
        if room == 0 and kept:
            # Records after the last accepted one were not requested.
            last = kept[-1].column("record")[-1].as_py()
            refusals = [row for row in refusals if row[3] <= last]
            refused = refused.filter(pc.less_equal(refused.column("record"), last))
        if occurrences is not None and len(refused):
            bad = raw.filter(pc.is_in(raw.column("record"), value_set=refused.column("record")))
            sequences = [decode_text(cell or b"").strip() for cell in bad.column("sequence").to_pylist()]
            occurrences.note_rejected(bad.column("id").to_pylist(), sequences)
        return kept, refusals

    def _write(self, batch: Any, parts: PartWriter) -> None:
        batch = batch if self.join is None else self.join(batch)
        self.staged.ambiguous += int(np.count_nonzero(batch.column("n_ambiguous")))
        self.staged.labelled += len(batch) - batch.column("lineage").null_count
        if self.staged.reads is not None:
            self.staged.reads += sum(batch.column("abundance").drop_null().to_pylist())
        parts.write(batch)


def _number(batch: Any, index: DistinctIndex, source: int) -> tuple[Any, list[Refusal]]:
    """Add the number of the distinct sequence; remove records whose id has another sequence in the same input."""
    digests = [digest_bytes(d) for d in batch.column("digest").to_pylist()]
    # An id is bound to the first 8 bytes of the digest, because only sequences that stay in the run may get a number.
    keys = np.frombuffer(b"".join(d[:8] for d in digests), np.int64)
    clash = index.claim(source, unique_ids(batch), keys)
    refused: list[Refusal] = []
    if clash.any():
        bad = batch.filter(pa.array(clash))
        rows = zip(*(bad.column(c).to_pylist() for c in ("id", "source", "record")), strict=True)
        reason = "this id occurs earlier in the file with another sequence"
        refused = [(id_, reason, source_, record) for id_, source_, record in rows]
        batch = batch.filter(pa.array(~clash))
        digests = [d for d, bad_ in zip(digests, clash, strict=True) if not bad_]
    numbers: Ints = index.number(digests)
    return batch.append_column(NUMBER, pa.array(numbers)), refused


def _free_columns(batch: Any) -> Any:
    """Rename input columns whose name is reserved for the records of a run: ``truncated`` to ``truncated_input``."""
    names = batch.schema.names
    for reserved in (TRUNCATED, NUMBER):
        if reserved in names:
            new = reserved
            while new in names:
                new += "_input"
            names = [new if name == reserved else name for name in names]
    return batch.rename_columns(names)


def _unify(schemas: list[Any]) -> Any:
    """Return the union of the columns; a column with different types becomes text, which can hold any value."""
    fields: dict[str, Any] = {}
    for field_ in (field_ for schema in schemas for field_ in schema):
        known = fields.setdefault(field_.name, field_)
        if known.type != field_.type:
            fields[field_.name] = pa.field(field_.name, pa.string())
    return pa.schema(list(fields.values()))


def _first_reason(path: Path, rejected: RejectedFile) -> str:
    rejected.close()
    with path.open(encoding="utf-8") as lines:
        next(lines)
        first = next(lines, "").rstrip("\n").split("\t")
    return f"the first, '{first[0]}', is rejected: {first[1]}" if len(first) > 1 else "there are no records"
