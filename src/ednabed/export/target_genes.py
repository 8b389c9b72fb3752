"""Names of markers as GBIF's Metabarcoding Data Toolkit and FAIRe spell them."""

from __future__ import annotations

import re

_SPELLINGS = (
    ("COI", r"(?:CO|COX)(?:I|1)(?![A-Z0-9]).*"),
    ("ITS1", r"ITS-?1(?!\d).*"),
    ("ITS2", r"ITS-?2(?!\d).*"),
    ("ITS", r"ITS(?![A-Z0-9]).*"),
    *((name, rf"{name}(?![A-Z0-9]).*") for name in ("12S", "16S", "18S", "23S", "5S")),
)
_KNOWN = tuple((name, re.compile(pattern)) for name, pattern in _SPELLINGS)


def target_gene(marker: str) -> str:
    """Return the name of a marker in the toolkit's vocabulary (COI, ITS, ITS1, ITS2, 12S, 16S, 18S, 23S, 5S).

    Args:
        marker: Its name in the records: ``COI-5P``, ``cox1``, ``12S rRNA``.

    Returns:
        The name in the vocabulary; the given name if it is not one of these markers.
    """
    plain = marker.strip().upper()
    return next((name for name, pattern in _KNOWN if pattern.fullmatch(plain)), marker.strip())


def is_known(gene: str) -> bool:
    """Return whether a name is in the toolkit's vocabulary."""
    return any(gene == name for name, _ in _KNOWN)
