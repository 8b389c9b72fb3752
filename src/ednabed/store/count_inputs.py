"""Which inputs of a run are count tables themselves, and the count tables of each input, opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ednabed.errors import InputError, UsageError
from ednabed.sequences.counts import CountTable, find_counts, read_count_table
from ednabed.sequences.opening import Source
from ednabed.store.occurrences import Occurrences
from ednabed.store.staging import Input


class UndecidedCounts(InputError):
    """An input holds sequences and counts, and it is unknown whether the counts are to be used.

    Attributes:
        given: The input as it was named.
    """

    def __init__(self, message: str, given: str) -> None:
        super().__init__(message)
        self.given = given


@dataclass(frozen=True)
class CountInputs:
    """The inputs of a run and its count tables.

    Attributes:
        inputs: The inputs.
        apart: Count tables that are not inputs; each is joined to all inputs that have no counts of their own.
        holding: Numbers of the inputs that hold sequences and counts in one table.
        counted: Numbers of those of ``holding`` whose own counts are used.
    """

    inputs: list[Input]
    apart: list[Input]
    holding: frozenset[int]
    counted: frozenset[int]

    @property
    def tables(self) -> list[Input]:
        """All count tables that are used."""
        return [*self.apart, *(self.inputs[number] for number in sorted(self.counted))]


def find_count_inputs(inputs: list[Input], tables: list[Input], *, use_counts: bool = True) -> CountInputs:
    """Find the count tables of a run without reading them.

    A sequence table (DADA2) among the inputs is its own count table; any other input is where it is named as one too.

    Args:
        inputs: Sequences.
        tables: Count tables, as named; one that is an input too must hold sequences.
        use_counts: False reads inputs as sequences alone.

    Raises:
        UndecidedCounts: An input holds counts, and it is unknown whether they are to be used.
        InputError: An input cannot be read.
        UsageError: A table belongs to no input.
    """
    for table in tables:
        with table.stdin() as stdin, Source(table.path if stdin is None else "-", stdin, use="counts"):
            # Reports at once that the file is absent or cannot be read.
            pass
    number_of = {source.path.resolve(): number for number, source in enumerate(inputs)}
    apart = [table for table in tables if table.path.resolve() not in number_of]
    named = {number_of[table.path.resolve()] for table in tables if table.path.resolve() in number_of}
    holding, counted = set(named), set(named)
    for number, source in enumerate(inputs):
        if number in named:
            continue
        with source.stdin() as stdin:
            found = find_counts(source.path if stdin is None else "-", stdin=stdin)
        if found == "sequence table":
            holding.add(number)
            counted |= {number} if use_counts and not apart else set()
        elif found == "sequences and counts" and use_counts and not tables:
            raise UndecidedCounts(
                f"{_shown(source)}: has ids, sequences and columns of whole numbers, as a table of reads by sample "
                "has; use it as a count table too, or as sequences alone",
                source.given,
            )
    if apart and len(counted) == len(inputs):
        raise UsageError(
            f"{_shown(apart[0])} has no input to be joined to, each input has counts of its own; name the sequences of "
            "that table as an input too"
        )
    return CountInputs(inputs, apart, frozenset(holding), frozenset(counted))


def open_counts(found: CountInputs, folder: Path, *, keep_placeholders: bool) -> tuple[list[Input], list[Any]]:
    """Read the count tables.

    Args:
        found: What ``find_count_inputs`` found.
        folder: Where the records of inputs that are count tables are written.
        keep_placeholders: See ``open_records``.

    Returns:
        The inputs, ready to be read; and for each of them its ``Occurrences``, None where it has no count table.

    Raises:
        InputError: A table cannot be read, or an input that is a table of counts holds no sequences.
    """
    apart = [_read(table) for table in found.apart]
    own = {number: _read(found.inputs[number]) for number in sorted(found.holding)}
    joint = Occurrences(apart, keep_placeholders=keep_placeholders) if apart else None
    inputs: list[Input] = []
    counts: list[Occurrences | None] = []
    for number, source in enumerate(found.inputs):
        if number in own:
            records = folder / f"input-{number}.parquet"
            _write_records(own[number], records)
            source = replace(source, records=records)
        if number in found.counted:
            # The lineages of the table are columns of its records.
            table = replace(own[number], labels={})
            counts.append(Occurrences([table], keep_placeholders=keep_placeholders))
        else:
            counts.append(joint)
        # The samples of a header (OBITools) do not count where there is a table.
        inputs.append(source if counts[-1] is None else replace(source, by_sample=False))
    return inputs, counts


def counts_summary(counts: Sequence[Occurrences | None], *, whole: bool) -> dict[str, int]:
    """Return the sums of ``Occurrences.summary`` over the tables of a run; empty where there are none."""
    used = [one for one in dict.fromkeys(counts) if one is not None]
    parts = [one.summary(whole=whole) for one in used]
    return {key: sum(part[key] for part in parts) for key in parts[0]} if parts else {}


def counts_notes(counts: Sequence[Occurrences | None], *, whole: bool) -> list[str]:
    """Return what a person should know of the tables of a run.

    Args:
        counts: The count tables of each input.
        whole: Whether the input was read to its end, so that it is known what has no sequence.
    """
    notes: list[str] = []
    for one in dict.fromkeys(counts):
        if one is not None:
            notes += one.notes
            if one.without_reads:
                records = "1 record has" if one.without_reads == 1 else f"{one.without_reads:,} records have"
                notes.append(f"{one.name}: {records} no reads in any sample; rejected.tsv lists them")
            notes += one.unmatched() if whole else []
    return notes


def _read(table: Input) -> CountTable:
    with table.stdin() as stdin:
        return read_count_table(table.path if stdin is None else "-", stdin=stdin)


def _write_records(table: CountTable, path: Path) -> None:
    if table.sequences is None:
        raise InputError(
            f"{table.path}: holds counts but no sequences; name the file of sequences as input and this one as its "
            "count table"
        )
    columns = {
        "id": pa.array(list(table.places), pa.string()),
        "sequence": pa.array(list(table.sequences), pa.string()),
        **{name: pa.array(list(cells), pa.string()) for name, cells in table.labels.items()},
    }
    pq.write_table(pa.table(columns), path)


def _shown(source: Input) -> str:
    return "standard input" if source.given == "-" else source.given
