"""Naive Bayes on k-mers: compared with a plain oracle and with scikit-learn, and as a method."""

from __future__ import annotations

import random

import numpy as np
import pytest

from ednabed.evaluate.bayes import SMOOTHING, NaiveBayes, count_words, log_likelihoods, posteriors, prefix_ranges
from ednabed.evaluate.splits import Labelled

draw = random.Random(11)


def dna(length=60):
    return "".join(draw.choices("ACGT", k=length))


def changed(sequence, share):
    return "".join(draw.choice("ACGT") if draw.random() < share else c for c in sequence)


def lineage(genus, species):
    return ("K", "P", "C", "O", "F", genus, f"{genus} {species}" if species else "")


STEMS = {"A": dna(), "B": dna()}
NAMES = [lineage("A", "x"), lineage("A", "y"), lineage("B", "z"), lineage("B", "")]
TRAINING = [Labelled(f"{i}", changed(STEMS[NAMES[i % 4][5]], 0.05), NAMES[i % 4]) for i in range(12)]
QUERIES = [(f"q{i}", changed(STEMS["AB"[i % 2]], 0.1)) for i in range(7)]


def plain(training, queries):
    """Compute posteriors by definition, class by class and query by query, from the features of scikit-learn."""
    words = count_words([record.sequence for record in training]).toarray()
    query_words = count_words([sequence for _, sequence in queries]).toarray()
    classes = sorted({record.lineage for record in training})
    joint = np.zeros((len(queries), len(classes)))
    for c, names in enumerate(classes):
        total = sum(row for row, record in zip(words, training, strict=True) if record.lineage == names) + SMOOTHING
        joint[:, c] = query_words @ np.log(total / total.sum())
    likelihood = np.exp(joint - joint.max(axis=1, keepdims=True))
    return classes, likelihood / likelihood.sum(axis=1, keepdims=True)


def test_words_are_counted_as_qiime_2_counts_them():
    rows = count_words(["ACGTACGTACGT", "ACGTACGTACGT" * 2, "ACG"])
    assert rows.shape == (3, 8192)
    assert np.sqrt(rows.multiply(rows).sum(axis=1)) == pytest.approx(1)
    # Six 7-mers (four of them distinct), and one with a space at either end.
    assert rows[[0]].nnz == 6
    assert rows.min() == 0


def test_posteriors_match_the_definition_and_scikit_learn():
    from sklearn.naive_bayes import MultinomialNB

    classes, defined = plain(TRAINING, QUERIES)
    record_classes = np.array([classes.index(record.lineage) for record in TRAINING])
    words = count_words([record.sequence for record in TRAINING])
    query_words = count_words([sequence for _, sequence in QUERIES])
    found = posteriors(query_words, log_likelihoods(words, record_classes, len(classes)))
    np.testing.assert_allclose(found, defined, atol=1e-4)
    theirs = MultinomialNB(alpha=SMOOTHING, fit_prior=False).fit(words, record_classes)
    np.testing.assert_allclose(found, theirs.predict_proba(query_words), atol=1e-4)


def test_the_confidence_at_a_rank_is_the_sum_over_all_classes_below_it():
    classes, defined = plain(TRAINING, QUERIES)
    with NaiveBayes().prepare(TRAINING, 1) as classify:
        found = classify(QUERIES)
        assert classify([]) == []
    for (name, _), prediction, row in zip(QUERIES, found, defined, strict=True):
        best = classes[row.argmax()]
        assert (prediction.id, prediction.names) == (name, best)
        genus = sum(p for p, names in zip(row, classes, strict=True) if names[5] == best[5])
        assert prediction.confidences[:5] == pytest.approx((1,) * 5)
        assert prediction.confidences[5] == pytest.approx(genus, abs=1e-4)
        if best[6]:
            assert prediction.confidences[6] == pytest.approx(row.max(), abs=1e-4)
        else:
            assert prediction.confidences[6] is None
        assert prediction.given == tuple(c is not None and c >= 0.7 for c in prediction.confidences)
    assert {prediction.names[5] for prediction in found} == {"A", "B"}


def test_classes_that_share_names_are_contiguous():
    classes = sorted([*NAMES, ("K", "Q", "", "", "", "A", "A x")])
    first, end = prefix_ranges(classes)
    for i, names in enumerate(classes):
        for rank in range(7):
            alike = [j for j, other in enumerate(classes) if other[: rank + 1] == names[: rank + 1]]
            assert alike == list(range(first[i, rank], end[i, rank]))


def test_settings_contain_the_version():
    assert NaiveBayes().settings.startswith("scikit-learn 1")
