"""What novel sequences and candidate taxa are: the terms of clustering and of its export."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ednabed.models.base import FloatArray
from ednabed.sequences.lineage import Lineage
from ednabed.taxonomy.assignment import UNKNOWN, Assignment


@dataclass(frozen=True, slots=True, eq=False)
class Novel:
    """One distinct sequence that was found to be novel.

    Attributes:
        sequence: Normalised letters (A, C, G, T, N), on the strand of the reference.
        vector: float32, shape (dimension,), unit length; of this strand.
        assignment: What was found out about it.
        ids: Ids of its records; at least one.
        reads: How often it was read: the sum of the abundances of its records, 1 for each where none is known.
        samples: Reads by the name of the sample; empty where no sample is known.
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
    """A sequence of a candidate taxon.

    Attributes:
        novel: The sequence.
        identity: Percent identity of its alignment with the representative; 100 for the representative itself.
        distance: 1 - cosine of the two vectors, at least 0.
    """

    novel: Novel
    identity: float
    distance: float


@dataclass(frozen=True, slots=True, eq=False)
class CandidateTaxon:
    """Sequences that may be one unknown taxon.

    Attributes:
        id: ``novel_1``, ``novel_2``, … in descending order of reads, equal ones by the digest of the representative.
        members: Its sequences in descending order of reads; the first is the representative.
        lineage: The names that more than half of the sequences were given, above ``novel_rank``.
        novel_rank: Rank at which the representative is new.
        p: ``species_p`` of the representative; None where nothing is calibrated.
        q: The same, corrected for all tests made (Benjamini and Hochberg 1995).
    """

    id: str
    members: tuple[Member, ...]
    lineage: Lineage = UNKNOWN
    novel_rank: str | None = None
    p: float | None = None
    q: float | None = None

    @property
    def representative(self) -> Novel:
        """Most abundant sequence; its ``assignment`` tells the nearest named relative."""
        return self.members[0].novel

    @property
    def sequences(self) -> int:
        """Number of distinct sequences."""
        return len(self.members)

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all records, those of the representative first."""
        return tuple(id for member in self.members for id in member.novel.ids)

    @property
    def reads(self) -> int:
        """Reads of all members."""
        return sum(member.novel.reads for member in self.members)

    @property
    def samples(self) -> dict[str, int]:
        """Reads by sample, samples in alphabetical order."""
        reads: Counter[str] = Counter()
        for member in self.members:
            reads.update(member.novel.samples)
        return {name: reads[name] for name in sorted(reads)}

    @property
    def mean_difference(self) -> float:
        """Mean of 100 - identity over the members that are not the representative, in percent; 0 where it is alone."""
        return _mean([100 - member.identity for member in self.members[1:]])

    @property
    def largest_difference(self) -> float:
        """The largest of these."""
        return max((100 - member.identity for member in self.members[1:]), default=0.0)

    @property
    def mean_distance(self) -> float:
        """Mean of 1 - cosine over the members that are not the representative; 0 where it is alone."""
        return _mean([member.distance for member in self.members[1:]])

    @property
    def largest_distance(self) -> float:
        """The largest of these."""
        return max((member.distance for member in self.members[1:]), default=0.0)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Those of the representative, then how many other members have any."""
        others = sum(bool(member.novel.warnings) for member in self.members[1:])
        of = len(self.members) - 1
        return (*self.representative.warnings, *([f"{others} of {of} other sequences have warnings"] if others else []))


def species_p(assignment: Assignment) -> float | None:
    """Return the p-value of the hypothesis that the species of a sequence is in the reference.

    A candidate taxon is first of all no known species, whatever the rank at which it is new. Where calibration says
    nothing of species, that of the deepest rank of which it does; None where of none.
    """
    return next((p for p in reversed(assignment.p_values) if p is not None), None)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
