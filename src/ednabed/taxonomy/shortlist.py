"""The sequences of a collection that are worth comparing with a query, chosen by their vectors.

Every vector is compared (``exact`` search), because an index that was made for members finds the distant relatives of a
new species less well. The cosine of two whole-sequence profiles is low where one sequence is a piece of the other; for
k-mer profiles it is sqrt(shorter / longer) at best. So cosines are also multiplied by (longer / shorter) **
``exponent``: with 0 that is the cosine, with 0.5 the share of the shorter one's k-mers that the longer one holds
(containment), which prefers whatever is long, or short. Neither is best everywhere: 0.25 finds the full barcode of a
piece, 0 the distant relatives of a full barcode. So both lists are taken (figures in ``docs/accuracy.md``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from ednabed.models.base import FloatArray
from ednabed.models.spec import Spec
from ednabed.reference.collection import Block
from ednabed.reference.topk import unit

Ints = npt.NDArray[np.int64]
QUERY_ROWS = 512
_HISTOGRAM = "histogram"


def default_exponents(spec: Spec) -> tuple[float, ...]:
    """Return the exponents for a function: 0 and 0.25 for counts of k-mers, 0 for other vectors."""
    return (0.0, 0.25) if spec.pooling == _HISTOGRAM else (0.0,)


def shortlist(
    blocks: Iterable[Block],
    lengths: Ints,
    queries: FloatArray,
    query_lengths: Ints,
    k: int,
    exponents: Sequence[float],
    left_out: tuple[Ints, Ints] | None = None,
) -> tuple[Ints, npt.NDArray[np.float32]]:
    """Choose candidates for queries.

    Args:
        blocks: (rows, vectors, norms) of the collection, block by block (``Collection.blocks``).
        lengths: Letters of each row of the collection, shape (rows,), at least 1.
        queries: Vectors, float32, shape (q, d), any length but 0.
        query_lengths: Letters of each query, shape (q,), at least 1.
        k: Candidates a query and exponent.
        exponents: See the module; e of them.
        left_out: A group of each row, shape (rows,), and of each query, shape (q,): rows of a query's own group are no
            candidates. None leaves nothing out.

    Returns:
        Rows, int64, shape (q, k * e): the best of each exponent, the second best of each, and so on; -1 where there are
        no more, and where a row stands before. And their cosines, float32, same shape.
    """
    queries = unit(queries)
    lists = [_Best(len(queries), k) for _ in exponents]
    for numbers, vectors, norms in blocks:
        # One vector that is not finite would hide all others of the block.
        good = np.isfinite(norms) & (norms > 0)
        if not good.all():
            numbers, vectors, norms = numbers[good], vectors[good], norms[good]
        if not len(numbers):
            continue
        scale = (1 / norms).astype(np.float32)
        theirs = lengths[numbers].astype(np.float32)
        for first in range(0, len(queries), QUERY_ROWS):
            some = slice(first, first + QUERY_ROWS)
            cosine = queries[some] @ vectors.T
            cosine *= scale
            if left_out is not None:
                cosine[left_out[0][numbers] == left_out[1][some, None]] = -np.inf
            for exponent, best in zip(exponents, lists, strict=True):
                score = cosine
                if exponent:
                    own = query_lengths[some].astype(np.float32)
                    ratio = (theirs ** np.float32(exponent)) / (own ** np.float32(exponent))[:, None]
                    np.maximum(ratio, 1 / ratio, out=ratio)
                    # What is unlike is not made more unlike.
                    ratio[cosine < 0] = 1
                    score = cosine * ratio
                best.take(some, score, numbers, cosine)
    sorted_lists = [best.sorted() for best in lists]
    rows = np.stack([rows for rows, _ in sorted_lists], axis=2).reshape(len(queries), -1)
    cosines = np.stack([cosines for _, cosines in sorted_lists], axis=2).reshape(len(queries), -1)
    order = np.argsort(rows, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, 1)
    again = np.zeros(rows.shape, bool)
    np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], 1)
    rows[again] = -1
    return rows, cosines


class _Best:
    """The best ``k`` rows of each query so far."""

    def __init__(self, queries: int, k: int) -> None:
        self._scores = np.full((queries, k), -np.inf, np.float32)
        self._rows = np.full((queries, k), -1, np.int64)
        self._cosines = np.zeros((queries, k), np.float32)

    def take(self, some: slice, score: npt.NDArray[np.float32], numbers: Ints, cosine: npt.NDArray[np.float32]) -> None:
        """Take in what a block brings for some queries."""
        k = self._scores.shape[1]
        if score.shape[1] > k:
            chosen = np.argpartition(-score, k - 1, axis=1)[:, :k]
        else:
            chosen = np.broadcast_to(np.arange(score.shape[1]), score.shape)
        joined = np.concatenate([self._scores[some], np.take_along_axis(score, chosen, 1)], axis=1)
        rows = np.concatenate([self._rows[some], numbers[chosen]], axis=1)
        cosines = np.concatenate([self._cosines[some], np.take_along_axis(cosine, chosen, 1)], axis=1)
        kept = np.argpartition(-joined, k - 1, axis=1)[:, :k]
        self._scores[some] = np.take_along_axis(joined, kept, 1)
        self._rows[some] = np.take_along_axis(rows, kept, 1)
        self._cosines[some] = np.take_along_axis(cosines, kept, 1)

    def sorted(self) -> tuple[Ints, npt.NDArray[np.float32]]:
        """Return rows and cosines, best first; -1 where there are no more."""
        self._rows[~np.isfinite(self._scores)] = -1
        order = np.lexsort((self._rows, -self._scores), axis=1)
        return np.take_along_axis(self._rows, order, 1), np.take_along_axis(self._cosines, order, 1)
