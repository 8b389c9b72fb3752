"""Groups of sequences that are not in the reference, as files: two tables, a FASTA file of representatives, and a page.

- ``candidates.tsv``: a header and a line per group, columns ``CANDIDATE_COLUMNS``.
- ``members.tsv``: a header and a line per record, columns ``MEMBER_COLUMNS``.
- ``candidates.fasta``: the representatives, headers ``novel_1;size=12`` (``size``: reads), as VSEARCH reads them.
- ``report.html``: see ``discovery_page``.

Tables are UTF-8, a tab between cells, nothing quoted; what is not known is empty. Names are written as given, except
that tabs, line ends and other control characters become blanks; a name that begins with ``=`` is not changed for
spreadsheets.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ednabed.errors import UsageError
from ednabed.export.discovery_page import PAGE_BEGINNING, Neighbour, page
from ednabed.sequences import digest, format_lineage
from ednabed.store.files import check_above, clean
from ednabed.store.temporary import in_progress
from ednabed.taxonomy.candidate_taxon import CandidateTaxon, Parent

FILES = ("candidates.tsv", "candidates.fasta", "members.tsv", "report.html")
"""What is written, in this order."""
# With what each begins, in all versions: by this a file is known as ours.
_BEGINNINGS = {
    "candidates.tsv": b"id\tsequences\trecords\t",
    "candidates.fasta": b">novel_1;",
    "members.tsv": b"id\tcandidate\t",
    "report.html": PAGE_BEGINNING.encode(),
}
CANDIDATE_COLUMNS = {
    "id": "id of the group; 1 has the most reads",
    "sequences": "distinct sequences",
    "records": "records with these sequences",
    "reads": "sum of the abundances of the records (1 each where none is known)",
    "samples": "samples in which it was found; empty where no sample is known",
    "sample_reads": "reads by sample, as A=12;B=3 (; and = in names become _)",
    "representative": "first record of the most abundant sequence",
    "length": "bases of the representative",
    "candidate": "yes where the genus, or more, is not in the reference and a name is above it, else no",
    "novel_rank": "rank of the taxon that is not in the reference, as most sequences and the representative have it",
    "lineage": "names above that rank that more than half of its sequences have",
    "parent": "the deepest of these names",
    "parent_rank": "its rank",
    "parent_genera": "named genera of this taxon in the reference",
    "parent_species": "named species of this taxon in the reference",
    "parent_sequences": "distinct labelled sequences of this taxon in the reference",
    "nearest_id": "first record of the named sequence nearest to the representative",
    "nearest_lineage": "its lineage",
    "identity": "identity of the two, in percent",
    "coverage": "share of the representative inside their alignment, in percent",
    "similarity": "cosine of their vectors",
    "mean_difference": "mean of 100 - identity to the representative over the other sequences, in percent",
    "largest_difference": "the largest of these",
    "mean_distance": "mean of 1 - cosine to the representative over the other sequences",
    "largest_distance": "the largest of these",
    "p": "p-value of the representative for its taxon of novel_rank being in the reference",
    "q": "the same as a false discovery rate over all distinct sequences (Benjamini and Hochberg)",
    "species_p": "p-value of the representative for its species being in the reference",
    "species_q": "the same as a false discovery rate",
    "warnings": "what is odd, joined by '; '",
}
"""Columns of ``candidates.tsv`` and their meaning."""
MEMBER_COLUMNS = {
    "id": "id of the record, as in its file",
    "candidate": "id of its group",
    "representative": "yes where its sequence is the representative, else no",
    "identity": "identity with the representative, in percent",
    "distance": "1 - cosine of the two vectors",
    "sequence_reads": "reads of its sequence, in all records that have it",
    "digest": "digest of its sequence",
    "warnings": "what is odd about it, joined by '; '",
}
"""Columns of ``members.tsv`` and their meaning."""


def write_discovery(
    folder: Path,
    candidates: Sequence[CandidateTaxon],
    *,
    neighbours: Sequence[Neighbour] = (),
    summary: Mapping[str, str] | None = None,
    seed: int = 0,
) -> None:
    """Write groups of sequences that are not in the reference into a folder.

    A folder that is not there appears whole. In one that is there, only files of these names are replaced, each at once
    and only when all four are finished; all else in it stays.

    Args:
        folder: Where to.
        candidates: The groups, in the order to write; may be empty.
        neighbours: Sequences of the reference to show on the map.
        summary: Lines at the head of the page, a name and a text each, such as the reference and the number of
            sequences tested; None for none.
        seed: Of the map.

    Raises:
        UsageError: The folder's name is that of a file, or files of these names in it are not ours.
    """
    check_folder(folder)
    whole = not folder.exists()
    place = folder.parent if whole else folder
    with in_progress(place / "discovery") as work:
        work.mkdir()
        texts = (_candidates(candidates), _fasta(candidates), _members(candidates),
                 page(candidates, neighbours, summary or {}, seed))  # fmt: skip
        for name, text in zip(FILES, texts, strict=True):
            with (work / name).open("w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        if whole:
            work.rename(folder)
        else:
            # The table last: where another program holds another file open and so forbids this (Windows), the table
            # still has what was found before.
            for name in reversed(FILES):
                (work / name).replace(folder / name)


def check_folder(folder: Path) -> None:
    """Make sure that nothing of somebody else is replaced in a folder for results.

    Raises:
        UsageError: The folder, or one above it, is a file, or it holds a file of ``FILES`` that does not begin as ours
            do.
    """
    check_above(folder / FILES[0])
    for name, beginning in _BEGINNINGS.items():
        path = folder / name
        if not os.path.lexists(path):
            continue
        begins = b""
        if path.is_file():
            with path.open("rb") as file:
                begins = file.read(len(beginning))
        # Without candidates there is no representative.
        empty = name == "candidates.fasta" and path.is_file() and not begins
        if begins != beginning and not empty:
            raise UsageError(f"{path} was not written by 'ednabed discover' and would be lost; give another folder")


def _candidates(candidates: Sequence[CandidateTaxon]) -> str:
    return _table(CANDIDATE_COLUMNS, [_candidate(one) for one in candidates])


def _candidate(one: CandidateTaxon) -> list[str]:
    first, found = one.representative, one.representative.assignment
    samples = one.samples
    return [
        one.id,
        *map(str, (one.sequences, len(one.ids), one.reads)),
        str(len(samples)) if samples else "",
        ";".join(f"{name.replace(';', '_').replace('=', '_')}={reads}" for name, reads in samples.items()),
        first.ids[0],
        str(len(first.sequence)),
        "yes" if one.candidate else "no",
        one.claim.rank,
        format_lineage(one.lineage),
        *_parent(one.parent),
        found.nearest_id or "",
        format_lineage(found.nearest_lineage) if found.nearest_id is not None else "",
        _number(found.identity, 3),
        _number(found.coverage, 3),
        _number(found.similarity, 6),
        _number(one.mean_difference, 3),
        _number(one.largest_difference, 3),
        _number(one.mean_distance, 6),
        _number(one.largest_distance, 6),
        *map(_rate, (one.claim.p, one.claim.q, found.species_p, found.species_q)),
        "; ".join(one.warnings),
    ]


def _parent(parent: Parent | None) -> list[str]:
    if parent is None:
        return [""] * 5
    return [parent.name, parent.rank, *map(str, (parent.genera, parent.species, parent.sequences))]


def _members(candidates: Sequence[CandidateTaxon]) -> str:
    rows = []
    for one in candidates:
        for number, member in enumerate(one.members):
            cells = [
                one.id,
                "no" if number else "yes",
                _number(member.identity, 3),
                _number(member.distance, 6),
                str(member.novel.reads),
                digest(member.novel.sequence.encode()),
                "; ".join(member.novel.warnings),
            ]
            rows += [[id, *cells] for id in member.novel.ids]
    return _table(MEMBER_COLUMNS, rows)


def _fasta(candidates: Sequence[CandidateTaxon]) -> str:
    return "".join(f">{one.id};size={one.reads}\n{one.representative.sequence}\n" for one in candidates)


def _table(columns: Mapping[str, str], rows: Sequence[Sequence[str]]) -> str:
    return "".join("\t".join(map(clean, row)) + "\n" for row in [list(columns), *rows])


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _number(value: float | None, digits: int) -> str:
    # Adding 0 makes 0 of -0.
    return "" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"
