"""Find the roles of table columns by the usual names for id, sequence, abundance, source records, sample and lineage.

Case, spaces, ``-``, ``_``, ``.`` and a leading ``#`` do not matter when names are matched. If several columns match one
role, the one spelled exactly as listed wins, in the order of the list; otherwise the user must rename one of them.
Columns without a role are kept under their original names (``records.free_name``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from ednabed.base.text import shortened
from ednabed.errors import InputError
from ednabed.sequences.lineage_fields import RANKS
from ednabed.sequences.records import SOURCE_RECORDS, free_name

SEQUENCE = ("sequence", "dna_sequence", "dnasequence", "nucleotides", "nucraw", "nuc", "seq", "dna", "sequences")
ID = (
    *("id", "sequence_id", "seqid", "seq_id", "accession", "processid", "feature-id", "featureid", "feature id"),
    *("otu", "otu id", "#otu id", "asv", "asv_id", "pr2_accession"),
)
OTHER_IDS = ("occurrenceid", "gbifid", "name", "materialsampleid")
"""Used for the id, first match first, if no column is in ``ID``: Darwin Core has several ids, and a name next to an id
is common and is not the id."""
UNNAMED_FIRST = "unnamed_1"
"""The name given to a first column without a name."""
ABUNDANCE = ("abundance", "size", "count", "counts", "reads", "n_reads", "total_reads")
SOURCE_RECORD_NAMES = (SOURCE_RECORDS, "n_records")
"""``records`` alone is not included, because it also names accessions or the user's records."""
SAMPLE = ("sample", "sample_id", "sampleid", "sample-id")
OTHER_SAMPLES = ("eventid", "materialsampleid", "samp_name")
"""Used for the sample, first match first, if no column is in ``SAMPLE``."""
QUANTITY, QUANTITY_TYPE = "organismquantity", "organismquantitytype"
"""Darwin Core's quantity and its type; the quantity is the reads if the type names reads or sequences."""
LINEAGE = ("taxonomy", "lineage", "taxon", "taxa", "classification", "consensus_lineage", "consensuslineage", "tax")
RANK_NAMES: dict[str, tuple[str, ...]] = {rank: (rank, f"{rank}_name") for rank in RANKS}
DOMAIN = ("superkingdom", "superkingdom_name", "domain", "domain_name")
"""Used for the kingdom where that is empty."""
PR2_RANKS = ("supergroup", "division", "subdivision")
"""PR2's ranks between domain and class."""
SCIENTIFIC_NAME = ("scientificname",)
EPITHET = ("specificepithet",)
TAXON_RANK = ("taxonrank",)
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?%?")
COORDINATES = ("coord",)
"""BOLD's latitude and longitude in one cell: ``(59.91, 10.75)``."""
LATITUDE = ("decimallatitude", "latitude", "lat")
LONGITUDE = ("decimallongitude", "longitude", "lon", "long", "lng")


@dataclass(frozen=True)
class Roles:
    """The columns of one table by role; None (or empty) for a role without a column.

    Attributes:
        id: The column of ids.
        sequence: The column of sequences.
        source_records: The column of source records (``records.SOURCE_RECORDS``).
        quantity_type: The column with the unit of the abundance (Darwin Core); rows with other units are not reads.
        ranks: Maps ranks to columns, if the lineage comes from rank columns.
        domain: A column that fills the kingdom where that is empty.
        pr2: The columns of ``PR2_RANKS``, None for a missing one, if the columns are PR2's.
        lineage: The column of complete lineages, if the lineage comes from there.
        scientific_name: A column of scientific names, which give the species where ``species`` is empty.
        epithet: A column of epithets, which give the species together with the genus where ``species`` is empty.
        taxon_rank: The column with the rank of the scientific name.
        coordinates: A column of latitude and longitude in one cell, if no other columns have them.
        extras: Maps the other columns to the names under which they are kept.
    """

    id: str | None
    sequence: str | None
    abundance: str | None = None
    sample: str | None = None
    source_records: str | None = None
    quantity_type: str | None = None
    ranks: dict[str, str] = field(default_factory=dict)
    domain: str | None = None
    pr2: tuple[str | None, ...] = ()
    lineage: str | None = None
    scientific_name: str | None = None
    epithet: str | None = None
    taxon_rank: str | None = None
    coordinates: str | None = None
    extras: dict[str, str] = field(default_factory=dict)


_IGNORED = str.maketrans("", "", " -_.")


def plain(name: str) -> str:
    """Return a column's name as compared with other names: lower case, without ignored characters."""
    return name.lower().lstrip("#").translate(_IGNORED).strip()


