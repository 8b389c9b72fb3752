"""Find the inputs of a run that are themselves count tables, and open the count tables of each input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ednabed.errors import InputError, UsageError
from ednabed.sequences.counts import CountTable, find_counts, read_count_table
from ednabed.sequences.opening import OpenedInput
from ednabed.store.occurrences import Occurrences
from ednabed.store.staging import Input


class UndecidedCounts(InputError):
    """An input contains sequences and counts, and it is unknown whether the counts are to be used.

    Attributes:
        given: The name of the input as given by the user.
    """

    def __init__(self, message: str, given: str) -> None:
        super().__init__(message)
        self.given = given


@dataclass(frozen=True)
class CountInputs:
    """The inputs of a run and its count tables.

    Attributes:
        inputs: The inputs.
        separate_tables: Count tables that are not inputs; each is joined to all inputs without their own counts.
        combined: Indices of the inputs that contain sequences and counts in one table.
        using_own_counts: Indices of those inputs in ``combined`` whose own counts are used.
    """

    inputs: list[Input]
    separate_tables: list[Input]
    combined: frozenset[int]
    using_own_counts: frozenset[int]

    @property
    def tables(self) -> list[Input]:
        """All count tables that are used."""
        return [*self.separate_tables, *(self.inputs[number] for number in sorted(self.using_own_counts))]


def find_count_inputs(inputs: list[Input], tables: list[Input], *, use_counts: bool = True) -> CountInputs:
    """Find the count tables of a run without reading them.

    A sequence table (DADA2) among the inputs is its own count table. Any other input is a count table only if it is
    also given as one.

    Args:
        inputs: Sequences.
        tables: Count tables, as given; one that is also an input must contain sequences.
        use_counts: False reads only the sequences of the inputs.

    Raises:
        UndecidedCounts: An input contains counts, and it is unknown whether they are to be used.
        InputError: An input cannot be read.
        UsageError: A table does not belong to any input.
    """
    for table in tables:
        with table.stdin() as stdin, OpenedInput(table.path if stdin is None else "-", stdin, use="counts"):
            # Fail at once if the file is missing or cannot be read.
            pass
    number_of = {source.path.resolve(): number for number, source in enumerate(inputs)}
    separate_tables = [table for table in tables if table.path.resolve() not in number_of]
    given_as_tables = {number_of[table.path.resolve()] for table in tables if table.path.resolve() in number_of}
    combined, using_own_counts = set(given_as_tables), set(given_as_tables)
    for number, source in enumerate(inputs):
        if number in given_as_tables:
            continue
        with source.stdin() as stdin:
            found = find_counts(source.path if stdin is None else "-", stdin=stdin)
        if found == "sequence table":
            combined.add(number)
            using_own_counts |= {number} if use_counts and not separate_tables else set()
        elif found == "sequences and counts" and use_counts and not tables:
            raise UndecidedCounts(
                f"{_shown(source)}: has ids, sequences and columns of whole numbers, like a table of reads per sample; "
                "use it as a count table too, or use only its sequences",
                source.given,
            )
    if separate_tables and len(using_own_counts) == len(inputs):
        raise UsageError(
            f"{_shown(separate_tables[0])} cannot be joined to any input, because each input has its own counts; give "
            "the sequences of that table as an input too"
        )
    return CountInputs(inputs, separate_tables, frozenset(combined), frozenset(using_own_counts))


def open_counts(found: CountInputs, folder: Path, *, keep_placeholders: bool) -> tuple[list[Input], list[Any]]:
    """Read the count tables.

    Args:
        found: Result of ``find_count_inputs``.
        folder: Folder for the records of inputs that are count tables.
        keep_placeholders: See ``open_records``.

    Returns:
        The inputs, ready to be read, and the ``Occurrences`` of each input, or None if it has no count table.

    Raises:
        InputError: A table cannot be read, or an input that is a count table contains no sequences.
    """
    separate_tables = [_read(table) for table in found.separate_tables]
    tables_of_inputs = {number: _read(found.inputs[number]) for number in sorted(found.combined)}
    joint = Occurrences(separate_tables, keep_placeholders=keep_placeholders) if separate_tables else None
    inputs: list[Input] = []
    counts: list[Occurrences | None] = []
    for number, source in enumerate(found.inputs):
        if number in tables_of_inputs:
            records = folder / f"input-{number}.parquet"
            _write_records(tables_of_inputs[number], records)
            source = replace(source, records=records)
        if number in found.using_own_counts:
            # The lineages of the table are already columns of its records.
            table = replace(tables_of_inputs[number], labels={})
            counts.append(Occurrences([table], keep_placeholders=keep_placeholders))
        else:
            counts.append(joint)
        # Samples in a header (OBITools) are ignored if there is a table.
        inputs.append(source if counts[-1] is None else replace(source, by_sample=False))
    return inputs, counts


def counts_summary(counts: Sequence[Occurrences | None], *, complete: bool) -> dict[str, int]:
    """Return the sums of ``Occurrences.summary`` over the tables of a run; empty if there are none."""
    used = [occurrences for occurrences in dict.fromkeys(counts) if occurrences is not None]
    parts = [occurrences.summary(complete=complete) for occurrences in used]
    return {key: sum(part[key] for part in parts) for key in parts[0]} if parts else {}


def counts_notes(counts: Sequence[Occurrences | None], *, complete: bool) -> list[str]:
    """Return remarks for the user about the count tables of a run.

    Args:
        counts: The count tables of each input.
        complete: Whether the input was read to its end, so that features without a sequence are known.
    """
    notes: list[str] = []
    for occurrences in dict.fromkeys(counts):
        if occurrences is not None:
            notes += occurrences.notes
            without_reads = occurrences.without_reads
            if without_reads:
                records = "1 record has" if without_reads == 1 else f"{without_reads:,} records have"
                notes.append(f"{occurrences.name}: {records} no reads in any sample; rejected.tsv lists them")
            notes += occurrences.unmatched() if complete else []
    return notes


def _read(table: Input) -> CountTable:
    with table.stdin() as stdin:
        return read_count_table(table.path if stdin is None else "-", stdin=stdin)


def _write_records(table: CountTable, path: Path) -> None:
    if table.sequences is None:
        raise InputError(
            f"{table.path}: contains counts but no sequences; give the file of sequences as input and this one as its "
            "count table"
        )
    columns = {
        "id": pa.array(list(table.row_of_id), pa.string()),
        "sequence": pa.array(list(table.sequences), pa.string()),
        **{name: pa.array(list(cells), pa.string()) for name, cells in table.labels.items()},
    }
    pq.write_table(pa.table(columns), path)


def _shown(source: Input) -> str:
    return "standard input" if source.given == "-" else source.given
