"""Tables without a header line: the known layouts and the names of their columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ednabed.base.text import shortened
from ednabed.errors import InputError
from ednabed.sequences.columns import DOMAIN, ID, LINEAGE, plain
from ednabed.sequences.delimited import Dialect
from ednabed.sequences.lineage import parse_lineage
from ednabed.sequences.lineage_fields import RANKS
from ednabed.sequences.lineage_forms import DOMAINS, KINGDOMS

SEQUENCE = re.compile(r"[ACGTUNRYSWKMBDHV-]{20,}", re.IGNORECASE)
"""Pattern of a cell that is a sequence."""
_KNOWN = frozenset(plain(name) for name in (*RANKS, *DOMAIN, *LINEAGE))
_IDS = frozenset(plain(name) for name in ID)
_TABLES: dict[int, tuple[str, ...]] = {
    # CRABS 1, CRABS 0, and the simplest possible table.
    11: ("id", "taxon_name", "taxid", *RANKS, "sequence"),
    10: ("id", "taxid", *RANKS, "sequence"),
    2: ("id", "sequence"),
}


def with_header(dialect: Dialect, path: str) -> Dialect:
    """Return the dialect of a table of sequences, with names for its columns if it has no header line.

    Raises:
        InputError: The first line is a row of a table with an unknown layout.
    """
    cells = dialect.columns
    if not SEQUENCE.fullmatch(cells[-1]) or any(SEQUENCE.fullmatch(cell) for cell in cells[:-1]):
        return dialect
    names = _TABLES.get(len(cells))
    if names is None or (len(cells) > 2 and not cells[names.index("taxid")].isdigit()):
        raise InputError(
            f"{path}: its first line contains a sequence ({shortened(cells[-1])}), so it has no header line; put a "
            f"line with the names of its {len(cells)} columns first, such as id, species and sequence"
        )
    return replace(dialect, columns=names, header_lines=dialect.header_lines - 1)


def with_label_header(dialect: Dialect) -> Dialect:
    """Return the dialect of a table of labels, with names for its columns if it has no header line."""
    names = _label_columns(dialect.columns) if dialect.delimiter == "\t" else None
    return dialect if names is None else replace(dialect, columns=names, header_lines=dialect.header_lines - 1)


def _label_columns(cells: Sequence[str]) -> tuple[str, ...] | None:
    """Return names for the columns of a table whose first line is a row; None if it is a header line."""
    if len(cells) < 2 or any(plain(cell) in _KNOWN for cell in cells) or plain(cells[0]) in _IDS:
        return None
    if len(cells) in (3, 4) and cells[2] in "+-":
        # The output of 'vsearch --sintax --tabbedout': the last column has the names above the cutoff.
        return ("id", "taxonomy", "strand") if len(cells) == 3 else ("id", "guesses", "strand", "taxonomy")
    if len(cells) in (2, 3) and _is_lineage(cells[1]):
        return ("id", "taxonomy", "confidence")[: len(cells)]
    if cells[1].lower() in KINGDOMS | DOMAINS and len(cells) in (8, 9):
        return ("id", *(("domain",) if len(cells) == 9 else ()), *RANKS)
    return None


def _is_lineage(text: str) -> bool:
    if not any(mark in text for mark in (";", "__", ":", "|", ",")):
        return False
    try:
        return parse_lineage(text) is not None
    except InputError:
        return False
