"""The prediction of a method for a query, in the same form for every method."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from ednabed.evaluate.splits import Labelled
from ednabed.sequences.lineage import Lineage
from ednabed.store.assignment import UNKNOWN, Assignment

ByRank = tuple[float | None, ...]
"""A number for each rank, kingdom to species, None if missing."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction of a method for one query.

    Attributes:
        id: Id of the query.
        names: Best guess at each rank, empty without a guess.
        tied: Lineages of the equally good best hits if there are several; empty otherwise.
        confidences: Confidence in the name at each rank, 0 to 1; None for a method without confidences, which gives
            every name.
        given: Whether the name at each rank is given; None gives all names whose confidence is at least 0.8 (all names
            if the method has no confidences).
        identity: Identity with the nearest training sequence, in percent; None if it was not measured or nothing was
            found.
        novelty: Novelty score at each rank, larger is newer; only the order of queries matters. None for a method
            without novelty scores.
        p_values: p-value at each rank of the hypothesis that the taxon of the query is in training; None for a method
            without p-values.
        absent_rank: Broadest rank at which the method claims that the taxon of the query is not in training; None
            without such a claim.
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
        """Return one prediction per query (id, sequence), in their order."""


class ClassifyTogether(Classify, Protocol):
    """A prepared method whose predictions depend on the other queries of a study."""

    def together(self, queries: Sequence[tuple[str, str]], /) -> list[Prediction]:
        """Return one prediction per query of a study, in their order."""


class Method(Protocol):
    """A method of taxonomic assignment that can be evaluated.

    Attributes:
        name: Short name for tables.
        settings: Tool, version and settings, for the report; read once the method is prepared.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def settings(self) -> str: ...  # noqa: D102

    def prepare(self, training: Sequence[Labelled], threads: int) -> AbstractContextManager[Classify]:
        """Prepare the method from the training records.

        The block within the context manager is timed separately and may classify several times.
        """


def from_assignment(assignment: Assignment, length: int) -> Prediction:
    """Convert an assignment into a prediction.

    Novelty at a rank is 1 - the confidence in its name, because no name from training is right for an absent taxon. At
    a rank without a name it is the novelty of the rank above. Without confidences it is the distance of the nearest
    sequence, in percent: the expected share of differing bases, (mismatches + 1) / (bases + 2), among the bases of the
    query that align to it (``divergence.Divergence.distance``, Laplace's rule of succession), so that a fragment that
    matches over a few bases is not near. If nothing was aligned, the distance is computed from the cosine. A query with
    no related sequence gets the maximum distance. p-values would not work: all queries farther away than every draw of
    the calibration would be tied.

    Args:
        assignment: The assignment of the query.
        length: Length of the query, in bases.
    """
    distance = 100.0
    if assignment.identity is not None and assignment.coverage:
        bases = length * min(assignment.coverage, 100) / 100
        distance = 100 * (bases * (100 - assignment.identity) / 100 + 1) / (bases + 2)
    elif assignment.similarity is not None:
        distance = 100 * (1 - assignment.similarity)
    p_values, confidences = assignment.p_values, assignment.confidences
    # Ranks above the first named rank get the novelty of that rank.
    current = next((1 - confidence for confidence in confidences if confidence is not None), distance)
    novelty: list[float] = []
    for confidence in confidences:
        current = current if confidence is None else 1 - confidence
        novelty.append(current)
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
