"""Assignments as TSV, QIIME 2's taxonomy, SINTAX's table or JSON lines: a query at a time, to a stream or to a file.

- ``tsv``: ``TSV_COLUMNS`` as header and one line per query. Rank columns hold the names given; ``<rank>_guess`` is the
  best guess at that rank, given or not, and ``<rank>_confidence`` its confidence. What is not known is empty.
- ``qiime2``: what ``qiime tools import --input-format TSVTaxonomyFormat`` reads. ``Taxon`` goes down to the deepest
  rank given, a rank without name on the way is a bare prefix (``f__``), ``Unassigned`` stands where no name is given.
  ``Confidence`` is that of the deepest rank; of ``Unassigned`` 1 minus that of the best guess at the first rank that
  has one, as in ``qiime feature-classifier classify-sklearn``; empty where nothing is calibrated. Cells with a quote
  are quoted as pandas, which QIIME 2 reads with, does.
- ``sintax``: what ``vsearch --sintax --sintax_cutoff … --tabbedout`` writes: query, best guesses with confidences,
  strand, names given. No header; a query without any guess has three empty cells. The first rank is written ``d:``.
- ``jsonl``: an object a line with all that is known (``as_json``).

In all but ``jsonl``, tabs, line ends and other control characters become blanks, and in names whatever separates names
is replaced: ``;`` by ``,`` (``tsv``, ``qiime2``), ``,`` and ``;`` by ``_`` (``sintax``), ``|`` by ``_``
(``tied_species``).

Confidences are cut, not rounded, to four digits (two in ``sintax``): what is below the cutoff never reads as reaching
it, and only certainty reads as 1. Identity and coverage (percent) have two digits, similarity six, p-values and false
discovery rates three significant ones. ``jsonl`` rounds nothing.

Objects of ``jsonl`` that were written before there were false discovery rates are still read (``from_json``).

A file is written under another name and takes its place when all is done; until then an older one stays as it was.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from typing import Any, TextIO, cast

from ednabed.base.stored_json import parse_json, typed
from ednabed.errors import StoreError, UsageError
from ednabed.search.text_writer import TextWriter
from ednabed.sequences.lineage import RANKS, Lineage, format_lineage
from ednabed.store.assignments import current_status
from ednabed.store.files import clean
from ednabed.taxonomy.assignment import UNKNOWN, Assignment, Status

FORMATS = ("tsv", "qiime2", "sintax", "jsonl")
TSV_COLUMNS = (
    *("id", "status", "rank", "lineage", "confidence"),
    *(name for rank in RANKS for name in (rank, f"{rank}_guess", f"{rank}_confidence")),
    *("withheld", "nearest_id", "nearest_lineage", "nearest_taxon_id", "identity", "coverage", "similarity"),
    *("novel_rank", "novel_p", "novel_q", "species_p", "species_q"),
    *("tied_species", "strand", "marker", "note"),
)
SUMMARY_COLUMNS = ("id", "status", "rank", "name", "confidence", "identity", "not in reference")
_QIIME2_HEAD = "Feature ID\tTaxon\tConfidence\n"
_QIIME2_PREFIXES = ("k__", "p__", "c__", "o__", "f__", "g__", "s__")
_SINTAX_PREFIXES = ("d:", "p:", "c:", "o:", "f:", "g:", "s:")
_SINTAX_MARKS = str.maketrans(",;", "__")


def format_of(path: Path | None, asked: str | None) -> str:
    """Return the format to write: the one asked for, else ``jsonl`` for a file of that ending, else ``tsv``.

    Raises:
        UsageError: There is no such format.
    """
    if asked is None:
        return "jsonl" if path is not None and path.suffix.lower() == ".jsonl" else "tsv"
    if asked not in FORMATS:
        raise UsageError(f"there is no format {asked!r} of assignments; take one of {', '.join(FORMATS)}")
    return asked


class AssignmentWriter(TextWriter):
    """Writes assignments as they come, one call a query, in the order of the calls; used as a context.

    An exception inside the context leaves no file and an older one as it was.

    Args:
        target: A file, or a stream of text, which is not closed. A file that is a pipe or a device is written directly.
        format: One of ``FORMATS``.

    Raises:
        UsageError: There is no such format; or, when the context begins, the target is a folder.
    """

    def __init__(self, target: Path | TextIO, format: str) -> None:
        format_of(None, format)
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
            StoreError: A number of the assignment is not finite.
        """
        if not all(math.isfinite(number) for number in _numbers(assignment)):
            raise StoreError(
                f"query {clean(assignment.id)}: a number of its assignment is not finite; "
                "see with 'ednabed reference verify' whether the reference is damaged"
            )
        # In one piece, so that a stream never ends inside a query.
        self._stream.write(self._head + self._text(assignment))
        self._head = ""

    def _finish(self) -> None:
        self._stream.write(self._head)


