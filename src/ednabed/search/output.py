"""Writers of search results: a query at a time, nothing is held back; a file appears whole or not at all.

Formats: ``table`` to read, ``json``, ``tsv``, and ``blast6``, the twelve columns of BLAST's ``outfmt 6``.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from ednabed.errors import UsageError
from ednabed.search.align import blast6

FORMATS = ("table", "json", "tsv", "blast6")
_ENDINGS = {
    ".json": "json",
    ".tsv": "tsv",
    ".txt": "tsv",
    ".tab": "tsv",
    ".b6": "blast6",
    ".blast6": "blast6",
    ".m8": "blast6",
}
_ALIGNED = ("identity", "query_coverage", "target_coverage", "strand", "cigar")
_ALL_ALIGNED = (
    "identity", "query_coverage", "target_coverage", "strand", "cigar", "score", "length", "matches", "mismatches",
    "gap_openings", "query_start", "query_end", "target_start", "target_end",
)  # fmt: skip
_TSV = (
    "rank", "similarity", "distance", "id", "dataset", "run_id", "seq_idx", "sample", "abundance", "lineage",
    "occurrences",
)  # fmt: skip
_TABLE = ("rank", "similarity", "occurrences", "id", "dataset", "sample", "abundance", "lineage")
_CONTROL = {code: " " for code in (*range(32), 127)}


def format_of(path: Path | None, asked: str | None) -> str:
    """Return the format: the one asked for, else by the ending of the file, else ``table`` for the terminal.

    Raises:
        UsageError: The ending says nothing.
    """
    if asked is not None:
        return asked
    if path is None:
        return "table"
    if path.suffix.lower() not in _ENDINGS:
        raise UsageError(
            f"--output {path}: its ending does not say a format; end it in {', '.join(sorted(_ENDINGS))}, or give "
            f"--format {'|'.join(FORMATS)}"
        )
    return _ENDINGS[path.suffix.lower()]


def check_format(kind: str, aligned: bool) -> None:
    """Raise UsageError where a format needs alignments and there are none."""
    if kind not in FORMATS:
        raise UsageError(f"format {kind!r} is unknown; choose one of {', '.join(FORMATS)}")
    if kind == "blast6" and not aligned:
        raise UsageError("BLAST tabular output tells alignments; add --align")


class HitWriter:
    """Writes queries and their hits; a context manager.

    Args:
        target: A file, written under another name and renamed at the end; or an open text stream.
        kind: One of ``FORMATS``.
        single: Whether there is one query only: then JSON is one object instead of a list.
        aligned: Whether hits have an ``alignment``.
    """

    def __init__(self, target: Path | TextIO, kind: str, *, single: bool, aligned: bool) -> None:
        self._path = target if isinstance(target, Path) else None
        self._stream = None if isinstance(target, Path) else target
        self._kind = kind
        self._single = single
        self._aligned = aligned
        self._written = 0
        self._temporary: Path | None = None

    def __enter__(self) -> HitWriter:
        """Open the file, and write what comes before the first query."""
        if self._path is not None:
            if self._path.is_dir():
                raise UsageError(f"--output {self._path} is a folder; name a file")
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._temporary = self._path.with_name(f".{self._path.name}.{uuid.uuid4().hex[:12]}.tmp")
            self._stream = self._temporary.open("w", encoding="utf-8", newline="\n")
        if self._kind == "tsv":
            self._put("\t".join(["query", *_TSV, *(_ALIGNED if self._aligned else ())]) + "\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the file and give it its name; after an error take it away."""
        if kind is None and self._kind == "json" and not self._single:
            self._put("[]\n" if not self._written else "\n]\n")
        if self._temporary is None or self._stream is None or self._path is None:
            return
        try:
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()
            if kind is None:
                self._temporary.replace(self._path)
        finally:
            self._stream.close()
            self._temporary.unlink(missing_ok=True)

    def write(self, query: dict[str, Any], hits: Sequence[dict[str, Any]]) -> None:
        """Write a query (``id`` and what else is told of it) and its hits (``Search.run``)."""
        getattr(self, f"_{self._kind}")(query, hits)
        self._written += 1

    def _put(self, text: str) -> None:
        assert self._stream is not None, "used outside its context"
        self._stream.write(text)

    def _json(self, query: dict[str, Any], hits: Sequence[dict[str, Any]]) -> None:
        text = json.dumps({"query": query, "results": [self._flat(hit) for hit in hits]}, indent=2, allow_nan=False)
        if self._single:
            self._put(text + "\n")
        else:
            self._put(("[\n" if not self._written else ",\n") + text)

    def _flat(self, hit: dict[str, Any]) -> dict[str, Any]:
        """Return a hit with the fields of its alignment among its own; ``columns`` is the alignment's length."""
        if "alignment" not in hit:
            return hit
        found = {} if hit["alignment"] is None else asdict(hit["alignment"])
        own = {key: value for key, value in hit.items() if key != "alignment"}
        return own | {("columns" if key == "length" else key): found.get(key) for key in _ALL_ALIGNED}

    def _tsv(self, query: dict[str, Any], hits: Sequence[dict[str, Any]]) -> None:
        for hit in hits:
            cells = [_text(query.get("id")), *(_text(hit.get(key)) for key in _TSV)]
            if self._aligned:
                cells += [_text(getattr(hit["alignment"], key, None)) for key in _ALIGNED]
            self._put("\t".join(cells) + "\n")

    def _blast6(self, query: dict[str, Any], hits: Sequence[dict[str, Any]]) -> None:
        for hit in hits:
            if hit["alignment"] is not None:
                self._put(blast6(_name(query.get("id")), _name(hit.get("id")), hit["alignment"]) + "\n")

    def _table(self, query: dict[str, Any], hits: Sequence[dict[str, Any]]) -> None:
        if not self._single:
            said = f": {query['rejected']}" if "rejected" in query else ("" if hits else ": no hit")
            self._put(("\n" if self._written else "") + f"{_text(query.get('id'))}{said}\n")
        if not hits:
            return
        shown = _ALIGNED[:4] if self._aligned else ()
        header = [*_TABLE[:2], *shown, *_TABLE[2:]]
        rows = [
            [
                _cosine(hit.get(key)) if key in _TABLE else _percent(getattr(hit["alignment"], key, None))
                for key in header
            ]
            for hit in hits
        ]
        widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
        for row in [header, *rows]:
            self._put("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() + "\n")


def _text(value: Any) -> str:
    """Write a cell of a TSV file."""
    if value is None:
        return ""
    return f"{value:.6f}" if isinstance(value, float) else str(value).translate(_CONTROL)


def _cosine(value: Any) -> str:
    """Write a cell of a table to read; cosines with four digits."""
    if isinstance(value, float):
        return f"{value:.4f}"
    return "" if value is None else str(value).translate(_CONTROL)


def _percent(value: Any) -> str:
    """Write a cell of a table to read; percentages with one digit."""
    if isinstance(value, float):
        return f"{value:.1f}"
    return "" if value is None else str(value)


def _name(value: Any) -> str:
    """Write an id of BLAST's columns, which have no blanks; ``*`` where there is none."""
    return "_".join(str(value).split()) if value is not None and str(value).strip() else "*"
