"""The Darwin Core terms of a name, the same in every format that has them."""

from __future__ import annotations

import re

from ednabed.export.assignments import cut
from ednabed.export.names import Identification
from ednabed.sequences.lineage import RANKS
from ednabed.sequences.taxon_ids import database_of, is_name_id

OUR_TOOL = "ednabed classify"
_EPITHET = re.compile(r"[a-zà-ÿ]+(?:-[a-zà-ÿ]+)*")


def name_terms(named: Identification) -> dict[str, str]:
    """Return a name by term: kingdom to genus, specificEpithet, scientificName and taxonRank; empty where unknown.

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
    """Return the epithet of a binomial; empty for what is none, such as ``Rattus sp. 1``.

    Args:
        genus: The genus; empty where unknown.
        species: The species with its genus; empty where unknown.
    """
    first, _, epithet = species.partition(" ")
    fits = bool(epithet) and genus in ("", first) and _EPITHET.fullmatch(epithet) is not None
    return epithet if fits else ""


def taxon_id_terms(id: str) -> dict[str, str]:
    """Return the term that a taxon id belongs to, with the id: an id of a name or of another concept of a taxon.

    OBIS asks for the id in WoRMS as ``scientificNameID``. A number that does not say of which database it is belongs
    to none.

    Args:
        id: What ``sequences.taxon_ids.taxon_id`` returned.
    """
    if is_name_id(id):
        return {"scientificNameID": id}
    return {"taxonConceptID": id} if database_of(id) or (not id.replace(".", "").isdigit() and id) else {}


def remarks(named: Identification) -> str:
    """Return in words by what an assignment gave a name; empty where no assignment did.

    Args:
        named: The names.
    """
    if not named.status:
        return ""
    # The record keeps its deepest name; that the reference lacks a taxon below it is no claim of a new one.
    sure = "" if named.confidence is None else f", confidence {cut(named.confidence, 4)}"
    return f"{OUR_TOOL}: {named.status.replace('_', ' ')}{sure}"