def summary(assignment: Assignment) -> tuple[str, ...]:
    """Return the cells of one query for a readable table, in the order of ``SUMMARY_COLUMNS``.

    ``name`` is the deepest name given, followed by the guess at the next rank that has one in brackets with its
    confidence: ``Salmo [Salmo trutta 0.71]``; the brackets alone where no name is given. ``not in reference`` is
    ``genus (q 0.012)`` where the genus of the query is found to be absent from the reference. Empty where nothing is
    known; no cell holds a control character.
    """
    a = assignment
    absent = a.novel_rank or ""
    if absent and a.novel_q is not None:
        absent += f" (q {_significant(a.novel_q)})"
    given = [name for name in a.lineage if name][-1:]
    cells = (
        *(a.id, a.status, a.rank or "", " ".join([*given, *_next_guess(a)])),
        *(cut(a.confidence, 2), _rounded(a.identity, 1), absent),
    )
    return tuple(map(clean, cells))


def _next_guess(assignment: Assignment) -> list[str]:
    """Return the guess next below the names given with its confidence, in brackets, where there is one."""
    first = 0 if assignment.rank is None else RANKS.index(assignment.rank) + 1
    for name, confidence in zip(assignment.names[first:], assignment.confidences[first:], strict=True):
        if name:
            sure = cut(confidence, 2)
            return [f"[{name}{' ' if sure else ''}{sure}]"]
    return []


def as_json(assignment: Assignment) -> dict[str, Any]:
    """Return all of an assignment as the object that ``jsonl`` writes, keys in this order.

    ``id``; ``status``; ``rank`` (null where none is given); ``lineage`` (names given, in one text, null where none);
    ``confidence``; ``ranks``, for each rank ``given`` and ``best`` (the name given and the best guess, null where there
    is none), ``confidence`` (of the best guess), ``absence`` (probability that its taxon of this rank is not in the
    reference), ``p`` (p-value of the hypothesis that it is) and ``q`` (the same as a false discovery rate);
    ``withheld``; ``nearest_id``; ``nearest_lineage``; ``nearest_taxon_id``; ``identity`` and ``coverage`` in percent;
    ``similarity``; ``novel_rank``; ``novel_p``; ``novel_q``; ``tied`` (list of lineages); ``strand``; ``marker``;
    ``note`` (empty where nothing).
    """
    a = assignment
    return {
        "id": a.id,
        "status": a.status,
        "rank": a.rank,
        "lineage": _lineage(a.lineage) or None,
        "confidence": _number(a.confidence),
        "ranks": {
            rank: {
                "given": a.lineage[r] or None,
                "best": a.names[r] or None,
                "confidence": _number(a.confidences[r]),
                "absence": _number(a.absences[r]),
                "p": _number(a.p_values[r]),
                "q": _number(a.q_values[r]),
            }
            for r, rank in enumerate(RANKS)
        },
        "withheld": a.withheld,
        "nearest_id": a.nearest_id,
        "nearest_lineage": _lineage(a.nearest_lineage) or None,
        "nearest_taxon_id": a.nearest_taxon_id,
        "identity": _number(a.identity),
        "coverage": _number(a.coverage),
        "similarity": _number(a.similarity),
        "novel_rank": a.novel_rank,
        "novel_p": _number(a.novel_p),
        "novel_q": _number(a.novel_q),
        "tied": [_lineage(lineage) for lineage in a.tied],
        "strand": a.strand,
        "marker": a.marker,
        "note": a.note,
    }


def from_json(value: Mapping[str, Any]) -> Assignment:
    """Return the assignment that ``as_json`` gave as an object.

    Objects written by earlier versions, which lack some keys, are read too: what they lack is None, the status
    ``novel`` is ``not_in_reference``, and ``novel_p`` is None where no absence was claimed (it was that of the species,
    which is in ``ranks`` as well).

    Raises:
        AttributeError, KeyError, TypeError, ValueError: It is no such object.
    """
    ranks = [value["ranks"][rank] for rank in RANKS]
    claimed = "novel_q" in value or value["novel_rank"] is not None
    return Assignment(
        id=value["id"],
        status=cast(Status, current_status(value["status"])),
        lineage=_lineage_of([rank["given"] or "" for rank in ranks]),
        names=_lineage_of([rank["best"] or "" for rank in ranks]),
        confidences=tuple(rank["confidence"] for rank in ranks),
        withheld=value.get("withheld"),
        tied=tuple(_of_text(text) for text in value["tied"]),
        nearest_id=value["nearest_id"],
        nearest_lineage=_of_text(value["nearest_lineage"]),
        nearest_taxon_id=value.get("nearest_taxon_id"),
        identity=value["identity"],
        coverage=value["coverage"],
        similarity=value["similarity"],
        strand=value["strand"],
        marker=value["marker"],
        novel_rank=value["novel_rank"],
        novel_p=value["novel_p"] if claimed else None,
        novel_q=value.get("novel_q"),
        p_values=tuple(rank["p"] for rank in ranks),
        q_values=tuple(rank.get("q") for rank in ranks),
        absences=tuple(rank.get("absence") for rank in ranks),
        note=value["note"],
    )


