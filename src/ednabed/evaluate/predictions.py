"""What a method says of a query, in the same terms for every method."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from ednabed.evaluate.splits import Labelled
from ednabed.sequences.lineage import Lineage
from ednabed.taxonomy.assignment import UNKNOWN, Assignment

ByRank = tuple[float | None, ...]
"""A number for each rank, kingdom to species, None where there is none."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a method says of one query.

    Attributes:
        id: Of the query.
        names: Best guess at each rank, empty where there is none.
        tied: Lineages of the equally best hits, where there are several; empty otherwise.
        confidences: Confidence in the name at each rank, 0 to 1; None for a method that has no confidence and gives
            every name.
        given: Whether the name at each rank is given; None for all of which the confidence is at least 0.8 (all names,
            where the method has no confidence).
        identity: Identity with the nearest training sequence, in percent; None where it was not measured or nothing
            was found.
        novelty: At each rank, how new the query looks, larger is newer; only the order of queries counts. None for a
            method that says nothing of it.
        p_values: p-value at each rank of the hypothesis that the taxon of the query is in training; None for a method
            without.
        absent_rank: Broadest rank at which the method says that the taxon of the query is not in training; None where
            it claims no such thing.
    """

    id: str
    names: Lineage = UNKNOWN
    tied: tuple[Lineage, ...] = ()
    confidences: ByRank | None = None
    given: tuple[bool, ...] | None = None
    identity: float | None = None
    novelty: ByRank | None = None
    p_values: ByRank | None = None
    absent_rank: str | None = None


class Classify(Protocol):
    """A prepared method."""

    def __call__(self, queries: Sequence[tuple[str, str]], /) -> list[Prediction]:
        """Return one prediction a query (id, sequence), in their order."""


class ClassifyTogether(Classify, Protocol):
    """A prepared method for which it matters what the other queries are."""

    def together(self, queries: Sequence[tuple[str, str]], /) -> list[Prediction]:
        """Return one prediction a query of a study, in their order."""


class Method(Protocol):
    """A way of naming sequences that can be evaluated.

    Attributes:
        name: Short, for tables.
        settings: Tool, version and settings, for the report; asked for when it is prepared.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def settings(self) -> str: ...  # noqa: D102

    def prepare(self, training: Sequence[Labelled], threads: int) -> AbstractContextManager[Classify]:
        """Build what is needed from training; the block within is timed apart and may classify several times."""


def from_assignment(assignment: Assignment, length: int) -> Prediction:
    """Say what an assignment says.

    Novelty at a rank is 1 - the confidence in its name, which a taxon that is not in training cannot have; where the
    name has no rank, that of the rank above. Without confidences it is the distance of the nearest sequence, in
    percent: the expected share of differing letters, (mismatches + 1) / (letters + 2), of the letters of the query that
    lie against it (``divergence.Divergence.distance``, Laplace's rule of succession), so that a piece that is equal
    over a few letters is not near. By the cosine where nothing was aligned; a query that is near to nothing is as new
    as can be. p-values would not do: what is further away than all that calibration drew would be tied.

    Args:
        assignment: What was found out.
        length: Letters of the query.
    """
    distance = 100.0
    if assignment.identity is not None and assignment.coverage:
        letters = length * min(assignment.coverage, 100) / 100
        distance = 100 * (letters * (100 - assignment.identity) / 100 + 1) / (letters + 2)
    elif assignment.similarity is not None:
        distance = 100 * (1 - assignment.similarity)
    p_values, confidences = assignment.p_values, assignment.confidences
    # Ranks above the first that has a name are as new as that one.
    above = next((1 - confidence for confidence in confidences if confidence is not None), distance)
    novelty: list[float] = []
    for confidence in confidences:
        above = above if confidence is None else 1 - confidence
        novelty.append(above)
    return Prediction(
        id=assignment.id,
        names=assignment.names,
        tied=assignment.tied,
        confidences=confidences if any(c is not None for c in confidences) or not any(assignment.names) else None,
        given=tuple(bool(name) for name in assignment.lineage),
        identity=assignment.identity,
        novelty=tuple(novelty),
        p_values=p_values if any(p is not None for p in p_values) else None,
        absent_rank=assignment.novel_rank,
    )
