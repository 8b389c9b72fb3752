"""Sequences that are not in the reference, groups of them, and which groups are candidate taxa.

These are the terms of clustering and of its export.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ednabed.base.arrays import FloatArray
from ednabed.sequences.lineage import RANKS, Lineage
from ednabed.store.assignment import UNKNOWN, Assignment

_GENUS = RANKS.index("genus")


@dataclass(frozen=True, slots=True, eq=False)
class Novel:
    """One distinct sequence whose taxon is not in the reference at some rank.

    Attributes:
        sequence: Normalised bases (A, C, G, T, N), on the strand of the reference.
        vector: float32, shape (dimension,), unit length; of this strand.
        assignment: Its assignment; the status is ``not_in_reference``.
        ids: Ids of its records; at least one.
        reads: Number of reads: the sum of the abundances of its records, 1 for each record without one.
        samples: Reads by name of the sample; empty if no sample is known.
        warnings: See ``artefacts.warnings_of``.
    """

    sequence: str
    vector: FloatArray
    assignment: Assignment
    ids: tuple[str, ...]
    reads: int = 1
    samples: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A sequence of a group.

    Attributes:
        novel: The sequence.
        identity: Percent identity of its alignment with the representative; 100 for the representative itself.
        distance: 1 - cosine of the two vectors, at least 0.
    """

    novel: Novel
    identity: float
    distance: float


@dataclass(frozen=True, slots=True)
class Parent:
    """The named taxon to which a group belongs, and how much of the taxon the reference has.

    Attributes:
        rank: Rank of the taxon.
        name: Its name.
        genera: Named genera of this taxon in the reference.
        species: Named species.
        sequences: Distinct labelled sequences.
    """

    rank: str
    name: str
    genera: int
    species: int
    sequences: int


@dataclass(frozen=True, slots=True)
class Claim:
    """The taxon of a sequence or group at a rank is not in the reference.

    Attributes:
        rank: The rank.
        p: p-value of the hypothesis that the taxon of this rank is in the reference.
        q: The same as a false discovery rate over the distinct queries.
    """

    rank: str
    p: float
    q: float


@dataclass(frozen=True, slots=True, eq=False)
class CandidateTaxon:
    """A group of similar sequences that are not in the reference; maybe a candidate taxon.

    Attributes:
        id: ``novel_1``, ``novel_2``, … in descending order of reads, then by the digest of the representative.
        members: Its sequences in descending order of reads; the first is the representative.
        claim: What is absent from the reference; see ``claim_of``.
        lineage: The names that more than half of the sequences have, above the rank of the claim.
        parent: The taxon of the deepest of these names; None if there is no name, or if it was not looked up.
    """

    id: str
    members: tuple[Member, ...]
    claim: Claim
    lineage: Lineage = UNKNOWN
    parent: Parent | None = None

    @property
    def candidate(self) -> bool:
        """Whether the group is a candidate taxon: its genus, or more, is not in the reference, and a name is above it.

        If only the species is absent, the group is not a candidate: most references lack most described species.
        """
        return RANKS.index(self.claim.rank) <= _GENUS and any(self.lineage)

    @property
    def representative(self) -> Novel:
        """The most abundant sequence; its ``assignment`` has the nearest named relative."""
        return self.members[0].novel

    @property
    def sequences(self) -> int:
        """Number of distinct sequences."""
        return len(self.members)

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all records, starting with those of the representative."""
        return tuple(id for member in self.members for id in member.novel.ids)

    @property
    def reads(self) -> int:
        """Reads of all members."""
        return sum(member.novel.reads for member in self.members)

    @property
    def samples(self) -> dict[str, int]:
        """Reads by sample, in alphabetical order of the samples."""
        reads: Counter[str] = Counter()
        for member in self.members:
            reads.update(member.novel.samples)
        return {name: reads[name] for name in sorted(reads)}

    @property
    def mean_difference(self) -> float:
        """Mean of 100 - identity over the members except the representative, in percent; 0 if there are no others."""
        return _mean([100 - member.identity for member in self.members[1:]])

    @property
    def largest_difference(self) -> float:
        """The largest of these differences, in percent."""
        return max((100 - member.identity for member in self.members[1:]), default=0.0)

    @property
    def mean_distance(self) -> float:
        """Mean of 1 - cosine over the members except the representative; 0 if there are no others."""
        return _mean([member.distance for member in self.members[1:]])

    @property
    def largest_distance(self) -> float:
        """The largest of these distances."""
        return max((member.distance for member in self.members[1:]), default=0.0)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings of the representative, then how many other members have any."""
        warned = sum(bool(member.novel.warnings) for member in self.members[1:])
        n_others = len(self.members) - 1
        return (
            *self.representative.warnings,
            *([f"{warned} of {n_others} other sequences have warnings"] if warned else []),
        )


def claim_of(assignments: Sequence[Assignment]) -> Claim:
    """Return which taxon of a group is absent from the reference.

    The rank is the broadest that is supported by both the representative and more than half of the sequences: it is
    never broader than the claim of the representative, and more than half of the claims are of this rank or a broader
    one. p and q are those of the representative at this rank. If the representative has no name at this rank and was
    therefore not tested there, they are those of its own, broader claim, which implies this one.

    Args:
        assignments: Assignments of the distinct sequences of a group, at least one; the first is the representative.

    Raises:
        ValueError: A sequence has no claim of absence.
    """
    claims = [_claim(one) for one in assignments]
    first, first_claim = assignments[0], claims[0]
    ranks = sorted(RANKS.index(claim.rank) for claim in claims)
    rank = max(RANKS.index(first_claim.rank), ranks[len(ranks) // 2])
    p, q = first.p_values[rank], first.q_values[rank]
    if not first.names[rank] or p is None or q is None:
        p, q = first_claim.p, first_claim.q
    return Claim(RANKS[rank], p, q)


def _claim(assignment: Assignment) -> Claim:
    rank, p, q = assignment.novel_rank, assignment.novel_p, assignment.novel_q
    if rank is None or p is None or q is None:
        raise ValueError(f"{assignment.id!r} has no claim of absence; expected the status not_in_reference")
    return Claim(rank, p, q)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
