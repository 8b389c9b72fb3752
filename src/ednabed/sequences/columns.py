"""Which column of a table means what: the names that people give to id, sequence, abundance, source
records, sample and lineage.

Names match whatever their case, spaces, ``-``, ``_``, ``.`` and a leading ``#``. Where several columns match one role,
the one spelled exactly as listed wins, in the order of the list; otherwise the user has to say which by renaming one.
Columns without a role are kept under their own names (``records.free_name``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from ednabed.errors import InputError
from ednabed.sequences.lineage_fields import RANKS
from ednabed.sequences.records import SOURCE_RECORDS, free_name

SEQUENCE = ("sequence", "dna_sequence", "dnasequence", "nucleotides", "nucraw", "nuc", "seq", "dna", "sequences")
ID = (
    *("id", "sequence_id", "seqid", "seq_id", "accession", "processid", "feature-id", "featureid", "feature id"),
    *("otu", "otu id", "#otu id", "asv", "asv_id", "pr2_accession"),
)
OTHER_IDS = ("occurrenceid", "gbifid", "name", "materialsampleid")
"""Taken for the id, the first of them that is there, where no column is of ``ID``: Darwin Core has several ids, and a
name beside an id is common and is not the id."""
UNNAMED_FIRST = "unnamed_1"
"""What the first column is called where it has no name."""
ABUNDANCE = ("abundance", "size", "count", "counts", "reads", "n_reads", "total_reads")
SOURCE_RECORD_NAMES = (SOURCE_RECORDS, "n_records")
"""``records`` alone is not one of them: it also names accessions, or records of the user's own."""
SAMPLE = ("sample", "sample_id", "sampleid", "sample-id")
OTHER_SAMPLES = ("eventid", "materialsampleid", "samp_name")
"""Taken for the sample, the first of them that is there, where no column is of ``SAMPLE``."""
QUANTITY, QUANTITY_TYPE = "organismquantity", "organismquantitytype"
"""Darwin Core's number and what it counts; it is the reads where the type names reads or sequences."""
LINEAGE = ("taxonomy", "lineage", "taxon", "taxa", "classification", "consensus_lineage", "consensuslineage", "tax")
RANK_NAMES: dict[str, tuple[str, ...]] = {rank: (rank, f"{rank}_name") for rank in RANKS}
DOMAIN = ("superkingdom", "superkingdom_name", "domain", "domain_name")
"""Stands for the kingdom where that is empty."""
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
    """The columns of one table by what they mean; None (or empty) where there is none.

    Attributes:
        id: The column of ids.
        sequence: The column of sequences.
        source_records: The column of source records (``records.SOURCE_RECORDS``).
        quantity_type: The column that says what the abundance counts (Darwin Core); the others are not reads.
        ranks: Rank to column, when the lineage comes from columns by rank.
        domain: A column that fills the kingdom where that is empty.
        pr2: The columns of ``PR2_RANKS``, None where there is none, when the columns are PR2's.
        lineage: The column that holds whole lineages, when it comes from there.
        scientific_name: A column of scientific names, which give the species where ``species`` has none.
        epithet: A column of epithets, which give the species with the genus where ``species`` has none.
        taxon_rank: The column that says of which rank the scientific name is.
        coordinates: A column of latitude and longitude in one cell, where no other columns have them.
        extras: Column to the name under which it is kept.
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


_NOT_COUNTED = str.maketrans("", "", " -_.")


def plain(name: str) -> str:
    """Return a column's name without what does not count when names are compared."""
    return name.lower().lstrip("#").translate(_NOT_COUNTED).strip()


