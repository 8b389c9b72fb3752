"""Tests of k-mer profiles against a simple oracle and fixed numbers, and of their identity."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from itertools import product
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.engine.embed import Engine
from ednabed.errors import UsageError
from ednabed.models.base import Embedder
from ednabed.models.kmer import KmerEncoder
from ednabed.models.load import load_embedder
from ednabed.models.spec import Policy, Spec

SEQUENCE = "CCACCGCGGTTATACGAGAGGCCCAAGTTGAAAGACATCGGCGTAAAGAGTGGTTAAGTAAAAACTAAACTAAAGTCGAACATC"


def embed(sequences: list[str], k: int = 6, dimension: int | None = 512, policy: Policy | None = None):
    return Engine(Embedder.from_encoder(KmerEncoder(k, dimension), policy or Policy())).embed(
        [s.encode() for s in sequences]
    )


def places(k: int, dimension: int) -> dict[str, tuple[int, int]]:
    """Return bucket and sign of each k-mer, according to the documentation.

    The k-mers are sorted by the SHA-256 of ``ednabed `` and their bases; each in turn goes into the next bucket,
    cyclically, so that all buckets have the same size; the last bit of the hash is the sign.
    """
    if dimension == 4**k:
        return {"".join(kmer): (i, 1) for i, kmer in enumerate(product("ACGT", repeat=k))}
    hashed = sorted(
        (hashlib.sha256(f"ednabed {''.join(m)}".encode()).digest(), "".join(m)) for m in product("ACGT", repeat=k)
    )
    return {kmer: (i % dimension, 1 if digest[-1] & 1 else -1) for i, (digest, kmer) in enumerate(hashed)}


def oracle(sequence: str, k: int, dimension: int, table: dict[str, tuple[int, int]]) -> np.ndarray:
    counts = Counter(sequence[i : i + k] for i in range(len(sequence) - k + 1) if "N" not in sequence[i : i + k])
    total = sum(counts.values())
    vector = np.zeros(dimension)
    for kmer, count in counts.items():
        bucket, sign = table[kmer]
        vector[bucket] += sign * sqrt(count / total)
    norm = np.linalg.norm(vector)
    # With few buckets, all entries may cancel: then there is no direction to compare.
    return vector / norm if norm > 1e-3 else np.full(dimension, np.nan)


SIZES = [(1, 4), (2, 16), (2, 4), (3, 64), (3, 8), (4, 32), (6, 512), (6, 4096), (6, 256)]
TABLES = {size: places(*size) for size in SIZES}


@settings(max_examples=150)
@given(st.sampled_from(SIZES), st.lists(st.text("ACGTN", min_size=1, max_size=120), min_size=1, max_size=5))
def test_vectors_equal_the_oracle(size, sequences):
    k, dimension = size
    vectors, refused = embed(sequences, k, dimension)
    for i, sequence in enumerate(sequences):
        if any(len(part) >= k for part in sequence.split("N")):
            expected = oracle(sequence, k, dimension, TABLES[size])
            if np.isfinite(expected).all():
                np.testing.assert_allclose(vectors[i], expected, atol=1e-5)
        else:
            assert f"has no {k} consecutive bases without N" in refused[i]


def test_a_batch_larger_than_the_rows_counted_together():
    rng = np.random.default_rng(3)
    sequences = ["".join(rng.choice(list("ACGTN"), n, p=[0.24] * 4 + [0.04])) for n in rng.integers(30, 300, 200)]
    vectors, refused = embed(sequences)
    assert not refused
    expected = np.stack([oracle(s, 6, 512, TABLES[6, 512]) for s in sequences])
    np.testing.assert_allclose(vectors, expected, atol=2e-6)


def test_both_strands_equal_the_oracle():
    vectors, _ = embed([SEQUENCE], policy=Policy(strand="both"))
    other = SEQUENCE.translate(str.maketrans("ACGT", "TGCA"))[::-1]
    single, _ = embed([SEQUENCE, other])
    encoder = KmerEncoder()
    raw = encoder.forward(encoder.tokenize([SEQUENCE.encode(), other.encode()]))
    mean = raw.mean(axis=0)
    np.testing.assert_allclose(vectors[0], mean / np.linalg.norm(mean), atol=1e-6)
    swapped, _ = embed([other], policy=Policy(strand="both"))
    np.testing.assert_allclose(vectors, swapped, atol=1e-6)
    assert single[0] @ single[1] < 0.9


def test_fixed_numbers_of_one_sequence():
    """These numbers must never change: vectors with the same fingerprint must always be the same."""
    vector = embed([SEQUENCE])[0][0]
    filled = np.flatnonzero(vector)
    one = 0.11611312
    assert len(filled) == 67
    assert filled[:10].tolist() == [1, 5, 16, 20, 27, 33, 34, 42, 43, 51]
    np.testing.assert_allclose(
        vector[filled[:10]], [one, -one, one, -one, -one, -2 * one, -one, one, -one, one], atol=1e-7
    )
    digest = hashlib.sha256(np.rint(vector * 1e4).astype("<i4").tobytes()).hexdigest()
    assert digest == "ebc4e2918d15c9e80cbd24dc56c67fc3c043d026b6416f2f1d410c0657239a92"
    small = embed([SEQUENCE], 2, 4)[0][0]
    np.testing.assert_allclose(small, [-0.55604726, -0.49995986, -0.63103175, 0.2065197], atol=1e-6)


def test_fixed_fingerprints():
    """A changed fingerprint separates all stored vectors from all new ones; only a changed function may do that."""
    assert load_embedder("kmer6").spec.fingerprint == "f003ebff2bd26f06579a2216b3910f7c9b75e1b0237dd711f57be39802c596a8"
    assert (
        load_embedder("kmer6-full").spec.fingerprint
        == "9a75e0bcee0ae23924888336bd4f30569b99a71de4840daefa40543005db99d3"
    )
    assert Embedder.from_encoder(KmerEncoder(), Policy()).spec.fingerprint == load_embedder("kmer6").spec.fingerprint


def test_kmers_with_n_do_not_count_and_kmers_stay_within_rows():
    whole, _ = embed(["ACGTACGGT", "ACGTACGGT" + "N" * 7, "NNACGTACGGT", "ACGTACGGTNACGTA"])
    for vector in whole[1:]:
        np.testing.assert_allclose(vector, whole[0], atol=1e-6)
    alone, _ = embed(["ACGTACGGT"])
    company, _ = embed(["ACGTACGGT", "TTTTTTTT", "ACGTACGGT"])
    np.testing.assert_array_equal(company[[0, 2]], alone[[0, 0]])


@pytest.mark.parametrize("dimension", [512, 4096])
def test_repeats_of_a_few_bases_never_cancel_out(dimension):
    units = ["".join(unit) for n in range(1, 5) for unit in product("ACGT", repeat=n)]
    sequences = [(unit * 30)[:length] for unit in units for length in (20, 21, 22, 23, 60)]
    encoder = KmerEncoder(dimension=dimension)
    norms = np.linalg.norm(encoder.forward(encoder.tokenize([s.encode() for s in sequences])), axis=1)
    assert norms.min() > 0.5
    np.testing.assert_allclose(np.linalg.norm(embed(sequences, 6, dimension)[0], axis=1), 1, atol=1e-5)


def test_projected_inner_products_are_close_to_the_full_ones():
    rng = np.random.default_rng(11)
    parents = ["".join(rng.choice(list("ACGT"), 300)) for _ in range(20)]
    sequences = []
    for parent in parents:
        for rate in (0.0, 0.02, 0.1, 0.3):
            letters = np.array(list(parent))
            hit = rng.random(300) < rate
            letters[hit] = rng.choice(list("ACGT"), int(hit.sum()))
            sequences.append("".join(letters))
    full = embed(sequences, 6, 4096)[0]
    small = embed(sequences, 6, 512)[0]
    error = (small @ small.T - full @ full.T)[np.triu_indices(len(sequences), 1)]
    # Standard deviation of such a projection: at most about sqrt(2 / 512) = 0.06, less for similar profiles.
    assert abs(error.mean()) < 0.01
    assert error.std() < 0.07
    assert np.abs(error).max() < 0.35


@pytest.mark.parametrize("k", [0, -1, 9, 20])
def test_k_out_of_range_is_refused(k):
    with pytest.raises(UsageError, match="k from 1 to 8"):
        KmerEncoder(k)


@pytest.mark.parametrize("dimension", [0, -4, 3, 500, 8192])
def test_a_dimension_that_is_not_a_power_of_two_or_too_large_is_refused(dimension):
    with pytest.raises(UsageError, match="a power of two up to 4096"):
        KmerEncoder(6, dimension)


@pytest.mark.parametrize("k", [1, 8])
def test_the_ends_of_the_range_of_k(k):
    vectors, _ = embed([SEQUENCE], k, None)
    assert vectors.shape == (1, 4**k)
    counts = Counter(SEQUENCE[i : i + k] for i in range(len(SEQUENCE) - k + 1))
    assert np.count_nonzero(vectors) == len(counts)
    last = "T" * k
    assert embed([last * 2], k, None)[0][0].argmax() == 4**k - 1


def test_all_buckets_have_the_same_number_of_kmers():
    buckets = Counter(bucket for bucket, _ in TABLES[6, 512].values())
    assert set(buckets.values()) == {8}


SPEC = Embedder.from_encoder(KmerEncoder(), Policy()).spec
CHANGES = {
    "architecture": [{**SPEC.architecture, "k": 5}, {}],
    "weights": ["sha256:00"],
    "tokenizer": ["other"],
    "dimension": [256],
    "layer": [0, 1],
    "pooling": ["mean"],
    "max_tokens": [10, 1000],
    "strand": ["both"],
    "long": ["window", "reject"],
    "alphabet": ["strict"],
    "normalisation": ["none"],
}


def test_each_field_that_affects_a_vector_changes_the_fingerprint():
    prints = [SPEC.fingerprint]
    prints += [replace(SPEC, **{name: value}).fingerprint for name, values in CHANGES.items() for value in values]
    assert len(set(prints)) == len(prints)
    assert all(len(p) == 64 for p in prints)
    assert set(CHANGES) == set(Spec.__dataclass_fields__) - {"model", "licence", "revision"}


@given(
    st.sampled_from(["given", "both"]),
    st.sampled_from(["truncate", "window", "reject"]),
    st.sampled_from(["iupac", "strict"]),
)
def test_policies_have_their_own_fingerprints(strand, long, alphabet):
    policy = Policy(strand=strand, long=long, alphabet=alphabet)
    same = Embedder.from_encoder(KmerEncoder(), policy).spec.fingerprint == SPEC.fingerprint
    # No sequence is too long for k-mers, so the setting for long sequences does not change the function.
    assert same == (policy == Policy(long=long))


def test_names_do_not_change_the_fingerprint():
    renamed = replace(SPEC, model="other", licence="MIT", revision="abc")
    assert renamed.fingerprint == SPEC.fingerprint
    assert KmerEncoder(name="mine").architecture == KmerEncoder().architecture


@given(st.sampled_from([(name, value) for name, values in CHANGES.items() for value in values]))
def test_a_spec_survives_writing_and_reading(change):
    spec = replace(SPEC, **dict([change]))
    assert Spec.from_dict(spec.to_dict()) == spec


@pytest.mark.parametrize("wrong", [{"schema": 2}, {"schema": None}, {"extra": 1}])
def test_a_spec_of_another_schema_is_refused(wrong):
    with pytest.raises(ValueError, match=r"schema|field"):
        Spec.from_dict({**SPEC.to_dict(), **wrong})
