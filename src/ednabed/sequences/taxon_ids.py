"""Ids of taxa in databases: which columns of records hold one, and how it is written so that it names its database.

A number alone does not say whose it is. So what stands in ``AphiaID`` is written as the LSID that WoRMS gives it, and
an NCBI taxon as ``NCBI:txid8032``; what says itself (an LSID, a BIN) stays, and so does a number whose database the
column does not say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ednabed.sequences.columns import plain

_COLUMNS = ("scientificnameid", "aphiaid", "ncbitaxid", "binuri", "taxid", "taxonid")
"""Columns of taxon ids as ``plain`` gives them, the best first: OBIS asks for the id in WoRMS."""
_WORMS = "urn:lsid:marinespecies.org:taxname:"
_NCBI = "NCBI:txid"
_BIN = re.compile(r"BOLD:[A-Z]{3}[0-9]+")
_NUMBER = re.compile(r"[0-9]{1,12}(?:\.0)?")
_NONE = frozenset({"", "0", "0.0", "none", "na", "nan", "null", "n/a", "unknown"})
# The taxonID that Darwin Core archives of sequences have is the hash of the sequence, not an id of a taxon.
_NO_TAXON = re.compile(r"ASV:|[0-9a-f]{32}$")


def taxon_id_columns(columns: Sequence[str]) -> list[str]:
    """Return which columns of records may hold taxon ids, the best first.

    Args:
        columns: Names of the columns of the records.
    """
    found = [(_COLUMNS.index(plain(name)), place) for place, name in enumerate(columns) if plain(name) in _COLUMNS]
    return [columns[place] for _, place in sorted(found)]


def taxon_id(columns: Sequence[str], values: Sequence[object]) -> str:
    """Return the taxon id of a record, written so that it names its database where that is known.

    Args:
        columns: What ``taxon_id_columns`` returned.
        values: What stands in them; None where nothing does.

    Returns:
        The first that there is; empty where there is none.
    """
    # BOLD's tables have a column taxid with numbers of their own.
    of_bold = any(plain(name) == "binuri" for name in columns)
    for name, value in zip(columns, values, strict=True):
        text = "" if value is None else str(value).strip()
        if text.lower() in _NONE or _NO_TAXON.match(text):
            continue
        number = text.split(".")[0] if _NUMBER.fullmatch(text) else ""
        kind = plain(name)
        if number and kind == "aphiaid":
            return _WORMS + number
        if number and (kind == "ncbitaxid" or (kind == "taxid" and not of_bold)):
            return _NCBI + number
        return number or text
    return ""


def database_of(id: str) -> str:
    """Return the database that a taxon id is of (``WoRMS``, ``NCBI`` or ``BOLD``); empty where it does not say."""
    if id.startswith(_WORMS):
        return "WoRMS"
    if id.startswith(_NCBI):
        return "NCBI"
    return "BOLD" if _BIN.fullmatch(id) else ""


def is_name_id(id: str) -> bool:
    """Return whether an id is one of a name (an LSID or an address), which Darwin Core has as scientificNameID."""
    return id.startswith(("urn:lsid:", "http://", "https://"))
