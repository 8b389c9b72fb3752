"""Write assignments as TSV, QIIME 2 taxonomy, SINTAX table or JSON lines, one query at a time, to a stream or a file.

- ``tsv``: ``TSV_COLUMNS`` as the header and one line per query. Rank columns hold the assigned names;
  ``<rank>_guess`` is the best guess at that rank, whether or not it was assigned, and ``<rank>_confidence`` is the
  confidence of that guess. Unknown values are empty.
- ``qiime2``: the table that ``qiime tools import --input-format TSVTaxonomyFormat`` reads. ``Taxon`` goes down to the
  deepest assigned rank; an intermediate rank without a name is a bare prefix (``f__``), and ``Unassigned`` is written
  if no name is assigned. ``Confidence`` is the confidence of the deepest rank. For ``Unassigned`` it is 1 minus the
  confidence of the best guess at the first rank that has one, as in ``qiime feature-classifier classify-sklearn``. It
  is empty if nothing is calibrated. Cells that contain a quote are quoted in the style of pandas, which QIIME 2 uses
  for reading.
- ``sintax``: the table that ``vsearch --sintax --sintax_cutoff … --tabbedout`` writes: query, best guesses with
  confidences, strand, assigned names. No header; a query without any guess has three empty cells. The first rank is
  written ``d:``.
- ``jsonl``: one object per line with all known values (``Assignment.to_dict``).

In all formats except ``jsonl``, tabs, line ends and other control characters become blanks, and separators inside
names are replaced: ``;`` by ``,`` (``tsv``, ``qiime2``), ``,`` and ``;`` by ``_`` (``sintax``), ``|`` by ``_``
(``tied_species``).

Confidences are truncated, not rounded, to four digits (two in ``sintax``), so that a value below the cutoff never
appears to reach it and only certainty appears as 1. Identity and coverage (percent) have two digits, similarity six,
and p-values and false discovery rates three significant digits. ``jsonl`` does not round.

``jsonl`` objects that were written before false discovery rates were introduced can still be read
(``Assignment.from_dict``).

A file is written under a temporary name and takes its final name when complete; until then an existing file is not
changed.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from typing import TextIO

from ednabed.base.stored_json import parse_json
from ednabed.base.text import clean
from ednabed.errors import StoreError, UsageError
from ednabed.search.text_writer import TextWriter
from ednabed.sequences.lineage import RANKS, Lineage
from ednabed.store.assignment import Assignment, lineage_text

FORMATS = ("tsv", "qiime2", "sintax", "jsonl")
SUMMARY_COLUMNS = ("id", "status", "rank", "name", "confidence", "identity", "not in reference")
Cell = Callable[[Assignment], str]
"""Returns the text of a column for an assignment."""
_QIIME2_HEAD = "Feature ID\tTaxon\tConfidence\n"
_QIIME2_PREFIXES = ("k__", "p__", "c__", "o__", "f__", "g__", "s__")
_SINTAX_PREFIXES = ("d:", "p:", "c:", "o:", "f:", "g:", "s:")
_SINTAX_MARKS = str.maketrans(",;", "__")


def assignment_format(path: Path | None, requested: str | None) -> str:
    """Return the format to write: the requested one, else ``jsonl`` for a file with that extension, else ``tsv``.

    Raises:
        UsageError: The requested format does not exist.
    """
    if requested is None:
        return "jsonl" if path is not None and path.suffix.lower() == ".jsonl" else "tsv"
    if requested not in FORMATS:
        raise UsageError(f"there is no format {requested!r} for assignments; choose one of {', '.join(FORMATS)}")
    return requested


class AssignmentWriter(TextWriter):
    """Write assignments one query per call, in the order of the calls; used as a context manager.

    If an exception is raised inside the context, no file is created and an existing one is not changed.

    Args:
        target: A file, or a text stream, which is not closed. A pipe or a device is written to directly.
        format: One of ``FORMATS``.

    Raises:
        UsageError: The format is unknown; or, on entering the context, the target is a folder.
    """

    def __init__(self, target: Path | TextIO, format: str) -> None:
        assignment_format(None, format)
        super().__init__(target, "taxa.tsv")
        texts: dict[str, tuple[str, Callable[[Assignment], str]]] = {
            "tsv": ("\t".join(TSV_COLUMNS) + "\n", _tsv),
            "qiime2": (_QIIME2_HEAD, _qiime2),
            "sintax": ("", _sintax),
            "jsonl": ("", _jsonl),
        }
        self._head, self._text = texts[format]

    def write(self, assignment: Assignment) -> None:
        """Write one query.

        Raises:
            StoreError: The assignment contains a number that is not finite.
        """
        if not all(math.isfinite(number) for number in assignment.numbers()):
            raise StoreError(
                f"query {clean(assignment.id)}: its assignment contains a number that is not finite; "
                "run 'ednabed reference verify' to check whether the reference is damaged"
            )
        # Written in one call, so that a stream never ends in the middle of a query.
        self._stream.write(self._head + self._text(assignment))
        self._head = ""

    def _finish(self) -> None:
        self._stream.write(self._head)


def summary(assignment: Assignment) -> tuple[str, ...]:
    """Return the cells of one query for a table for people, in the order of ``SUMMARY_COLUMNS``.

    ``name`` is the deepest assigned name, followed in brackets by the guess at the next rank that has one, with its
    confidence: ``Salmo [Salmo trutta 0.71]``; only the brackets if no name is assigned. ``not in reference`` is
    ``genus (q 0.012)`` if the genus of the query was found to be absent from the reference. Unknown values are empty;
    no cell contains a control character.
    """
    a = assignment
    absent = a.novel_rank or ""
    if absent and a.novel_q is not None:
        absent += f" (q {_significant(a.novel_q)})"
    assigned = [name for name in a.lineage if name][-1:]
    cells = (
        *(a.id, a.status, a.rank or "", " ".join([*assigned, *_next_guess(a)])),
        *(truncated(a.confidence, 2), _rounded(a.identity, 1), absent),
    )
    return tuple(map(clean, cells))


def _next_guess(assignment: Assignment) -> list[str]:
    """Return the first guess below the assigned names with its confidence, in brackets, if there is one."""
    first = 0 if assignment.rank is None else RANKS.index(assignment.rank) + 1
    for name, confidence in zip(assignment.names[first:], assignment.confidences[first:], strict=True):
        if name:
            text = truncated(confidence, 2)
            return [f"[{name}{' ' if text else ''}{text}]"]
    return []


def converted(path: Path, format: str) -> str:
    """Return the assignments of a JSON lines file as text in another of ``FORMATS``.

    Raises:
        StoreError: A line is not an assignment as ``jsonl`` writes it.
    """
    text = io.StringIO(newline="")
    with AssignmentWriter(text, format) as writer, path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                writer.write(Assignment.from_dict(parse_json(line)))
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise StoreError(
                    f"{path}, line {number}: is not an assignment ({error}); compute the results again"
                ) from error
    return text.getvalue()


def _jsonl(assignment: Assignment) -> str:
    return json.dumps(assignment.to_dict(), allow_nan=False) + "\n"


def _tsv(assignment: Assignment) -> str:
    return "\t".join(clean(cell(assignment)) for cell in _TSV_CELLS.values()) + "\n"


def _qiime2(assignment: Assignment) -> str:
    a = assignment
    confidence_text = truncated(a.confidence, 4)
    if a.rank is None:
        confidence_text = ""
        first = next((c for name, c in zip(a.names, a.confidences, strict=True) if name), None)
        if first is not None:
            confidence_text = _digits(1 - Decimal(repr(float(first))), 4)
    return "\t".join((quoted_cell(clean(a.id)), qiime2_taxon(a.lineage), confidence_text)) + "\n"


def qiime2_taxon(lineage: Lineage) -> str:
    """Return a lineage in the notation of QIIME 2, down to the deepest name; ``Unassigned`` if there is none.

    A cell that contains a quote is quoted, because QIIME 2 reads with pandas, for which a quote begins a quoted cell.
    """
    depth = max((number for number, name in enumerate(lineage, 1) if name), default=0)
    pairs = zip(_QIIME2_PREFIXES[:depth], lineage[:depth], strict=True)
    return quoted_cell(clean("; ".join(prefix + _field(name) for prefix, name in pairs) or "Unassigned"))


def _sintax(assignment: Assignment) -> str:
    a = assignment
    # A name without brackets at its end has no confidence: nothing is calibrated, and no value is invented.
    guesses = [
        prefix + name.translate(_SINTAX_MARKS) + ("" if confidence is None else f"({truncated(confidence, 2)})")
        for prefix, name, confidence in zip(_SINTAX_PREFIXES, a.names, a.confidences, strict=True)
        if name
    ]
    assigned = [p + name.translate(_SINTAX_MARKS) for p, name in zip(_SINTAX_PREFIXES, a.lineage, strict=True) if name]
    cells = (a.id, ",".join(guesses), a.strand if guesses else "", ",".join(assigned))
    return "\t".join(map(clean, cells)) + "\n"


def _field(name: str) -> str:
    return name.replace(";", ",")


def quoted_cell(cell: str) -> str:
    """Return a cell as pandas and R read it: if it contains a quote, quote it and double the quote."""
    return '"' + cell.replace('"', '""') + '"' if '"' in cell else cell


def truncated(value: float | None, digits: int) -> str:
    """Return a confidence truncated to a number of digits, so that it never appears higher; empty if unknown."""
    return "" if value is None else _digits(Decimal(repr(float(value))), digits)


def _digits(value: Decimal, digits: int) -> str:
    """Truncate towards 0."""
    return format(value.quantize(Decimal(1).scaleb(-digits), ROUND_DOWN), "f")


def _rounded(value: float | None, digits: int) -> str:
    # Adding 0 turns -0 into 0.
    return "" if value is None else f"{round(float(value), digits) + 0.0:.{digits}f}"


def _significant(p: float | None) -> str:
    return "" if p is None else f"{float(p):.3g}"


def _tied_species(a: Assignment) -> str:
    return "|".join(dict.fromkeys(lineage[-1].replace("|", "_") for lineage in a.tied if lineage[-1]))


def _of_rank(r: int) -> tuple[Cell, Cell, Cell]:
    """Return the cells of a rank, given by its number: the name, the best guess and its confidence."""
    return lambda a: _field(a.lineage[r]), lambda a: _field(a.names[r]), lambda a: truncated(a.confidences[r], 4)


_TSV_CELLS: dict[str, Cell] = {
    "id": lambda a: a.id,
    "status": lambda a: a.status,
    "rank": lambda a: a.rank or "",
    "lineage": lambda a: lineage_text(a.lineage),
    "confidence": lambda a: truncated(a.confidence, 4),
    **{
        name: cell
        for r, rank in enumerate(RANKS)
        for name, cell in zip((rank, f"{rank}_guess", f"{rank}_confidence"), _of_rank(r), strict=True)
    },
    "withheld": lambda a: a.withheld or "",
    "nearest_id": lambda a: a.nearest_id or "",
    "nearest_lineage": lambda a: lineage_text(a.nearest_lineage),
    "nearest_taxon_id": lambda a: a.nearest_taxon_id or "",
    "identity": lambda a: _rounded(a.identity, 2),
    "coverage": lambda a: _rounded(a.coverage, 2),
    "similarity": lambda a: _rounded(a.similarity, 6),
    "novel_rank": lambda a: a.novel_rank or "",
    "novel_p": lambda a: _significant(a.novel_p),
    "novel_q": lambda a: _significant(a.novel_q),
    "species_p": lambda a: _significant(a.species_p),
    "species_q": lambda a: _significant(a.species_q),
    "tied_species": _tied_species,
    "strand": lambda a: a.strand,
    "marker": lambda a: a.marker or "",
    "note": lambda a: a.note,
}
TSV_COLUMNS = tuple(_TSV_CELLS)
