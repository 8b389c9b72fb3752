"""Read the result files of ``classify`` and ``discover`` as columns for tables and figures."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from ednabed.errors import StoreError
from ednabed.export.discovery import CANDIDATE_COLUMNS, MEMBER_COLUMNS
from ednabed.export.sample_table import COLUMNS
from ednabed.sequences.lineage import RANKS
from ednabed.store.assignment import ASSIGNMENT_COLUMNS, current_status

UNNAMED = "(no name at this rank)"


def read_assignments(path: Path) -> pa.Table:
    """Read the JSON lines written by ``classify``: one row per query, in the same order.

    Files of earlier versions are read as ``Assignment.from_dict`` reads them.

    Returns:
        The columns of assignments, with ``ranks`` split: ``<rank>_given``, ``<rank>_best`` and
        ``<rank>_confidence``.

    Raises:
        StoreError: The file is missing or damaged.
    """
    try:
        if not path.stat().st_size:
            table = ASSIGNMENT_COLUMNS.empty_table()
        else:
            table = pyarrow.json.read_json(
                path,
                # A line with many tied species is long.
                read_options=pyarrow.json.ReadOptions(block_size=64 << 20),
                parse_options=pyarrow.json.ParseOptions(
                    explicit_schema=ASSIGNMENT_COLUMNS, unexpected_field_behavior="error"
                ),
            )
            # Finds invalid UTF-8, and lines with other content.
            table.validate(full=True)
            if not table.num_rows or table.column("id").null_count or table.column("status").null_count:
                raise pa.ArrowInvalid("a line is not an assignment")
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path} cannot be read as assignments ({error}); compute the results again") from error
    columns = {name: table.column(name) for name in table.schema.names if name != "ranks"}
    statuses = [current_status(one) for one in table.column("status").to_pylist()]
    columns["status"] = pa.chunked_array([pa.array(statuses, pa.string())])
    # Earlier versions wrote the value of the species if no rank was claimed to be absent.
    claimed = pc.is_valid(columns["novel_rank"])
    columns["novel_p"] = pc.if_else(claimed, columns["novel_p"], pa.scalar(None, pa.float64()))
    ranks = table.column("ranks").combine_chunks()
    for rank in RANKS:
        one = ranks.field(rank)
        columns |= {f"{rank}_{part}": one.field(part) for part in ("given", "best", "confidence")}
    return pa.table(columns)


@dataclass(frozen=True, eq=False)
class SampleReads:
    """A sample-by-taxon table.

    Attributes:
        samples: Names of the samples.
        names: The seven names of each row; empty if none is given.
        reads: int64, shape (rows, samples).
    """

    samples: list[str]
    names: list[tuple[str, ...]]
    reads: npt.NDArray[np.int64]

    def by_rank(self, rank: str) -> tuple[list[str], npt.NDArray[np.int64]]:
        """Sum the reads of each taxon at a rank.

        Returns:
            Taxa in descending order of reads, with ``UNNAMED`` last if some reads have no name at this rank, and sums,
            int64, shape (taxa, samples). Taxa of the same name in different parents are distinguished by the nearest
            parent that has a name; if that is not enough, by all parents.
        """
        level = RANKS.index(rank)
        keys = [name[: level + 1] if name[level] else () for name in self.names]
        distinct = sorted(set(keys) - {()})
        number = {key: i for i, key in enumerate(distinct)} | {(): len(distinct)}
        sums = np.zeros((len(distinct) + 1, len(self.samples)), np.int64)
        np.add.at(sums, [number[key] for key in keys], self.reads)
        order = np.argsort(-sums[:-1].sum(axis=1), kind="stable").tolist()
        labels = _labels(distinct)
        labels = [labels[i] for i in order]
        kept = [*order, *([len(distinct)] if sums[-1].any() else [])]
        return [*labels, *([UNNAMED] if sums[-1].any() else [])], sums[kept]


def _labels(taxa: list[tuple[str, ...]]) -> list[str]:
    """Return the label of each taxon, which is given by the names from the kingdom to the taxon."""
    short = [(*[name for name in taxon[:-1] if name][-1:], taxon[-1]) for taxon in taxa]
    of_name, of_short = Counter(taxon[-1] for taxon in taxa), Counter(short)
    labels = []
    for taxon, short_form in zip(taxa, short, strict=True):
        parent = short_form[0] if of_short[short_form] == 1 else ";".join(taxon[:-1])
        ambiguous = of_name[taxon[-1]] > 1 and any(taxon[:-1])
        labels.append(f"{taxon[-1]} ({parent})" if ambiguous else taxon[-1])
    return labels


def read_sample_table(path: Path) -> SampleReads:
    """Read the table written by ``classify --taxon-table``.

    Raises:
        StoreError: The file is missing or damaged.
    """
    header, rows = _read_tsv(path, list(COLUMNS), quotes=True)
    samples = header[len(COLUMNS) :]
    first = COLUMNS.index(RANKS[0])
    try:
        reads = np.array([[int(cell) for cell in row[len(COLUMNS) :]] for row in rows], np.int64)
    except (ValueError, OverflowError) as error:
        raise StoreError(f"{path}: a number of reads cannot be read ({error}); compute the results again") from error
    return SampleReads(
        samples,
        [tuple(row[first : first + len(RANKS)]) for row in rows],
        reads.reshape(len(rows), len(samples)),
    )


def read_candidates(folder: Path) -> list[dict[str, str]]:
    """Read ``candidates.tsv`` of a discovery: one dict per candidate taxon, with the keys ``CANDIDATE_COLUMNS``.

    Raises:
        StoreError: The file is missing or damaged.
    """
    return _dicts(folder / "candidates.tsv", list(CANDIDATE_COLUMNS))


def read_members(folder: Path) -> list[dict[str, str]]:
    """Read ``members.tsv`` of a discovery: one dict per record, with the keys ``MEMBER_COLUMNS``.

    Raises:
        StoreError: The file is missing or damaged.
    """
    return _dicts(folder / "members.tsv", list(MEMBER_COLUMNS))


def read_representatives(folder: Path) -> dict[str, str]:
    """Return the sequence of the representative of each candidate taxon, by the candidate's id.

    Raises:
        StoreError: ``candidates.fasta`` is missing or damaged.
    """
    try:
        lines = (folder / "candidates.fasta").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise StoreError(
            f"{folder / 'candidates.fasta'} cannot be read ({error}); compute the results again"
        ) from error
    return {head[1:].partition(";")[0]: bases for head, bases in zip(lines[::2], lines[1::2], strict=False)}


def _dicts(path: Path, columns: list[str]) -> list[dict[str, str]]:
    _, rows = _read_tsv(path, columns)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _read_tsv(path: Path, columns: list[str], *, quotes: bool = False) -> tuple[list[str], list[list[str]]]:
    """Return the header, which begins with ``columns``, and the rows of a TSV file; ``quotes``: cells may be quoted."""
    try:
        text = path.read_bytes().decode("utf-8").removesuffix("\n")
        lines = (
            list(csv.reader(text.split("\n"), delimiter="\t", strict=True))
            if quotes
            else [line.split("\t") for line in text.split("\n")]
        )
    except (OSError, UnicodeError, csv.Error) as error:
        raise StoreError(f"{path} cannot be read ({error}); compute the results again") from error
    header, rows = lines[0], lines[1:]
    if header[: len(columns)] != columns or any(len(row) != len(header) for row in rows):
        raise StoreError(f"{path} is not the table that was written; compute the results again")
    return header, rows