def find_roles(columns: Sequence[str], path: str) -> Roles:
    """Find the role of each column. ``id`` and ``sequence`` may be None: ``required_columns`` checks them.

    Raises:
        InputError: A name is duplicated, or two columns match one role and neither wins.
    """
    duplicate = next((name for name, count in Counter(columns).items() if count > 1), None)
    if duplicate is not None and any(_NUMBER.fullmatch(name) for name in columns):
        raise InputError(
            f"{path}: its first line is a row and not a header line ({listed(columns, 4)}); put a line with the names "
            f"of its {len(columns)} columns first"
        )
    if duplicate is not None:
        raise InputError(f"{path}: two columns are named {duplicate!r}; rename one of them")
    ranks = {rank: found for rank in RANKS if (found := _by_order(columns, RANK_NAMES[rank], path))}
    domain = _by_order(columns, DOMAIN, path)
    pr2 = tuple(_find(columns, (name,), name, path) for name in PR2_RANKS)
    lineage = _find(columns, LINEAGE, "lineage", path)
    scientific_name, epithet = _by_order(columns, SCIENTIFIC_NAME, path), _by_order(columns, EPITHET, path)
    # A single rank next to complete lineages (often 'species') contains less information than they do.
    has_ranks = len(ranks) + (domain is not None) > (1 if lineage else 0)
    by_ranks = has_ranks or (scientific_name is not None and not lineage)
    quantity, quantity_type = (_by_order(columns, (name,), path) for name in (QUANTITY, QUANTITY_TYPE))
    abundance = _find(columns, ABUNDANCE, "abundance", path)
    # OBIS gives each row its own id in addition to occurrenceID, which is the publisher's.
    id_ = (
        _by_order(columns, OTHER_IDS[:1], path) or _find(columns, ID, "id", path) or _by_order(columns, OTHER_IDS, path)
    )
    # R writes row names into a first column without a name.
    id_ = columns[0] if id_ is None and columns and columns[0] == UNNAMED_FIRST else id_
    others = [name for name in OTHER_SAMPLES if _by_order(columns, (name,), path) != id_]
    roles = Roles(
        id=id_,
        sequence=_find(columns, SEQUENCE, "sequence", path),
        abundance=abundance or (quantity if quantity_type else None),
        sample=_find(columns, SAMPLE, "sample", path) or _by_order(columns, others, path),
        source_records=_find(columns, SOURCE_RECORD_NAMES, "number of source records", path),
        quantity_type=None if abundance else quantity_type if quantity else None,
        ranks=ranks if by_ranks else {},
        domain=domain if by_ranks else None,
        pr2=pr2 if by_ranks and pr2[0] and pr2[1] else (),
        lineage=None if by_ranks else lineage,
        scientific_name=scientific_name if by_ranks else None,
        epithet=epithet if by_ranks and "genus" in ranks else None,
        taxon_rank=_by_order(columns, TAXON_RANK, path) if by_ranks else None,
        coordinates=None if find_coordinates(columns) else _by_order(columns, COORDINATES, path),
    )
    used = {roles.id, roles.sequence, abundance, roles.sample, roles.source_records, roles.lineage}
    used |= {*roles.ranks.values(), *(() if "kingdom" in ranks else (roles.domain,))}
    extras = [name for name in columns if name not in used]
    taken = set(extras)
    for name in extras:
        taken.discard(name)
        roles.extras[name] = free_name(name, taken)
        taken.add(roles.extras[name])
    return roles


def required_columns(roles: Roles, columns: Sequence[str], path: str) -> tuple[str, str]:
    """Return the columns of ids and of sequences. Raises InputError, listing the columns, if one is missing."""
    for role, found, names in (("sequence", roles.sequence, SEQUENCE), ("id", roles.id, (*ID, *OTHER_IDS))):
        if found is None:
            others = ", ".join(names[1:])
            raise InputError(
                f"{path}: no {role} column among {listed(columns)}; name that column {role!r} (or one of {others})"
            )
    assert roles.id is not None and roles.sequence is not None
    return roles.id, roles.sequence


def find_coordinates(columns: Sequence[str]) -> tuple[str, str] | None:
    """Return the columns of latitude and longitude; None unless both exist.

    If several columns match, the first in the order of ``LATITUDE`` or ``LONGITUDE`` is used.
    """
    found = []
    for names in (LATITUDE, LONGITUDE):
        matches = [(names.index(plain(column)), column) for column in columns if plain(column) in names]
        if not matches:
            return None
        found.append(min(matches)[1])
    return found[0], found[1]


def listed(columns: Sequence[str], limit: int = 12) -> str:
    """List column names for a message, only the first ones if there are many; long names (sequences) are shortened."""
    shown = ", ".join(repr(shortened(name)) for name in columns[:limit])
    return shown if len(columns) <= limit else f"{shown} and {len(columns) - limit} more"


def _find(columns: Sequence[str], names: Sequence[str], role: str, path: str) -> str | None:
    for name in names:
        if name in columns:
            return name
    accepted = {plain(name) for name in names}
    found = [name for name in columns if plain(name) in accepted]
    if len(found) > 1:
        raise InputError(
            f"{path}: columns {' and '.join(map(repr, found))} could each be the {role}; "
            f"rename the right one to {names[0]!r}"
        )
    return found[0] if found else None


def _by_order(columns: Sequence[str], names: Sequence[str], path: str) -> str | None:
    """Find the first column that matches one of the names, tried in order."""
    for name in names:
        if found := _find(columns, (name,), name, path):
            return found
    return None
