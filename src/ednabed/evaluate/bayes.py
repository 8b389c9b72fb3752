"""Multinomial naive Bayes on 7-mers as a method, the way of QIIME 2's ``classify-sklearn``.

Bokulich et al. 2018, 10.1186/s40168-018-0470-z; settings of q2-feature-classifier: hashed 7-mers (8,192 features, the
blank at each end included, Euclidean norm 1), a class for each lineage, smoothing 0.001, all classes equally likely
before. scikit-learn counts the words; the classifier is computed here, because scikit-learn's own needs the memory of a
dense table of records by classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ednabed.evaluate.external import Queries
from ednabed.evaluate.predictions import Classify, Prediction
from ednabed.evaluate.splits import Labelled
from ednabed.sequences.lineage import RANKS, Lineage

WORD, FEATURES, SMOOTHING = 7, 8_192, 0.001
CONFIDENT = 0.7
"""Confidence from which QIIME 2 gives a name by default."""

_AT_ONCE = 256

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class NaiveBayes:
    """The lineage of the largest posterior; the confidence of its name at a rank is the posterior of all classes there.

    These are the classes that share all names down to that rank, as QIIME 2 sums them on its way from the top; so
    confidences never rise downward. A name is given where its confidence reaches ``CONFIDENT``. One thread is used.
    Memory: 32 kB for each lineage.
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
        """Count the words of every lineage; ``threads`` are not used."""
        classes = sorted({record.lineage for record in training})
        number = {lineage: i for i, lineage in enumerate(classes)}
        own = np.array([number[record.lineage] for record in training], np.int64)
        weights = log_likelihoods(count_words([record.sequence for record in training]), own, len(classes))
        first, end = prefix_ranges(classes)

        def classify(queries: Queries) -> list[Prediction]:
            found: list[Prediction] = []
            for start in range(0, len(queries), _AT_ONCE):
                block = queries[start : start + _AT_ONCE]
                posterior = posteriors(count_words([sequence for _, sequence in block]), weights)
                best = posterior.argmax(axis=1)
                total = np.concatenate([np.zeros((len(block), 1)), np.cumsum(posterior, axis=1)], axis=1)
                rows = np.arange(len(block))[:, None]
                confidences = np.clip(total[rows, end[best]] - total[rows, first[best]], 0, 1)
                found += [
                    _prediction(name, classes[c], told)
                    for (name, _), c, told in zip(block, best.tolist(), confidences.tolist(), strict=True)
                ]
            return found

        yield classify


def count_words(sequences: Sequence[str]) -> Any:
    """Return hashed 7-mer counts of Euclidean norm 1, a sparse matrix of shape (len(sequences), 8192)."""
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(
        analyzer="char_wb", ngram_range=(WORD, WORD), n_features=FEATURES, alternate_sign=False, norm="l2"
    )
    return vectorizer.transform(sequences)


def log_likelihoods(words: Any, classes: Ints, number: int) -> npt.NDArray[np.float32]:
    """Return the logarithm of the share of each word in each class, smoothed by ``SMOOTHING``.

    Args:
        words: Of the records, sparse, shape (records, 8192).
        classes: Class of each record, int64, shape (records,); every class has one.
        number: Of classes.

    Returns:
        float32, shape (8192, number): features first, because a query has few of them.
    """
    from scipy import sparse

    belongs = sparse.csr_array((np.ones(len(classes)), (np.arange(len(classes)), classes)), (len(classes), number))
    table = np.asarray((sparse.csr_array(words).T @ belongs).astype(np.float32).toarray(order="C"))
    table += SMOOTHING
    sums = np.log(table.sum(axis=0, dtype=np.float64)).astype(np.float32)
    np.log(table, out=table)
    table -= sums
    return table


def posteriors(words: Any, weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the posterior of each class, all equally likely before.

    Args:
        words: Of the queries, sparse, shape (q, 8192).
        weights: As ``log_likelihoods`` returns them, shape (8192, classes).

    Returns:
        float64, shape (q, classes); rows sum to 1.
    """
    joint = np.asarray(words.astype(np.float32) @ weights, np.float64)
    joint -= joint.max(axis=1, keepdims=True)
    np.exp(joint, out=joint)
    joint /= joint.sum(axis=1, keepdims=True)
    return joint


def prefix_ranges(classes: Sequence[Lineage]) -> tuple[Ints, Ints]:
    """Return where the classes that share a class's names down to each rank begin and end, int64, shape (n, 7) each.

    Args:
        classes: Sorted lineages.
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


def _prediction(query: str, names: Lineage, told: list[float]) -> Prediction:
    confidences = tuple(value if name else None for name, value in zip(names, told, strict=True))
    given = tuple(value is not None and value >= CONFIDENT for value in confidences)
    return Prediction(query, names, confidences=confidences, given=given, novelty=tuple(1 - value for value in told))
