"""Which column of a table means what: the names that people give to id, sequence, abundance, sample and lineage.

Names match whatever their case, spaces, ``-``, ``_``, ``.`` and a leading ``#``. Where several columns match one role,
the one spelled exactly as listed wins, in the order of the list; otherwise the user has to say which by renaming one.
Columns without a role are kept under their own names (``records.free_name``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from ednabed.errors import InputError
from ednabed.sequences.lineage import RANKS
from ednabed.sequences.records import free_name

SEQUENCE = ("sequence", "dna_sequence", "dnasequence", "nucleotides", "nucraw", "nuc", "seq", "dna", "sequences")
ID = (
    *("id", "sequence_id", "seqid", "seq_id", "accession", "processid", "feature-id", "featureid", "feature id"),
    *("occurrenceid", "gbifid", "materialsampleid"),
    *("otu", "otu id", "#otu id", "asv", "asv_id"),
)
WEAK_ID = ("name",)
"""Taken for the id only where nothing else can be: a name beside an id is common and is not the id."""
ABUNDANCE = ("abundance", "size", "count", "counts", "reads", "n_reads", "total_reads")
SAMPLE = ("sample", "sample_id", "sampleid", "sample-id", "eventid")
LINEAGE = ("taxonomy", "lineage", "taxon", "taxa", "classification")
RANK_NAMES: dict[str, tuple[str, ...]] = {rank: (rank, f"{rank}_name") for rank in RANKS} | {
    "kingdom": ("kingdom", "kingdom_name", "superkingdom", "domain")
}
SCIENTIFIC_NAME = ("scientificname",)
LATITUDE = ("decimallatitude", "latitude", "lat")
LONGITUDE = ("decimallongitude", "longitude", "lon", "long", "lng")


@dataclass(frozen=True)
class Roles:
    """The columns of one table by what they mean; None (or empty) where there is none.

    Attributes:
        id: The column of ids.
        sequence: The column of sequences.
        ranks: Rank to column, when the lineage comes from columns by rank.
        lineage: The column that holds whole lineages, when it comes from there.
        binomial: A column of scientific names that fills species where it holds a binomial.
        extras: Column to the name under which it is kept.
    """

    id: str | None
    sequence: str | None
    abundance: str | None = None
    sample: str | None = None
    ranks: dict[str, str] = field(default_factory=dict)
    lineage: str | None = None
    binomial: str | None = None
    extras: dict[str, str] = field(default_factory=dict)


def plain(name: str) -> str:
    """Return a column's name without what does not count when names are compared."""
    return name.lower().lstrip("#").translate(str.maketrans("", "", " -_.")).strip()


def find_roles(columns: Sequence[str], path: str) -> Roles:
    """Find what each column means. ``id`` and ``sequence`` may come out None: ``require`` asks for them.

    Raises:
        InputError: A name stands twice, or two columns match one role and neither wins.
    """
    twice = next((name for name, count in Counter(columns).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{path}: two columns are named {twice!r}; rename one of them")
    ranks = {rank: found for rank in RANKS if (found := _by_order(columns, RANK_NAMES[rank], path))}
    whole = _find(columns, LINEAGE, "lineage", path)
    binomial = None if "species" in ranks else _by_order(columns, SCIENTIFIC_NAME, path)
    # One rank beside whole lineages (often 'species') says less than they do.
    if whole and len(ranks) < 2:
        ranks, binomial = {}, None
    elif ranks or binomial:
        whole = None
    roles = Roles(
        id=_find(columns, ID, "id", path) or _find(columns, WEAK_ID, "id", path),
        sequence=_find(columns, SEQUENCE, "sequence", path),
        abundance=_find(columns, ABUNDANCE, "abundance", path),
        sample=_find(columns, SAMPLE, "sample", path),
        ranks=ranks,
        lineage=whole,
        binomial=binomial,
    )
    used = {roles.id, roles.sequence, roles.abundance, roles.sample, roles.lineage, *ranks.values()}
    own = [name for name in columns if name not in used]
    taken = set(own)
    for name in own:
        taken.discard(name)
        roles.extras[name] = free_name(name, taken)
        taken.add(roles.extras[name])
    return roles


def require(roles: Roles, columns: Sequence[str], path: str) -> tuple[str, str]:
    """Return the columns of ids and of sequences. Raises InputError when there is none, listing what there is."""
    for role, found, wanted in (("sequence", roles.sequence, SEQUENCE), ("id", roles.id, (*ID, *WEAK_ID))):
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
    """Find a column whose possible names have a rank among themselves: kingdom goes before domain."""
    for name in names:
        if found := _find(columns, (name,), name, path):
            return found
    return None
