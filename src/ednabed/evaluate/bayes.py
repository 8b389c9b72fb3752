"""Multinomial naive Bayes on 7-mers as a method, following QIIME 2's ``classify-sklearn``.

Bokulich et al. 2018, 10.1186/s40168-018-0470-z; settings of q2-feature-classifier: hashed 7-mers (8,192 features, the
space at each end included, Euclidean norm 1), one class for each lineage, smoothing 0.001, a uniform prior.
scikit-learn counts the 7-mers; the classifier is computed here, because scikit-learn's classifier needs the memory of a
dense table of records by classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ednabed.base.arrays import FloatArray, Floats, Ints
from ednabed.evaluate.external import Queries
from ednabed.evaluate.predictions import Classify, Prediction
from ednabed.evaluate.splits import Labelled
from ednabed.sequences.lineage import RANKS, Lineage

WORD, FEATURES, SMOOTHING = 7, 8_192, 0.001
CONFIDENT = 0.7
"""Minimum confidence at which QIIME 2 gives a name by default."""

_BLOCK_QUERIES = 256


@dataclass(frozen=True)
class NaiveBayes:
    """The lineage with the largest posterior; its confidence at a rank is the summed posterior of the classes there.

    The sum is over the classes that share all names down to that rank, as QIIME 2 computes it from the top rank down,
    so confidences never increase towards lower ranks. A name is given if its confidence reaches ``CONFIDENT``. One
    thread is used. Memory: 32 kB for each lineage.
    """

    name: str = "naive-bayes"

    @property
    def settings(self) -> str:
        """Version and options."""
        import sklearn

        return (
            f"scikit-learn {sklearn.__version__}: HashingVectorizer char_wb {WORD}-mers, {FEATURES} features, "
            f"multinomial naive Bayes, alpha {SMOOTHING:g}, uniform prior, names given from {CONFIDENT:g}, one thread"
        )

    @contextmanager
    def prepare(self, training: Sequence[Labelled], threads: int) -> Iterator[Classify]:
        """Count the 7-mers of every lineage; ``threads`` is ignored."""
        classes = sorted({record.lineage for record in training})
        number = {lineage: i for i, lineage in enumerate(classes)}
        record_classes = np.array([number[record.lineage] for record in training], np.int64)
        weights = log_likelihoods(count_words([record.sequence for record in training]), record_classes, len(classes))
        first, end = prefix_ranges(classes)

        def classify(queries: Queries) -> list[Prediction]:
            found: list[Prediction] = []
            for start in range(0, len(queries), _BLOCK_QUERIES):
                block = queries[start : start + _BLOCK_QUERIES]
                posterior = posteriors(count_words([sequence for _, sequence in block]), weights)
                best = posterior.argmax(axis=1)
                total = np.concatenate([np.zeros((len(block), 1)), np.cumsum(posterior, axis=1)], axis=1)
                rows = np.arange(len(block))[:, None]
                confidences = np.clip(total[rows, end[best]] - total[rows, first[best]], 0, 1)
                found += [
                    _prediction(name, classes[c], by_rank)
                    for (name, _), c, by_rank in zip(block, best.tolist(), confidences.tolist(), strict=True)
                ]
            return found

        yield classify


def count_words(sequences: Sequence[str]) -> Any:
    """Return hashed 7-mer counts with Euclidean norm 1, a sparse matrix of shape (len(sequences), 8192)."""
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(
        analyzer="char_wb", ngram_range=(WORD, WORD), n_features=FEATURES, alternate_sign=False, norm="l2"
    )
    return vectorizer.transform(sequences)


def log_likelihoods(words: Any, classes: Ints, number: int) -> FloatArray:
    """Return the logarithm of the share of each 7-mer in each class, smoothed by ``SMOOTHING``.

    Args:
        words: 7-mer counts of the records, sparse, shape (records, 8192).
        classes: Class of each record, int64, shape (records,); every class has at least one record.
        number: Number of classes.

    Returns:
        float32, shape (8192, number): features first, because a query has only few of them.
    """
    from scipy import sparse

    membership = sparse.csr_array((np.ones(len(classes)), (np.arange(len(classes)), classes)), (len(classes), number))
    table = np.asarray((sparse.csr_array(words).T @ membership).astype(np.float32).toarray(order="C"))
    table += SMOOTHING
    sums = np.log(table.sum(axis=0, dtype=np.float64)).astype(np.float32)
    np.log(table, out=table)
    table -= sums
    return table


def posteriors(words: Any, weights: FloatArray) -> Floats:
    """Return the posterior of each class under a uniform prior.

    Args:
        words: 7-mer counts of the queries, sparse, shape (q, 8192).
        weights: Log likelihoods as returned by ``log_likelihoods``, shape (8192, classes).

    Returns:
        float64, shape (q, classes); rows sum to 1.
    """
    joint = np.asarray(words.astype(np.float32) @ weights, np.float64)
    joint -= joint.max(axis=1, keepdims=True)
    np.exp(joint, out=joint)
    joint /= joint.sum(axis=1, keepdims=True)
    return joint


def prefix_ranges(classes: Sequence[Lineage]) -> tuple[Ints, Ints]:
    """Return the first and end index of the classes that share the names of each class down to each rank.

    Args:
        classes: Sorted lineages.

    Returns:
        Two arrays, int64, shape (n, 7) each.
    """
    n = len(classes)
    first, end = np.zeros((n, len(RANKS)), np.int64), np.full((n, len(RANKS)), n, np.int64)
    for rank in range(len(RANKS)):
        start = 0
        for i in range(1, n + 1):
            if i == n or classes[i][: rank + 1] != classes[start][: rank + 1]:
                first[start:i, rank], end[start:i, rank] = start, i
                start = i
    return first, end


def _prediction(query: str, names: Lineage, by_rank: list[float]) -> Prediction:
    confidences = tuple(value if name else None for name, value in zip(names, by_rank, strict=True))
    given = tuple(value is not None and value >= CONFIDENT for value in confidences)
    return Prediction(query, names, confidences=confidences, given=given, novelty=tuple(1 - value for value in by_rank))
