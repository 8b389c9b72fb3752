"""The loss, compared with its definition in plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ednabed.training.objective import losses


def by_definition(vectors, records, taxa, temperature) -> dict[str, float]:
    n = len(records)
    similar = np.exp(vectors @ vectors.T / temperature)

    def same(rank, i, j):
        return taxa[rank][i] >= 0 and taxa[rank][i] == taxa[rank][j]

    def known(rank, i, j):
        return taxa[rank][i] >= 0 and taxa[rank][j] >= 0

    rules = {
        "record": (
            lambda i, j: i != j and records[i] == records[j],
            lambda i, j: records[i] != records[j] and not same("species", i, j),
        ),
        "species": (
            lambda i, j: same("species", i, j) and records[i] != records[j],
            lambda i, j: known("species", i, j) and not same("species", i, j),
        ),
        "genus": (
            lambda i, j: same("genus", i, j) and not same("species", i, j) and records[i] != records[j],
            lambda i, j: known("genus", i, j) and not same("genus", i, j),
        ),
        "family": (
            lambda i, j: same("family", i, j) and not same("genus", i, j),
            lambda i, j: known("family", i, j) and not same("family", i, j),
        ),
    }
    found = {}
    for name, (positive, negative) in rules.items():
        view_losses = []
        for i in range(n):
            p = [similar[i, j] for j in range(n) if positive(i, j)]
            q = [similar[i, j] for j in range(n) if negative(i, j)]
            if p and q:
                view_losses.append(-np.log(sum(p) / (sum(p) + sum(q))))
        found[name] = float(np.mean(view_losses)) if view_losses else 0.0
    return found


@pytest.mark.parametrize("seed", range(4))
def test_each_loss_matches_its_definition(seed):
    rng = np.random.default_rng(seed)
    records = np.concatenate([np.arange(12), np.arange(12)])
    genus = rng.integers(-1, 5, 12)
    species = np.where((genus >= 0) & (rng.random(12) < 0.8), genus * 2 + rng.integers(0, 2, 12), -1)
    family = np.where(genus >= 0, genus // 2, -1)
    taxa = {name: values[records] for name, values in (("species", species), ("genus", genus), ("family", family))}
    vectors = rng.standard_normal((24, 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = losses(torch.from_numpy(vectors), records, taxa, 0.2)
    defined = by_definition(vectors, records, taxa, 0.2)
    for name, value in defined.items():
        assert float(found[name]) == pytest.approx(value, abs=1e-6), name


def test_questions_without_pairs_have_zero_loss_and_finite_gradients():
    vectors = torch.nn.functional.normalize(torch.randn(4, 3), dim=1).requires_grad_()
    unknown = np.full(4, -1)
    found = losses(vectors, np.array([0, 1, 0, 1]), {"species": unknown, "genus": unknown, "family": unknown}, 0.1)
    assert [float(found[name]) for name in ("species", "genus", "family")] == [0, 0, 0]
    assert float(found["record"]) > 0
    sum(found.values()).backward()
    assert torch.isfinite(vectors.grad).all()
