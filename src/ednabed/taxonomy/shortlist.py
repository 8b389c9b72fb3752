"""Shortlist the sequences of a collection that are worth comparing with a query, by their vectors.

Every vector is compared (``exact`` search), because an index built for sequences in the reference finds the distant
relatives of a new species less well. The cosine of the vectors of two complete sequences is low if one sequence is a
piece of the other; for k-mer profiles it is at best sqrt(shorter / longer). Therefore cosines are also multiplied by
(longer / shorter) ** ``exponent``: 0 gives the cosine, 0.5 the share of the shorter sequence's k-mers that the longer
one contains (containment), which prefers sequences that are long, or short. Neither is best everywhere: 0.25 finds the
full barcode of a piece, 0 the distant relatives of a full barcode. Both lists are used (figures in
``docs/accuracy.md``).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from ednabed.base.arrays import FloatArray, Ints
from ednabed.base.topk import unit
from ednabed.models.spec import Spec
from ednabed.reference.collection import Block

QUERY_ROWS = 512
_HISTOGRAM = "histogram"


def default_exponents(spec: Spec) -> tuple[float, ...]:
    """Return the exponents for a function: 0 and 0.25 for k-mer counts, 0 for other vectors."""
    return (0.0, 0.25) if spec.pooling == _HISTOGRAM else (0.0,)


def shortlist(
    blocks: Iterable[Block],
    lengths: Ints,
    queries: FloatArray,
    query_lengths: Ints,
    k: int,
    exponents: Sequence[float],
    left_out: tuple[Ints, Ints] | None = None,
) -> Ints:
    """Choose candidates for queries.

    Args:
        blocks: (rows, vectors, norms) of the collection, block by block (``Collection.blocks``).
        lengths: Length in bases of each row of the collection, shape (rows,), at least 1.
        queries: Vectors, float32, shape (q, d), any length but 0.
        query_lengths: Length in bases of each query, shape (q,), at least 1.
        k: Candidates per query and exponent.
        exponents: See the module; e of them.
        left_out: A group of each row, shape (rows,), and of each query, shape (q,): rows of a query's own group are not
            candidates. None leaves nothing out.

    Returns:
        Rows, int64, shape (q, k * e): the best of each exponent, the second best of each, and so on; -1 where there are
        no more, and where a row is already in the list.
    """
    queries = unit(queries)
    lists = [_Best(len(queries), k) for _ in exponents]
    # Queries of one length share the length weights of an exponent.
    order = np.argsort(query_lengths, kind="stable")
    for numbers, vectors, norms in blocks:
        # One vector that is not finite would mask all others of the block.
        good = np.isfinite(norms) & (norms > 0)
        if not good.all():
            numbers, vectors, norms = numbers[good], vectors[good], norms[good]
        if not len(numbers):
            continue
        scale = (1 / norms).astype(np.float32)
        row_lengths = lengths[numbers].astype(np.float32)
        for first in range(0, len(queries), QUERY_ROWS):
            batch = order[first : first + QUERY_ROWS]
            cosine = queries[batch] @ vectors.T
            cosine *= scale
            if left_out is not None:
                cosine[left_out[0][numbers] == left_out[1][batch, None]] = -np.inf
            for exponent, best in zip(exponents, lists, strict=True):
                score = _by_length(cosine, row_lengths, query_lengths[batch], exponent) if exponent else cosine
                best.take(batch, score, numbers)
    rows = np.stack([best.sorted() for best in lists], axis=2).reshape(len(queries), -1)
    order = np.argsort(rows, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, 1)
    repeated = np.zeros(rows.shape, bool)
    np.put_along_axis(repeated, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], 1)
    rows[repeated] = -1
    return rows


def _by_length(cosine: FloatArray, row_lengths: FloatArray, query_lengths: Ints, exponent: float) -> FloatArray:
    """Return cosines times (longer / shorter) ** exponent; queries are sorted by length."""
    score = cosine.copy()
    bounds = [0, *(np.flatnonzero(np.diff(query_lengths)) + 1).tolist(), len(query_lengths)]
    for first, last in itertools.pairwise(bounds):
        ratio = row_lengths / np.float32(query_lengths[first])
        np.maximum(ratio, 1 / ratio, out=ratio)
        # Negative cosines are not scaled.
        part = score[first:last]
        np.multiply(part, ratio ** np.float32(exponent), out=part, where=part > 0)
    return score


class _Best:
    """The best ``k`` rows of each query so far."""

    def __init__(self, queries: int, k: int) -> None:
        self._scores = np.full((queries, k), -np.inf, np.float32)
        self._rows = np.full((queries, k), -1, np.int64)

    def take(self, queries: Ints, score: FloatArray, numbers: Ints) -> None:
        """Add the scores of a block for some queries."""
        # Only scores that are better than the worst one held are examined, which are few in later blocks: partitioning
        # the complete block takes five times as long.
        better = score > self._scores[queries].min(axis=1)[:, None]
        counts = np.count_nonzero(better, axis=1)
        many = counts > self._scores.shape[1]
        if many.any():
            k = self._scores.shape[1]
            chosen = np.argpartition(-score[many], k - 1, axis=1)[:, :k]
            self._join(queries[many], np.take_along_axis(score[many], chosen, 1), numbers[chosen])
            better, counts = better[~many], counts[~many]
            queries, score = queries[~many], score[~many]
        if not counts.any():
            return
        query, column = np.nonzero(better)
        within = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
        chosen = np.zeros((len(queries), int(counts.max())), np.int64)
        chosen[query, within] = column
        scores = np.full(chosen.shape, -np.inf, np.float32)
        scores[query, within] = score[query, column]
        self._join(queries, scores, numbers[chosen])

    def _join(self, queries: Ints, scores: FloatArray, rows: Ints) -> None:
        k = self._scores.shape[1]
        joined = np.concatenate([self._scores[queries], scores], axis=1)
        rows = np.concatenate([self._rows[queries], rows], axis=1)
        kept = np.argpartition(-joined, k - 1, axis=1)[:, :k]
        self._scores[queries] = np.take_along_axis(joined, kept, 1)
        self._rows[queries] = np.take_along_axis(rows, kept, 1)

    def sorted(self) -> Ints:
        """Return rows, best first; -1 where there are no more."""
        self._rows[~np.isfinite(self._scores)] = -1
        order = np.lexsort((self._rows, -self._scores), axis=1)
        return np.take_along_axis(self._rows, order, 1)
