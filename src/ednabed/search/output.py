"""Write search results as JSON, TSV, BLAST columns or a readable table: one query at a time, to a stream or a file.

- ``json``: for one query an object ``{"query": {…}, "results": [hits]}``; for many an array of such objects, one per
  line. Characters beyond ASCII are escaped, NaN is refused. The fields of an alignment are in the hit itself, null if
  nothing aligned.
- ``tsv``: a header and one line per hit. Nothing is quoted, so tabs and other control characters become spaces; unknown
  values are empty. A query without hits has no line.
- ``blast6``: the twelve columns of BLAST's ``-outfmt 6`` for the hits that aligned. No statistics are computed, so
  evalue is -1 and bitscore is 0, as vsearch writes them.
- ``table``: for reading on a terminal.

A file is written under a temporary name and renamed when it is complete; until then an older one is kept unchanged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from ednabed.base.text import aligned, clean
from ednabed.errors import StoreError, UsageError
from ednabed.search.align import Alignment
from ednabed.search.hit import RECORD_COLUMNS, TSV_ALIGNMENT_COLUMNS, TSV_COLUMNS, Hit
from ednabed.search.text_writer import TextWriter

FORMATS = ("json", "tsv", "blast6", "table")
_SUFFIXES = {
    ".json": "json",
    ".tsv": "tsv",
    ".txt": "tsv",
    ".b6": "blast6",
    ".blast6": "blast6",
    ".m8": "blast6",
}

# Columns of the readable table; the second group only with alignments.
_TABLE = (
    ("rank", "similarity"),
    ("identity", "query_coverage", "strand"),
    ("occurrences", *(name for name in RECORD_COLUMNS if name in TSV_COLUMNS)),
)
_HEADINGS = {"query_coverage": "coverage"}
_DIGITS = {"similarity": 6, "distance": 6, "identity": 3, "query_coverage": 3, "target_coverage": 3}
_TABLE_DIGITS = {"similarity": 4, "identity": 1, "query_coverage": 1}


def format_of(path: Path | None, asked: str | None) -> str:
    """Return the output format: the one requested, else by the file extension, else (without a file) a table.

    Raises:
        UsageError: The format or the file extension is unknown.
    """
    if asked is not None:
        _check_known(asked)
        return asked
    if path is None:
        return "table"
    try:
        return _SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise UsageError(
            f"{path}: the extension {path.suffix!r} is not that of a result format, expected one of "
            f"{', '.join(_SUFFIXES)}; rename the file, or give the format: {', '.join(FORMATS)}"
        ) from None


def check_format(format: str, aligned: bool) -> None:
    """Raise UsageError if the format is unknown, or if it needs alignments and there are none."""
    _check_known(format)
    if format == "blast6" and not aligned:
        raise UsageError(
            "the format blast6 consists of alignments, and this search computes none; request alignments, "
            "or choose json, tsv or table"
        )


def _check_known(format: str) -> None:
    if format not in FORMATS:
        raise UsageError(f"the result format {format!r} is unknown; choose one of {', '.join(FORMATS)}")


class HitWriter(TextWriter):
    """Writes the hits of queries as they arrive; used as a context manager.

    After an exception inside the context there is no new file, and an older one is unchanged.

    Args:
        target: A file, or a text stream, which is not closed. A file that is a pipe or a device is written directly.
        format: One of ``FORMATS``.
        single: There is exactly one query (``json`` is then one object and no array, ``table`` has no heading).
        aligned: The alignments of hits are written.

    Raises:
        UsageError: See ``check_format``; or the target is a folder.
    """

    def __init__(self, target: Path | TextIO, format: str, *, single: bool, aligned: bool) -> None:
        check_format(format, aligned)
        super().__init__(target, "hits.json")
        self._format = format
        self._single = single
        self._aligned = aligned
        self._queries = 0

    def write(self, query: Mapping[str, Any], hits: Sequence[Hit]) -> None:
        """Write one query and its hits, best first.

        Args:
            query: ``id`` (None if it has none) and any other information; ``run`` and ``seq_idx`` identify it if it has
                no id, ``status`` and ``reason`` state why it has no hits.
            hits: The hits.

        Raises:
            StoreError: A number is not finite, which JSON cannot represent.
        """
        if self._single and self._queries:
            raise ValueError("a writer for a single query got a second one")
        # Written in one piece, so that a stream never ends inside a query that could not be written.
        head = "" if self._queries else self._head()
        self._stream.write(head + self._text(query, hits))
        self._queries += 1

    def _finish(self) -> None:
        if self._single and not self._queries:
            raise ValueError("a writer for a single query got none")
        if not self._queries:
            self._stream.write(self._head())
        if self._format == "json" and not self._single:
            self._stream.write("\n]\n")

    def _head(self) -> str:
        """Return the text before the first query, which is also written if there are no queries."""
        if self._format == "json" and not self._single:
            return "["
        return "\t".join(["query", *self._tsv_keys()]) + "\n" if self._format == "tsv" else ""

    def _tsv_keys(self) -> list[str]:
        return [*TSV_COLUMNS, *(TSV_ALIGNMENT_COLUMNS if self._aligned else ())]

    def _text(self, query: Mapping[str, Any], hits: Sequence[Hit]) -> str:
        if self._format == "json":
            return self._json(query, hits)
        if self._format == "tsv":
            name, keys = clean(_name(query)), self._tsv_keys()
            rows = ([name, *(_cell(hit.value(key), _DIGITS.get(key)) for key in keys)] for hit in hits)
            return "".join("\t".join(row) + "\n" for row in rows)
        if self._format == "blast6":
            return "".join(_blast6(query, hit, hit.alignment) for hit in hits if hit.alignment is not None)
        return self._table(query, hits)

    def _json(self, query: Mapping[str, Any], hits: Sequence[Hit]) -> str:
        found = {"query": dict(query), "results": [hit.flat(aligned=self._aligned) for hit in hits]}
        try:
            text = json.dumps(found, indent=2 if self._single else None, allow_nan=False)
        except ValueError as error:
            raise StoreError(
                f"query {_name(query) or 'without id'}: a number in its results is not finite, which JSON cannot "
                "represent; check with 'ednabed runs verify' whether the vectors are damaged"
            ) from error
        if self._single:
            return text + "\n"
        return (",\n" if self._queries else "\n") + text

    def _table(self, query: Mapping[str, Any], hits: Sequence[Hit]) -> str:
        reason = ", ".join(clean(str(query[key])) for key in ("status", "reason") if query.get(key) is not None)
        names = [name for group in (_TABLE if self._aligned else _TABLE[::2]) for name in group]
        rows = [[_cell(hit.value(name), _TABLE_DIGITS.get(name)) for name in names] for hit in hits]
        body = (
            _lay_out([_HEADINGS.get(name, name) for name in names], rows)
            if rows
            else f"no hits{f' ({reason})' if reason else ''}\n"
        )
        if self._single:
            return body
        length = "" if query.get("length") is None else f" (length {query['length']})"
        return ("\n" if self._queries else "") + f"{clean(_name(query)) or 'query'}{length}\n{body}"


def _name(query: Mapping[str, Any]) -> str:
    """Return the name of a query: its id, else its run and number, else the empty string."""
    if query.get("id") is not None:
        return str(query["id"])
    if query.get("seq_idx") is None:
        return ""
    return f"{query['run']}:{query['seq_idx']}" if query.get("run") is not None else str(query["seq_idx"])


def _cell(value: Any, digits: int | None) -> str:
    if value is None:
        return ""
    if digits is None:
        return clean(str(value))
    # Adding 0 turns -0, to which 1 - similarity can round, into 0.
    return f"{round(float(value), digits) + 0.0:.{digits}f}"


def _blast6(query: Mapping[str, Any], hit: Hit, a: Alignment) -> str:
    return "\t".join(
        (
            _word(_name(query)) or "query",
            _word("" if hit.id is None else str(hit.id)) or _word(f"{hit.dataset}/{hit.run_id}:{hit.seq_idx}"),
            f"{a.identity:.3f}",
            *map(str, (a.length, a.mismatches, a.gap_openings)),
            *map(str, (a.query_start, a.query_end, a.target_start, a.target_end)),
            "-1\t0\n",
        )
    )


def _word(text: str) -> str:
    return re.sub(r"\s", "_", clean(text))


def _lay_out(header: list[str], rows: list[list[str]]) -> str:
    """Return aligned text columns, with two spaces between them."""
    return "".join(f"{line}\n" for line in aligned([header, *rows]))
