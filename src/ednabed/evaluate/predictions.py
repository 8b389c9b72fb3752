"""What a method says of a query, in the same terms for every method."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from ednabed.evaluate.splits import Labelled
from ednabed.sequences.lineage import RANKS, Lineage
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
        identity: Identity with the nearest training sequence, in percent; None where it was not measured or nothing
            was found.
        novelty: At each rank, how new the query looks, larger is newer; only the order of queries counts. None for a
            method that says nothing of it.
        p_values: p-value at each rank of the hypothesis that the taxon of the query is in training; None for a method
            without.
    """

    id: str
    names: Lineage = UNKNOWN
    tied: tuple[Lineage, ...] = ()
    confidences: ByRank | None = None
    identity: float | None = None
    novelty: ByRank | None = None
    p_values: ByRank | None = None


class Classify(Protocol):
    """A prepared method."""

    def __call__(self, queries: Sequence[tuple[str, str]], /) -> list[Prediction]:
        """Return one prediction a query (id, sequence), in their order."""


class Method(Protocol):
    """A way of naming sequences that can be evaluated.

    Attributes:
        name: Short, for tables.
        settings: Tool, version and settings, for the report.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def settings(self) -> str: ...  # noqa: D102

    def prepare(self, training: Sequence[Labelled], threads: int) -> AbstractContextManager[Classify]:
        """Build what is needed from training; the block within is timed apart and may classify several times."""


def from_assignment(assignment: Assignment) -> Prediction:
    """Say what an assignment says.

    Novelty is 1 - p where the assignment has p-values; without any, 100 - identity, or by the cosine where nothing was
    aligned; a query that is near to nothing is as new as can be.
    """
    p_values = assignment.p_values
    calibrated = any(p is not None for p in p_values)
    if calibrated:
        novelty: ByRank = tuple(None if p is None else 1 - p for p in p_values)
    elif assignment.identity is not None:
        novelty = (100 - assignment.identity,) * len(RANKS)
    elif assignment.similarity is not None:
        novelty = (100 * (1 - assignment.similarity),) * len(RANKS)
    else:
        novelty = (100.0,) * len(RANKS)
    confidences = assignment.confidences
    return Prediction(
        id=assignment.id,
        names=assignment.names,
        tied=assignment.tied,
        confidences=confidences if any(c is not None for c in confidences) or not any(assignment.names) else None,
        identity=assignment.identity,
        novelty=novelty,
        p_values=p_values if calibrated else None,
    )
