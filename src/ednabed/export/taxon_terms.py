"""Convert the names of a sequence to Darwin Core terms, the same in every format that has them."""

from __future__ import annotations

import re

from ednabed.export.assignments import truncated
from ednabed.export.names import Identification
from ednabed.sequences.lineage import RANKS
from ednabed.sequences.taxon_ids import database_of, is_name_id

OUR_TOOL = "ednabed classify"
_EPITHET = re.compile(r"[a-zà-ÿ]+(?:-[a-zà-ÿ]+)*")


def name_terms(named: Identification) -> dict[str, str]:
    """Return names by term: kingdom to genus, specificEpithet, scientificName and taxonRank; empty if unknown.

    Args:
        named: The names.
    """
    return {
        **dict(zip(RANKS[:6], named.lineage[:6], strict=True)),
        "specificEpithet": specific_epithet(named.lineage[5], named.lineage[6]),
        "scientificName": named.name,
        "taxonRank": named.rank,
    }


def specific_epithet(genus: str, species: str) -> str:
    """Return the epithet of a binomial; empty for a name that is not a binomial, such as ``Rattus sp. 1``.

    Args:
        genus: The genus; empty if unknown.
        species: The species with its genus; empty if unknown.
    """
    first, _, epithet = species.partition(" ")
    fits = bool(epithet) and genus in ("", first) and _EPITHET.fullmatch(epithet) is not None
    return epithet if fits else ""


def taxon_id_terms(id: str) -> dict[str, str]:
    """Return a taxon id under the term that it belongs to: the id of a name, or of another concept of a taxon.

    OBIS asks for the WoRMS id as ``scientificNameID``. A number that does not state its database belongs to no term.

    Args:
        id: An id from ``sequences.taxon_ids.taxon_id``.
    """
    if is_name_id(id):
        return {"scientificNameID": id}
    return {"taxonConceptID": id} if database_of(id) or (not id.replace(".", "").isdigit() and id) else {}


def remarks(named: Identification) -> str:
    """Return a description of the assignment that gave a name; empty if the name is not from an assignment.

    Args:
        named: The names.
    """
    if not named.status:
        return ""
    # The record keeps its deepest name; that the reference lacks a taxon below it does not claim a new taxon.
    confidence = "" if named.confidence is None else f", confidence {truncated(named.confidence, 4)}"
    return f"{OUR_TOOL}: {named.status.replace('_', ' ')}{confidence}"
