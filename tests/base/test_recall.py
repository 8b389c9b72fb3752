"""Recall by its definition: which hits count, and at which width a search is wide enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from ednabed.base.recall import Measured, Pairs, Target, Trial
from ednabed.base.topk import lengths, unit

ROWS = np.array([3, 10, 59])
VECTORS = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
TARGET = Target(members=0.99, strangers=0.99, noise=1.0)


def blocks(vectors: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    for first in range(0, len(vectors), 7):
        block = vectors[first : first + 7]
        yield np.arange(first, first + len(block)), block, lengths(block)


def trial(target: Target = TARGET) -> Trial:
    return Trial(VECTORS[ROWS], ROWS, blocks(VECTORS), target)


def nearest_others(made: Trial, with_itself: bool = False) -> Callable[[int, int], Iterator[Pairs]]:
    """A search that finds as many of the nearest other rows as it visits lists."""
    scores = made.queries @ unit(VECTORS).T
    row_of_query = [*ROWS.tolist(), -1, -1, -1]

    def search(nprobe: int, factor: int) -> Iterator[Pairs]:
        for query in range(len(made.queries)):
            order = np.argsort(-scores[query])
            order = order[order != row_of_query[query]][:nprobe]
            if with_itself and row_of_query[query] >= 0:
                order = np.append(order, row_of_query[query])
            yield np.full(len(order), query), order, scores[query, order]

    return search


def test_the_first_width_that_reaches_the_target_is_returned():
    made = trial()
    assert made.k == 10
    search = nearest_others(made)
    assert made.narrowest([(4, 1), (10, 3), (20, 3)], 100, search) == Measured(10, 3, 1.0, 1.0, 3, True)
    found = made.narrowest([(4, 1), (8, 1), (9, 2)], 100, search)
    assert found is not None
    assert (found.nprobe, found.factor, found.reached) == (9, 2, False)
    assert (found.recall, found.recall_strangers) == pytest.approx((0.9, 0.9))


def test_no_more_lists_are_visited_than_there_are():
    made = trial()
    assert made.narrowest([(4, 1), (64, 1), (128, 1)], 10, nearest_others(made)) == Measured(10, 1, 1.0, 1.0, 3, True)


def test_the_row_of_the_query_itself_does_not_count():
    made = trial()
    found = made.narrowest([(9, 1)], 100, nearest_others(made, with_itself=True))
    assert found is not None and found.recall == pytest.approx(0.9)


def test_ties_are_not_errors():
    vectors = np.repeat(VECTORS[:3], 20, axis=0)
    rows = np.array([0, 20, 40])
    made = Trial(vectors[rows], rows, blocks(vectors), TARGET)

    def search(nprobe: int, factor: int) -> Iterator[Pairs]:
        """The last ten of the twenty rows with the vector that is nearest to each query."""
        scores = made.queries @ unit(vectors).T
        group = np.argmax(scores[:, ::20], axis=1)
        row = (20 * group[:, None] + np.arange(10, 20)).ravel()
        query = np.repeat(np.arange(6), 10)
        yield query, row, scores[query, row]

    assert made.narrowest([(1, 1)], 1, search) == Measured(1, 1, 1.0, 1.0, 3, True)


def test_members_and_strangers_have_targets_of_their_own():
    for target, reached in ((Target(0.89, 0.95, 1.0), False), (Target(0.89, 0.89, 1.0), True)):
        made = trial(target)
        found = made.narrowest([(9, 1)], 100, nearest_others(made))
        assert found is not None and found.reached == reached


@pytest.mark.parametrize(("count", "k"), [(1, 0), (2, 1), (5, 4), (11, 10), (12, 10)])
def test_few_rows(count, k):
    made = Trial(VECTORS[:1], np.array([0]), blocks(VECTORS[:count]), TARGET)
    assert made.k == k
    found = made.narrowest([(1, 1)], 1, lambda nprobe, factor: iter(()))
    assert found == (None if k == 0 else Measured(1, 1, 0.0, 0.0, 1, False))


def test_strangers_are_as_far_as_the_noise_puts_them():
    vectors = np.random.default_rng(1).standard_normal((40, 512)).astype(np.float32)
    for noise in (0.0, 1.0, 2.0):
        made = Trial(vectors, np.arange(40), blocks(vectors), Target(1, 1, noise))
        members, strangers = np.split(made.queries, 2)
        assert lengths(made.queries) == pytest.approx(np.ones(80), abs=1e-6)
        assert np.einsum("nd,nd->n", members, strangers).mean() == pytest.approx(1 / np.sqrt(1 + noise**2), abs=0.02)