def written_as(path: Path, format: str) -> str:
    """Return what is written as JSON lines in a file in another of ``FORMATS``.

    Raises:
        StoreError: A line is not what was written.
    """
    text = io.StringIO(newline="")
    with AssignmentWriter(text, format) as writer, path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                writer.write(typed(Assignment, vars(from_json(parse_json(line)))))
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise StoreError(f"{path}, line {number}: is no assignment ({error}); run the work again") from error
    return text.getvalue()


def _of_text(text: str | None) -> Lineage:
    return _lineage_of(text.split(";")) if text else UNKNOWN


def _lineage_of(names: list[str]) -> Lineage:
    kingdom, phylum, class_, order, family, genus, species = names
    return kingdom, phylum, class_, order, family, genus, species


def _jsonl(assignment: Assignment) -> str:
    return json.dumps(as_json(assignment), allow_nan=False) + "\n"


def _tsv(assignment: Assignment) -> str:
    a = assignment
    tied = dict.fromkeys(lineage[-1].replace("|", "_") for lineage in a.tied if lineage[-1])
    cells = [a.id, a.status, a.rank or "", _lineage(a.lineage), cut(a.confidence, 4)]
    for name, guess, confidence in zip(a.lineage, a.names, a.confidences, strict=True):
        cells += [_field(name), _field(guess), cut(confidence, 4)]
    cells += [a.withheld or "", a.nearest_id or "", _lineage(a.nearest_lineage), a.nearest_taxon_id or ""]
    cells += [_rounded(a.identity, 2), _rounded(a.coverage, 2), _rounded(a.similarity, 6), a.novel_rank or ""]
    cells += map(_significant, (a.novel_p, a.novel_q, a.species_p, a.species_q))
    cells += ["|".join(tied), a.strand, a.marker or "", a.note]
    return "\t".join(map(clean, cells)) + "\n"


def _qiime2(assignment: Assignment) -> str:
    a = assignment
    sure = cut(a.confidence, 4)
    if a.rank is None:
        sure = ""
        first = next((c for name, c in zip(a.names, a.confidences, strict=True) if name), None)
        if first is not None:
            sure = _digits(1 - Decimal(repr(float(first))), 4)
    return "\t".join((quoted(clean(a.id)), qiime2_taxon(a.lineage), sure)) + "\n"


def qiime2_taxon(lineage: Lineage) -> str:
    """Return names as QIIME 2 has them, down to the deepest that is given; ``Unassigned`` where none is.

    A cell with a quote is quoted, because QIIME 2 reads by pandas, for which a quote begins a quoted cell.
    """
    depth = max((place for place, name in enumerate(lineage, 1) if name), default=0)
    pairs = zip(_QIIME2_PREFIXES[:depth], lineage[:depth], strict=True)
    return quoted(clean("; ".join(prefix + _field(name) for prefix, name in pairs) or "Unassigned"))


def _sintax(assignment: Assignment) -> str:
    a = assignment
    # A name without bracket at its end has no confidence: nothing is calibrated, and none is made up.
    guesses = [
        prefix + name.translate(_SINTAX_MARKS) + ("" if sure is None else f"({cut(sure, 2)})")
        for prefix, name, sure in zip(_SINTAX_PREFIXES, a.names, a.confidences, strict=True)
        if name
    ]
    given = [p + name.translate(_SINTAX_MARKS) for p, name in zip(_SINTAX_PREFIXES, a.lineage, strict=True) if name]
    cells = (a.id, ",".join(guesses), a.strand if guesses else "", ",".join(given))
    return "\t".join(map(clean, cells)) + "\n"


def _lineage(lineage: Lineage) -> str:
    """Return the seven names in one text; empty where none is known."""
    return format_lineage([_field(name) for name in lineage]) if any(lineage) else ""


def _field(name: str) -> str:
    return name.replace(";", ",")


def quoted(cell: str) -> str:
    """Return a cell as pandas and R read it: one with a quote is quoted, the quote doubled."""
    return '"' + cell.replace('"', '""') + '"' if '"' in cell else cell


def cut(value: float | None, digits: int) -> str:
    """Return a confidence cut to so many digits, so that it never reads as more than it is; empty where unknown."""
    return "" if value is None else _digits(Decimal(repr(float(value))), digits)


def _digits(value: Decimal, digits: int) -> str:
    """Cut towards 0."""
    return format(value.quantize(Decimal(1).scaleb(-digits), ROUND_DOWN), "f")


def _rounded(value: float | None, digits: int) -> str:
    # Adding 0 makes 0 of -0.
    return "" if value is None else f"{round(float(value), digits) + 0.0:.{digits}f}"


def _significant(p: float | None) -> str:
    return "" if p is None else f"{float(p):.3g}"


def _number(value: float | None) -> float | None:
    """Return a plain float, which JSON can hold."""
    return None if value is None else float(value)


def _numbers(assignment: Assignment) -> Iterator[float]:
    a = assignment
    by_rank = (*a.confidences, *a.absences, *a.p_values, *a.q_values)
    values = (*by_rank, a.identity, a.coverage, a.similarity, a.novel_p, a.novel_q)
    return (value for value in values if value is not None)
