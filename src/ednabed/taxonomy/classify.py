"""Assign taxonomy to queries, in the order of the input.

All queries are looked up first, in batches, because the assignment of one depends on how common known species are among
the others, and the certainty of a claim of absence depends on the number of queries. Meanwhile they wait on disk; a few
kilobytes for each distinct sequence are in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ednabed.base.arrays import FloatArray, Floats, Ints
from ednabed.base.bases import Codes, decode, encode, reverse_complement_codes
from ednabed.engine.embed import Engine
from ednabed.errors import StoreError, UsageError
from ednabed.models.base import Embedder
from ednabed.reference.collection import Collection
from ednabed.search.align import align, too_long
from ednabed.search.divergence import MIN_COVERAGE
from ednabed.search.queries import Query, QueryBatch
from ednabed.store.assignment import Assignment
from ednabed.taxonomy.assign import IDENTITIES, NOVEL_COVERAGE, Criteria
from ednabed.taxonomy.calibration import SCHEMA, Calibration
from ednabed.taxonomy.candidates import Finder
from ednabed.taxonomy.consensus import consensus
from ednabed.taxonomy.evidence import Candidates, weigh
from ednabed.taxonomy.findings import Findings, join_findings
from ednabed.taxonomy.labels import RowLabels, read_row_labels
from ednabed.taxonomy.lengths import length_classes
from ednabed.taxonomy.shortlist import default_exponents
from ednabed.taxonomy.situations import Shares
from ednabed.taxonomy.spool import Spool
from ednabed.taxonomy.study import Study

CANDIDATES = 50
"""Candidates per exponent where no calibration sets a number."""
# Queries that are compared, weighted and judged at once.
_BATCH_SIZE = 256
# Distances above which the reverse complement of a query is looked up too.
_OTHER_STRAND_BY_BASES = 0.12
_OTHER_STRAND_BY_VECTORS = 0.4


@dataclass(frozen=True)
class Classified:
    """A query and its assignment.

    Attributes:
        query: The query.
        assignment: Its assignment.
        vector: Its vector, float32, shape (d,), on the strand of the reference; None if it was rejected.
        sequence: Its bases on that strand; None if it was rejected.
    """

    query: Query
    assignment: Assignment
    vector: FloatArray | None
    sequence: str | None


class Classifier:
    """Assigns taxonomy to queries using the labelled sequences of a collection.

    Args:
        collection: The collection.
        embedder: The function that computed its vectors.
        calibration: What was learned about it; None: names by fixed identity limits, without confidences.
        criteria: When a name is given.
        align: Compare the bases of the candidates; False judges by vectors alone, which needs a calibration.
        threads: Threads that compare bases.

    Attributes:
        shares: Mapping from marker to how common known species and others were among the queries of the last run; empty
            before the first run, and without calibration.
        unreached: See ``Study``, for the last run.

    Raises:
        StoreError: No record has a lineage.
        UsageError: Only vectors are to be used, and there is no calibration, or limits of identity or coverage are
            requested, which need bases.
    """

    def __init__(
        self,
        collection: Collection,
        embedder: Embedder,
        calibration: Calibration | None,
        criteria: Criteria,
        *,
        align: bool = True,
        threads: int = 1,
    ) -> None:
        if calibration is None and not align:
            raise UsageError(
                f"{collection.name} is not calibrated, and without alignment there is no other measure of what a "
                "similarity means; run 'ednabed reference calibrate' or omit `align=False`"
            )
        if not align and criteria.consensus:
            raise UsageError("`consensus` compares identities, which need alignment; omit `consensus` or `align=False`")
        if not align and criteria.novel_coverage != NOVEL_COVERAGE:
            raise UsageError("without alignment there is no coverage; omit `novel_coverage` or `align=False`")
        if not align and max(criteria.min_identity, criteria.min_coverage) > 0:
            raise UsageError(
                "without alignment there is no identity and no coverage; omit `min_identity` and `min_coverage`, or "
                "omit `align=False`"
            )
        learned = calibration is not None and calibration.schema == SCHEMA
        if not learned and (criteria.known is not None or criteria.precision is not None):
            what = "has a calibration of an earlier version" if calibration is not None else "is not calibrated"
            raise UsageError(
                f"{collection.name} {what}, so `precision` and `known` cannot be used; run 'ednabed reference "
                "calibrate'"
            )
        self.collection = collection
        self.embedder = embedder
        # A consensus does not use it.
        self.calibration = None if criteria.consensus else calibration
        self.shares: dict[str, Shares] = {}
        self.unreached: dict[str, list[str]] = {}
        self.criteria = criteria
        self.labels: RowLabels = read_row_labels(collection)
        learned_exponents = None if self.calibration is None else self.calibration.exponents
        exponents = learned_exponents or default_exponents(collection.spec)
        self._finder = Finder(collection, self.labels, exponents, threads=threads)
        self._align = align
        self._engine = Engine(embedder)
        self._both_strands = collection.spec.strand == "both" or embedder.encoder.strands_alike

    def run(
        self, batches: Iterable[QueryBatch], on_progress: Callable[[int], object] | None = None
    ) -> Iterator[Classified]:
        """Yield the assignment of each query, in the order of the input, once all are looked up.

        Equal sequences are looked up once.

        Args:
            batches: The queries; read to the end before anything is yielded.
            on_progress: Called with the number of queries looked up, batch by batch; None for no reports.
        """
        numbers: dict[bytes, int] = {}
        found: list[Findings] = []
        with Spool() as spool:
            for batch in batches:
                found += self._take(batch, numbers, spool)
                if on_progress is not None:
                    on_progress(len(batch.queries))
            study = Study(found, self.collection, self.labels, self.calibration, self.criteria, self._align)
            self.shares, self.unreached = study.shares, study.unreached
            del numbers
            found.clear()
            for query, number in spool.queries():
                name = str(query.info["id"])
                if number is None:
                    note = str(query.info.get("rejected", "it cannot be looked up"))
                    yield Classified(query, Assignment(name, "rejected", note=note), None, None)
                    continue
                codes = spool.bases(number)
                query_codes = reverse_complement_codes(codes) if study.found.turned[number] else codes
                yield Classified(
                    replace(query, sequence=decode(query_codes).decode()),
                    replace(study.assignment(number), id=name),
                    spool.vector(number),
                    decode(codes).decode(),
                )

    def _take(self, batch: QueryBatch, numbers: dict[bytes, int], spool: Spool) -> list[Findings]:
        """Look up the new distinct sequences of a batch, and spool all its queries."""
        row_of_position = {position: row for row, position in enumerate(batch.searchable)}
        texts: list[str] = []
        rows: list[int] = []
        first = len(numbers)
        for position, query in enumerate(batch.queries):
            if position not in row_of_position:
                spool.add_query(query, None)
                continue
            if query.sequence is None:
                raise StoreError(f"query {query.info['id']!r} has no sequence; give records with sequences")
            key = hashlib.blake2b(query.sequence.encode(), digest_size=16).digest()
            if key not in numbers:
                numbers[key] = first + len(texts)
                texts.append(query.sequence)
                rows.append(row_of_position[position])
            spool.add_query(query, numbers[key])
        if not texts:
            return []
        codes = [encode(text.encode()) for text in texts]
        vectors = np.array(batch.vectors[np.array(rows, np.int64)])
        order: list[int] = []
        parts = []
        for selected in self._by_size(codes):
            selected_codes = [codes[i] for i in selected.tolist()]
            part, new_vectors, new_codes = self._look_up(vectors[selected], selected_codes)
            vectors[selected] = new_vectors
            for i, bases in zip(selected.tolist(), new_codes, strict=True):
                codes[i] = bases
            order += selected.tolist()
            parts.append(part)
        spool.add_distinct(vectors, codes)
        return [join_findings(parts).part(np.argsort(np.array(order)))]

    def _by_size(self, codes: list[Codes]) -> Iterator[Ints]:
        """Split queries into batches that use the same shortlist size."""
        lengths = np.fromiter(map(len, codes), np.int64, len(codes))
        sizes = self._sizes(lengths)
        for size in np.unique(sizes):
            same_size = np.flatnonzero(sizes == size)
            for first in range(0, len(same_size), _BATCH_SIZE):
                yield same_size[first : first + _BATCH_SIZE]

    def _sizes(self, lengths: Ints) -> Ints:
        if self.calibration is None:
            return np.full(len(lengths), CANDIDATES)
        return np.array(self.calibration.candidates, np.int64)[length_classes(lengths)]

    def _look_up(self, vectors: FloatArray, codes: list[Codes]) -> tuple[Findings, FloatArray, list[Codes]]:
        """Look up some queries; return the findings, and the vectors and bases on the strand of the reference."""
        size = int(self._sizes(np.array([len(codes[0])]))[0])
        found = self._find(vectors, codes, size, turned=False)
        limit = _OTHER_STRAND_BY_BASES if self._align else _OTHER_STRAND_BY_VECTORS
        far = np.flatnonzero(found.distance > limit)
        if not len(far):
            return found, vectors, codes
        turned = [reverse_complement_codes(codes[i]) for i in far.tolist()]
        if self._both_strands:
            other_vectors = vectors[far]
        else:
            other_vectors, _ = self._engine.embed([decode(bases) for bases in turned])
        quick = self._finder.find(other_vectors, turned, size, align=self._align, thorough=False)
        nearer = np.flatnonzero(quick.distances[:, 0] < found.distance[far])
        if not len(nearer):
            return found, vectors, codes
        far, turned, other_vectors = far[nearer], [turned[i] for i in nearer.tolist()], other_vectors[nearer]
        other = self._find(other_vectors, turned, size, turned=True)
        # Without a related sequence, one strand is nearer by chance.
        related = ~other.unrelated if self.calibration is not None else other.likeness >= min(IDENTITIES)
        better = np.flatnonzero(related & (other.distance < found.distance[far]))
        rows = far[better]
        found.put(rows, other, better)
        vectors = np.array(vectors)
        vectors[rows] = other_vectors[better]
        new_codes = list(codes)
        for row, number in zip(rows.tolist(), better.tolist(), strict=True):
            new_codes[row] = turned[number]
        return found, vectors, new_codes

    def _find(self, vectors: FloatArray, codes: list[Codes], size: int, *, turned: bool) -> Findings:
        """Return the findings on queries of one strand."""
        candidates = self._finder.find(vectors, codes, size, align=self._align)
        evidence = weigh(candidates, self.labels)
        if self.criteria.consensus:
            evidence = consensus(evidence, candidates, self.labels, self.criteria.margin)
        all_queries = np.arange(len(codes))
        has_nearest = evidence.nearest >= 0
        column = np.maximum(evidence.nearest, 0)
        rows = np.where(has_nearest, candidates.rows[all_queries, column], -1)
        identity, coverage, likeness = self._identities(candidates, column, rows, codes)
        # A pair that was only scored counts as unrelated if its alignment turns out to cover only a few bases.
        shorter = np.minimum(candidates.lengths, self._finder.bases.lengths[rows])
        too_few = (candidates.overlaps[all_queries, column] < 0) & (
            coverage / 100 * candidates.lengths < MIN_COVERAGE * shorter
        )
        evidence = replace(evidence, distance=np.where(too_few, np.inf, evidence.distance))
        similarity = self._finder.cosines(vectors, rows[:, None])[:, 0]
        found = Findings.from_evidence(evidence, rows, (identity, coverage, likeness, similarity), turned)
        found.marker = np.where(has_nearest, self.labels.marker[rows], 0)
        calibration = self.calibration
        for marker in np.unique(found.marker) if calibration is not None else ():
            of_marker = np.flatnonzero(found.marker == marker)
            group = calibration.group(self.labels.markers[marker], self._align) if calibration else None
            if group is not None:
                found.learn(of_marker, group.outlook(evidence.part(of_marker), candidates.lengths[of_marker]))
                found.unrelated[of_marker] = evidence.distance[of_marker] >= group.limits(candidates.lengths[of_marker])
        return found

    def _identities(
        self, candidates: Candidates, column: Ints, rows: Ints, codes: list[Codes]
    ) -> tuple[Floats, Floats, Floats]:
        """Return how each query aligns to its nearest sequence.

        Returns:
            Identity and coverage in percent, as ``align`` reports them, and the share of the bases compared that agree,
            without N; 0 if too few bases align. NaN where unknown.
        """
        identity = np.full(len(codes), np.nan)
        coverage = np.full(len(codes), np.nan)
        likeness = np.full(len(codes), np.nan)
        if not self._align:
            return identity, coverage, likeness
        for i, row in enumerate(rows.tolist()):
            if row < 0:
                continue
            n_bases, mismatches = int(candidates.bases[i, column[i]]), candidates.mismatches[i, column[i]]
            likeness[i] = 1 - mismatches / n_bases if n_bases and not candidates.lacking[i, column[i]] else 0
            overlap = int(candidates.overlaps[i, column[i]])
            if overlap > 0:
                identity[i] = 100 * (n_bases - mismatches) / overlap
                coverage[i] = 100 * overlap / len(codes[i])
                continue
            target = self._finder.bases.codes(row)
            if too_long(len(codes[i]), len(target)):
                continue
            found = align(decode(codes[i]).decode(), [decode(target).decode()], strand="plus")[0]
            identity[i] = 0.0 if found is None else found.identity
            coverage[i] = 0.0 if found is None else found.query_coverage
        return identity, coverage, likeness
