"""Taxon IDs of databases: which columns of records contain one, and how it is written so that it names its database.

A number alone does not identify its database. A value of ``AphiaID`` is therefore written as the LSID of WoRMS, and an
NCBI taxon as ``NCBI:txid8032``. IDs that identify their database (an LSID, a BIN) are kept as they are, and so are
numbers whose database is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ednabed.sequences.columns import plain

_COLUMNS = ("scientificnameid", "aphiaid", "ncbitaxid", "binuri", "taxid", "taxonid")
"""Columns of taxon IDs as returned by ``plain``, best first: OBIS requires the WoRMS ID."""
_WORMS = "urn:lsid:marinespecies.org:taxname:"
_NCBI = "NCBI:txid"
_BIN = re.compile(r"BOLD:[A-Z]{3}[0-9]+")
_NUMBER = re.compile(r"[0-9]{1,12}(?:\.0)?")
_NONE = frozenset({"", "0", "0.0", "none", "na", "nan", "null", "n/a", "unknown"})
# The taxonID in Darwin Core archives of sequences is the hash of the sequence, not the ID of a taxon.
_NO_TAXON = re.compile(r"ASV:|[0-9a-f]{32}$")


def taxon_id_columns(columns: Sequence[str]) -> list[str]:
    """Return the columns of records that may contain taxon IDs, best first.

    Args:
        columns: Names of the columns of the records.
    """
    found = [(_COLUMNS.index(plain(name)), index) for index, name in enumerate(columns) if plain(name) in _COLUMNS]
    return [columns[index] for _, index in sorted(found)]


def taxon_id(columns: Sequence[str], values: Sequence[object]) -> str:
    """Return the taxon ID of a record, written so that it names its database if that is known.

    Args:
        columns: The result of ``taxon_id_columns``.
        values: The record's values in these columns; None for an empty one.

    Returns:
        The first ID found; empty if there is none.
    """
    # BOLD's tables have a column taxid with BOLD's own numbers.
    is_bold = any(plain(name) == "binuri" for name in columns)
    for name, value in zip(columns, values, strict=True):
        text = "" if value is None else str(value).strip()
        if text.lower() in _NONE or _NO_TAXON.match(text):
            continue
        number = text.split(".")[0] if _NUMBER.fullmatch(text) else ""
        kind = plain(name)
        if number and kind == "aphiaid":
            return _WORMS + number
        if number and (kind == "ncbitaxid" or (kind == "taxid" and not is_bold)):
            return _NCBI + number
        return number or text
    return ""


def database_of(id: str) -> str:
    """Return the database of a taxon ID (``WoRMS``, ``NCBI`` or ``BOLD``); empty if it is unknown."""
    if id.startswith(_WORMS):
        return "WoRMS"
    if id.startswith(_NCBI):
        return "NCBI"
    return "BOLD" if _BIN.fullmatch(id) else ""


def is_name_id(id: str) -> bool:
    """Return whether an ID identifies a name (an LSID or a URL), which is scientificNameID in Darwin Core."""
    return id.startswith(("urn:lsid:", "http://", "https://"))