def find_roles(columns: Sequence[str], path: str) -> Roles:
    """Find what each column means. ``id`` and ``sequence`` may come out None: ``require`` asks for them.

    Raises:
        InputError: A name stands twice, or two columns match one role and neither wins.
    """
    twice = next((name for name, count in Counter(columns).items() if count > 1), None)
    if twice is not None and any(_NUMBER.fullmatch(name) for name in columns):
        raise InputError(
            f"{path}: its first line is a row and not a header line ({listed(columns, 4)}); put a line with the names "
            f"of its {len(columns)} columns first"
        )
    if twice is not None:
        raise InputError(f"{path}: two columns are named {twice!r}; rename one of them")
    ranks = {rank: found for rank in RANKS if (found := _by_order(columns, RANK_NAMES[rank], path))}
    domain = _by_order(columns, DOMAIN, path)
    pr2 = tuple(_find(columns, (name,), name, path) for name in PR2_RANKS)
    whole = _find(columns, LINEAGE, "lineage", path)
    scientific_name, epithet = _by_order(columns, SCIENTIFIC_NAME, path), _by_order(columns, EPITHET, path)
    # One rank beside whole lineages (often 'species') says less than they do.
    by_ranks = len(ranks) + (domain is not None) > (1 if whole else 0) or (scientific_name is not None and not whole)
    quantity, quantity_type = (_by_order(columns, (name,), path) for name in (QUANTITY, QUANTITY_TYPE))
    abundance = _find(columns, ABUNDANCE, "abundance", path)
    # OBIS gives a row an id of its own beside occurrenceID, which is the publisher's.
    id_ = (
        _by_order(columns, OTHER_IDS[:1], path) or _find(columns, ID, "id", path) or _by_order(columns, OTHER_IDS, path)
    )
    # R writes the names of rows into a first column without a name.
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
        lineage=None if by_ranks else whole,
        scientific_name=scientific_name if by_ranks else None,
        epithet=epithet if by_ranks and "genus" in ranks else None,
        taxon_rank=_by_order(columns, TAXON_RANK, path) if by_ranks else None,
        coordinates=None if find_coordinates(columns) else _by_order(columns, COORDINATES, path),
    )
    used = {roles.id, roles.sequence, abundance, roles.sample, roles.source_records, roles.lineage}
    used |= {*roles.ranks.values(), *(() if "kingdom" in ranks else (roles.domain,))}
    own = [name for name in columns if name not in used]
    taken = set(own)
    for name in own:
        taken.discard(name)
        roles.extras[name] = free_name(name, taken)
        taken.add(roles.extras[name])
    return roles


def require(roles: Roles, columns: Sequence[str], path: str) -> tuple[str, str]:
    """Return the columns of ids and of sequences. Raises InputError when there is none, listing what there is."""
    for role, found, wanted in (("sequence", roles.sequence, SEQUENCE), ("id", roles.id, (*ID, *OTHER_IDS))):
        if found is None:
            others = ", ".join(wanted[1:])
            raise InputError(
                f"{path}: no {role} column among {listed(columns)}; name that column {role!r} (or one of {others})"
            )
    assert roles.id is not None and roles.sequence is not None
    return roles.id, roles.sequence


def find_coordinates(columns: Sequence[str]) -> tuple[str, str] | None:
    """Return the columns of latitude and longitude; None unless there are both.

    Of several that could be one, the first in the order of ``LATITUDE`` or ``LONGITUDE`` is taken.
    """
    found = []
    for names in (LATITUDE, LONGITUDE):
        fitting = [(names.index(plain(column)), column) for column in columns if plain(column) in names]
        if not fitting:
            return None
        found.append(min(fitting)[1])
    return found[0], found[1]


def listed(columns: Sequence[str], most: int = 12) -> str:
    """List column names for a message, the first ones where there are many; a long name (a sequence) is shortened."""
    shown = ", ".join(repr(shortened(name)) for name in columns[:most])
    return shown if len(columns) <= most else f"{shown} and {len(columns) - most} more"


def shortened(text: str, most: int = 40) -> str:
    """Return a text as a message shows it: a long one is cut, with an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _find(columns: Sequence[str], names: Sequence[str], role: str, path: str) -> str | None:
    for name in names:
        if name in columns:
            return name
    wanted = {plain(name) for name in names}
    found = [name for name in columns if plain(name) in wanted]
    if len(found) > 1:
        raise InputError(
            f"{path}: columns {' and '.join(map(repr, found))} could each be the {role}; "
            f"rename the one that is to {names[0]!r}"
        )
    return found[0] if found else None


def _by_order(columns: Sequence[str], names: Sequence[str], path: str) -> str | None:
    """Find a column whose possible names have an order of their own."""
    for name in names:
        if found := _find(columns, (name,), name, path):
            return found
    return None
