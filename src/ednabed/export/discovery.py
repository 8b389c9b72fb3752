"""Write groups of sequences that are not in the reference: two tables, a FASTA file of representatives and a web page.

- ``candidates.tsv``: a header and one line per group, columns ``CANDIDATE_COLUMNS``.
- ``members.tsv``: a header and one line per record, columns ``MEMBER_COLUMNS``.
- ``candidates.fasta``: the representatives, with headers ``novel_1;size=12`` (``size``: reads), as VSEARCH reads them.
- ``report.html``: see ``discovery_page``.

Tables are UTF-8 with a tab between cells and no quoting; unknown values are empty. Names are written as given, except
that tabs, line ends and other control characters become blanks; a name that begins with ``=`` is not changed for
spreadsheets.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ednabed.base.atomic import in_progress
from ednabed.base.files import check_parents, fsync_file
from ednabed.base.text import tsv_line
from ednabed.errors import UsageError
from ednabed.export.discovery_page import PAGE_BEGINNING, Neighbour, page
from ednabed.sequences import digest, format_lineage
from ednabed.taxonomy.candidate_taxon import CandidateTaxon, Parent

FILES = ("candidates.tsv", "candidates.fasta", "members.tsv", "report.html")
"""The files that are written, in this order."""
# The first bytes of each file, the same in all versions; they identify a file as written by ednabed.
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
    "reads": "sum of the abundances of the records (a record of unknown abundance counts as 1)",
    "samples": "samples in which the group was found; empty if no sample is known",
    "sample_reads": "reads per sample, as A=12;B=3 (; and = in names become _)",
    "representative": "first record of the most abundant sequence",
    "length": "number of bases of the representative",
    "candidate": "yes if the genus or a broader taxon is not in the reference and a taxon above it is named, else no",
    "novel_rank": "rank of the taxon that is not in the reference, according to most sequences and the representative",
    "lineage": "names above that rank that more than half of the group's sequences have",
    "parent": "the deepest of these names",
    "parent_rank": "its rank",
    "parent_genera": "named genera of this taxon in the reference",
    "parent_species": "named species of this taxon in the reference",
    "parent_sequences": "distinct labelled sequences of this taxon in the reference",
    "nearest_id": "first record of the named sequence nearest to the representative",
    "nearest_lineage": "its lineage",
    "identity": "identity of the two sequences, in percent",
    "coverage": "share of the representative inside their alignment, in percent",
    "similarity": "cosine of their vectors",
    "mean_difference": "mean of 100 - identity to the representative over the other sequences, in percent",
    "largest_difference": "the largest of these differences",
    "mean_distance": "mean of 1 - cosine to the representative over the other sequences",
    "largest_distance": "the largest of these distances",
    "p": "p-value of the hypothesis that the representative's taxon of novel_rank is in the reference",
    "q": "the same as a false discovery rate over all distinct sequences (Benjamini and Hochberg)",
    "species_p": "p-value of the hypothesis that the representative's species is in the reference",
    "species_q": "the same as a false discovery rate",
    "warnings": "warnings about the group, joined by '; '",
}
"""Columns of ``candidates.tsv`` and their meaning."""
MEMBER_COLUMNS = {
    "id": "id of the record, as in its file",
    "candidate": "id of its group",
    "representative": "yes if its sequence is the representative, else no",
    "identity": "identity with the representative, in percent",
    "distance": "1 - cosine of the two vectors",
    "sequence_reads": "reads of its sequence over all records that have it",
    "digest": "digest of its sequence",
    "warnings": "warnings about the record, joined by '; '",
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

    A new folder appears only when it is complete. In an existing folder, only files with these names are replaced, each
    atomically and only when all four are finished; all other files stay.

    Args:
        folder: Output folder.
        candidates: The groups, in output order; may be empty.
        neighbours: Sequences of the reference to show on the map.
        summary: Lines at the top of the page as name and text, such as the reference and the number of sequences
            tested; None for no lines.
        seed: Random seed of the map.

    Raises:
        UsageError: The folder is a file, or it contains files with these names that ednabed did not write.
    """
    check_folder(folder)
    is_new = not folder.exists()
    parent = folder.parent if is_new else folder
    with in_progress(parent / "discovery") as work:
        work.mkdir()
        texts = (_candidates(candidates), _fasta(candidates), _members(candidates),
                 page(candidates, neighbours, summary or {}, seed))  # fmt: skip
        for name, text in zip(FILES, texts, strict=True):
            (work / name).write_text(text, encoding="utf-8", newline="\n")
            fsync_file(work / name)
        if is_new:
            work.rename(folder)
        else:
            # The table is replaced last: if another program has one of the files open, which prevents its replacement
            # (Windows), the table still shows the earlier results.
            for name in reversed(FILES):
                (work / name).replace(folder / name)


def check_folder(folder: Path) -> None:
    """Check that no file that ednabed did not write would be replaced in an output folder.

    Raises:
        UsageError: The folder or one of its parents is a file, or it contains a file of ``FILES`` that does not begin
            as ednabed's files do.
    """
    check_parents(folder / FILES[0])
    for name, beginning in _BEGINNINGS.items():
        path = folder / name
        if not os.path.lexists(path):
            continue
        found = b""
        if path.is_file():
            with path.open("rb") as file:
                found = file.read(len(beginning))
        # Without candidates there is no representative, so the FASTA file is empty.
        empty = name == "candidates.fasta" and path.is_file() and not found
        if found != beginning and not empty:
            raise UsageError(f"{path} was not written by 'ednabed discover' and would be lost; give another folder")


def _candidates(candidates: Sequence[CandidateTaxon]) -> str:
    return _table(CANDIDATE_COLUMNS, [_candidate(candidate) for candidate in candidates])


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
    return "".join(map(tsv_line, [list(columns), *rows]))


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _number(value: float | None, digits: int) -> str:
    # Adding 0 turns -0 into 0.
    return "" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"
