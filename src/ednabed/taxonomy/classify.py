"""What is it: from queries to assignments, batch by batch, in the order of the input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ednabed.engine.embed import Engine
from ednabed.errors import StoreError, UsageError
from ednabed.models.base import Embedder, FloatArray
from ednabed.reference.collection import Collection
from ednabed.search.align import align, too_long
from ednabed.search.divergence import LEAST_COVER, Codes, decode, encode, turn
from ednabed.search.queries import Query, QueryBatch
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.assign import IDENTITIES, Criteria, Verdict, judge
from ednabed.taxonomy.assignment import Assignment, Status
from ednabed.taxonomy.calibration import Calibration, length_classes
from ednabed.taxonomy.candidates import Finder
from ednabed.taxonomy.evidence import Candidates, Evidence, Floats, Ints, weigh
from ednabed.taxonomy.labels import Labels, read_labels
from ednabed.taxonomy.shortlist import default_exponents

CANDIDATES = 50
"""Candidates by each exponent where no calibration says how many it takes."""
# Queries that are compared, weighed and judged at once.
_AT_ONCE = 256
# Distances above which a query is looked up as its reverse complement too.
_OTHER_STRAND_BY_LETTERS = 0.12
_OTHER_STRAND_BY_VECTORS = 0.4
_STRANGE = "no nearer to the reference than a scrambled sequence: another marker, or nothing known"
_NOT_LEARNED = "the reference has too few records to learn how likely it is"
_TURNED = "is the reverse complement of the reference's strand"


@dataclass(frozen=True)
class Classified:
    """A query and what it is.

    Attributes:
        query: The query.
        assignment: What it is.
        vector: Its vector, float32, shape (d,), on the strand of the reference; None where it was rejected.
        sequence: Its letters on that strand; None where it was rejected.
    """

    query: Query
    assignment: Assignment
    vector: FloatArray | None
    sequence: str | None


class Classifier:
    """Says what queries are, by the labelled sequences of a collection.

    Args:
        collection: The collection.
        embedder: The function that made it.
        calibration: What was learned on it; None: names by fixed limits of identity, without confidences.
        criteria: When a name is given.
        use_letters: Compare letters of the candidates; False judges by vectors alone, which needs a calibration.
        threads: Threads that compare letters.

    Raises:
        StoreError: No record has a lineage.
        UsageError: Vectors alone are to judge, and nothing is calibrated, or limits of identity or coverage are asked
            for, which need letters.
    """

    def __init__(
        self,
        collection: Collection,
        embedder: Embedder,
        calibration: Calibration | None,
        criteria: Criteria,
        *,
        use_letters: bool = True,
        threads: int = 1,
    ) -> None:
        if calibration is None and not use_letters:
            raise UsageError(
                f"{collection.name} is not calibrated, and without alignment nothing else says what a similarity is "
                "worth; run 'ednabed reference calibrate' or leave --no-align away"
            )
        if not use_letters and max(criteria.min_identity, criteria.min_coverage) > 0:
            raise UsageError(
                "without alignment there is no identity and no coverage, so min-identity and min-coverage cannot be "
                "kept; leave them or --no-align away"
            )
        self.collection = collection
        self.embedder = embedder
        self.calibration = calibration
        self.criteria = criteria
        self.labels: Labels = read_labels(collection)
        exponents = default_exponents(collection.spec) if calibration is None else calibration.exponents
        self._finder = Finder(collection, self.labels, exponents, threads=threads)
        self._use_letters = use_letters
        self._engine = Engine(embedder)
        self._both_strands = collection.spec.strand == "both" or embedder.encoder.strands_alike

    def run(self, batches: Iterable[QueryBatch]) -> Iterator[Classified]:
        """Yield what each query is, in the order of the input. Equal sequences of a batch are looked up once."""
        for batch in batches:
            answers = self._answers(batch)
            place_of = {place: i for i, place in enumerate(batch.places)}
            for place, query in enumerate(batch.queries):
                name = str(query.told["id"])
                if place not in place_of:
                    note = str(query.told.get("rejected", "cannot be looked up"))
                    yield Classified(query, Assignment(name, "rejected", note=note), None, None)
                    continue
                assignment, vector, codes = answers[place_of[place]]
                yield Classified(query, replace(assignment, id=name), vector, decode(codes).decode())

    def _answers(self, batch: QueryBatch) -> list[tuple[Assignment, FloatArray, Codes]]:
        numbers: dict[str, int] = {}
        firsts: list[int] = []
        own: list[int] = []
        for i, place in enumerate(batch.places):
            text = batch.queries[place].sequence
            if text is None:
                raise StoreError(f"query {batch.queries[place].told['id']!r} has no letters; give sequences")
            if text not in numbers:
                numbers[text] = len(firsts)
                firsts.append(i)
            own.append(numbers[text])
        codes = [encode(text.encode()) for text in numbers]
        vectors = batch.vectors[np.array(firsts, np.int64)]
        found: dict[int, tuple[Assignment, FloatArray, Codes]] = {}
        for some in self._by_size(codes):
            answers = self._look_up(vectors[some], [codes[i] for i in some.tolist()])
            found.update(zip(some.tolist(), answers, strict=True))
        return [found[number] for number in own]

    def _by_size(self, codes: list[Codes]) -> Iterator[Ints]:
        """Share out queries so that those together have the same size of shortlist."""
        lengths = np.fromiter(map(len, codes), np.int64, len(codes))
        sizes = self._sizes(lengths)
        for size in np.unique(sizes):
            own = np.flatnonzero(sizes == size)
            for first in range(0, len(own), _AT_ONCE):
                yield own[first : first + _AT_ONCE]

    def _sizes(self, lengths: Ints) -> Ints:
        if self.calibration is None:
            return np.full(len(lengths), CANDIDATES)
        return np.array(self.calibration.candidates, np.int64)[length_classes(lengths)]

    def _look_up(self, vectors: FloatArray, codes: list[Codes]) -> list[tuple[Assignment, FloatArray, Codes]]:
        size = int(self._sizes(np.array([len(codes[0])]))[0])
        candidates = self._finder.find(vectors, codes, size, align=self._use_letters)
        evidence = weigh(candidates, self.labels)
        answers = self._tell(candidates, evidence, vectors, codes, "+")
        limit = _OTHER_STRAND_BY_LETTERS if self._use_letters else _OTHER_STRAND_BY_VECTORS
        far = np.flatnonzero(evidence.distance > limit)
        results = [(answer, vector, own) for (answer, _), vector, own in zip(answers, vectors, codes, strict=True)]
        if not len(far):
            return results
        turned = [turn(codes[i]) for i in far.tolist()]
        if self._both_strands:
            other_vectors = vectors[far]
        else:
            other_vectors, _ = self._engine.embed([decode(own) for own in turned])
        quick = self._finder.find(other_vectors, turned, size, align=self._use_letters, thorough=False)
        nearer = np.flatnonzero(quick.distances[:, 0] < evidence.distance[far])
        if not len(nearer):
            return results
        far, turned, other_vectors = far[nearer], [turned[i] for i in nearer.tolist()], other_vectors[nearer]
        other = self._finder.find(other_vectors, turned, size, align=self._use_letters)
        other_evidence = weigh(other, self.labels)
        other_answers = self._tell(other, other_evidence, other_vectors, turned, "-")
        for place, number in enumerate(far.tolist()):
            answer, verdict = other_answers[place]
            # Of what is like nothing, one strand is nearer by chance.
            related = any(verdict.lineage) if self.calibration is None else not verdict.strange
            if related and other_evidence.distance[place] < evidence.distance[number]:
                results[number] = (answer, other_vectors[place], turned[place])
        return results

    def _tell(
        self, candidates: Candidates, evidence: Evidence, vectors: FloatArray, codes: list[Codes], strand: str
    ) -> list[tuple[Assignment, Verdict]]:
        """Put evidence into words; the ids are left empty."""
        every = np.arange(len(codes))
        near = evidence.nearest >= 0
        column = np.maximum(evidence.nearest, 0)
        rows = np.where(near, candidates.rows[every, column], -1)
        identity, coverage, likeness = self._identities(candidates, column, rows, codes)
        # What was only scored counts as like nothing where its alignment turns out to be of a few letters.
        shorter = np.minimum(candidates.lengths, self._finder.letters.lengths[rows])
        few = (candidates.overlaps[every, column] < 0) & (coverage / 100 * candidates.lengths < LEAST_COVER * shorter)
        evidence = replace(evidence, distance=np.where(few, np.inf, evidence.distance))
        similarity = self._finder.cosines(vectors, rows[:, None])[:, 0]
        markers = np.where(near, self.labels.marker[rows], 0)
        verdicts = [Verdict()] * len(codes)
        for marker in np.unique(markers):
            own = np.flatnonzero(markers == marker)
            name = self.labels.markers[marker]
            group = None if self.calibration is None else self.calibration.group(name, self._use_letters)
            part = _part(evidence, own)
            told = judge(part, candidates.lengths[own], likeness[own], self.labels, group, self.criteria)
            for i, verdict in zip(own.tolist(), told, strict=True):
                verdicts[i] = verdict
        ids = self._ids(rows)
        main = self.labels.main
        return [
            (
                self._assignment(
                    verdicts[i], int(rows[i]), ids[i], int(main[rows[i]]), float(similarity[i]), float(identity[i]),
                    float(coverage[i]), strand, self.labels.markers[int(markers[i])],
                ),
                verdicts[i],
            )
            for i in range(len(codes))
        ]  # fmt: skip

    def _identities(
        self, candidates: Candidates, column: Ints, rows: Ints, codes: list[Codes]
    ) -> tuple[Floats, Floats, Floats]:
        """Say how each query lies against its nearest sequence.

        Returns:
            Identity and coverage in percent, as ``align`` tells them, and the share of the letters compared that agree,
            without N; 0 where too few of them lie against each other to say anything. NaN where unknown.
        """
        identity = np.full(len(codes), np.nan)
        coverage = np.full(len(codes), np.nan)
        likeness = np.full(len(codes), np.nan)
        if not self._use_letters:
            return identity, coverage, likeness
        for i, row in enumerate(rows.tolist()):
            if row < 0:
                continue
            letters, mismatches = int(candidates.letters[i, column[i]]), candidates.mismatches[i, column[i]]
            likeness[i] = 1 - mismatches / letters if letters and not candidates.lacking[i, column[i]] else 0
            overlap = int(candidates.overlaps[i, column[i]])
            if overlap > 0:
                identity[i] = 100 * (letters - mismatches) / overlap
                coverage[i] = 100 * overlap / len(codes[i])
                continue
            target = self._finder.letters.codes(row)
            if too_long(len(codes[i]), len(target)):
                continue
            found = align(decode(codes[i]).decode(), [decode(target).decode()], strand="plus")[0]
            identity[i] = 0.0 if found is None else found.identity
            coverage[i] = 0.0 if found is None else found.query_coverage
        return identity, coverage, likeness

    def _ids(self, rows: Ints) -> list[str | None]:
        """Return the id of the first record of each row, None for -1."""
        known = np.unique(rows[rows >= 0])
        positions = np.asarray(self.collection.positions[self.collection.starts[known]], np.int64)
        ids = self.collection.take_records(positions, ["id"]).column("id").to_pylist()
        of_row = dict(zip(known.tolist(), ids, strict=True))
        return [of_row.get(row) for row in rows.tolist()]

    def _assignment(
        self,
        verdict: Verdict,
        row: int,
        nearest_id: str | None,
        lineage: int,
        similarity: float,
        identity: float,
        coverage: float,
        strand: str,
        marker: str,
    ) -> Assignment:
        if row < 0:
            return Assignment("", "unclassified", note="nothing in the reference is like it")
        criteria = self.criteria
        notes = [_TURNED] if strand == "-" else []
        given, novel_rank = verdict.lineage, verdict.novel_rank
        if verdict.strange:
            notes.append(_STRANGE)
        if verdict.by_limit and self.calibration is not None:
            rank = max(r for r, name in enumerate(given) if name)
            notes.append(f"{RANKS[rank]} by the fixed limit of {100 * IDENTITIES[rank]:g} % identity: {_NOT_LEARNED}")
        for name, value, least in (
            ("identity", identity, criteria.min_identity),
            ("coverage", coverage, criteria.min_coverage),
        ):
            if least > 0 and not np.isnan(value) and value < least:
                notes.append(f"{name} {value:.1f} is below the {least:g} asked for")
                given, novel_rank = Verdict().lineage, None
        status: Status = "novel" if novel_rank is not None else "assigned" if any(given) else "unclassified"
        return Assignment(
            id="",
            status=status,
            lineage=given,
            names=verdict.names,
            confidences=verdict.confidences,
            tied=verdict.tied,
            nearest_id=nearest_id,
            nearest_lineage=self.labels.lineages[lineage],
            identity=None if np.isnan(identity) else identity,
            coverage=None if np.isnan(coverage) else coverage,
            similarity=similarity,
            strand=strand,
            marker=marker or None,
            novel_rank=novel_rank,
            novel_p=verdict.novel_p,
            p_values=verdict.p_values,
            note="; ".join(notes),
        )


def _part(evidence: Evidence, own: Ints) -> Evidence:
    return Evidence(
        evidence.nearest[own],
        evidence.distance[own],
        evidence.lineages[own],
        evidence.features[own],
        [evidence.tied[i] for i in own.tolist()],
    )
