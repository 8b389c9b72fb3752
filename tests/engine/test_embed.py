"""The embedding loop: batch contents and order never change a vector; back-off; failures name their record."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.engine.embed import Engine
from ednabed.errors import EmbeddingError, UsageError
from ednabed.models.base import Embedder, Encoder, Tokens
from ednabed.models.kmer import KmerEncoder
from ednabed.models.load import load_embedder
from ednabed.models.spec import Policy
from support import LetterEncoder, expected, letters

DNA = st.text("ACGTN", min_size=1, max_size=60)
MANY = st.lists(DNA, min_size=1, max_size=25)


def kmer(policy: Policy | None = None) -> Embedder:
    return Embedder.from_encoder(KmerEncoder(), policy or Policy())


def encoded(sequences: list[str]) -> list[bytes]:
    return [s.encode() for s in sequences]


def streamed(engine: Engine, sequences: list[str]) -> dict[int, np.ndarray]:
    """Return all vectors by position; check that each position occurs once and none is both embedded and refused."""
    refused, batches = engine.stream(encoded(sequences))
    found: dict[int, np.ndarray] = {}
    for batch in batches:
        assert batch.vectors.dtype == np.float32
        assert len(batch.index) == len(batch.vectors) == len(batch.truncated)
        for i, vector in zip(batch.index.tolist(), batch.vectors, strict=True):
            assert i not in found
            found[i] = vector
    assert not set(found) & set(refused)
    assert set(found) | set(refused) == set(range(len(sequences)))
    return found


@given(MANY, st.integers(1, 200), st.none() | st.integers(1, 5), st.randoms(use_true_random=False))
def test_no_vector_depends_on_order_batch_budget_or_duplicates(sequences, budget, batch_size, random):
    shuffled = sequences + [random.choice(sequences) for _ in range(3)]
    random.shuffle(shuffled)
    vectors, refused = Engine(letters(), batch_size, budget).embed(encoded(shuffled))
    assert not refused
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, np.stack([expected(s) for s in shuffled]), atol=1e-6)


@given(MANY, st.integers(1, 200), st.none() | st.integers(1, 5))
def test_stream_gives_each_position_once_and_keeps_to_budget_and_cap(sequences, budget, batch_size):
    embedder = letters()
    found = streamed(Engine(embedder, batch_size, budget), sequences)
    for i, sequence in enumerate(sequences):
        np.testing.assert_allclose(found[i], expected(sequence), atol=1e-6)
    assert sum(embedder.encoder.batches) == len(sequences)
    if batch_size is not None:
        assert max(embedder.encoder.batches) <= batch_size


class Watching(LetterEncoder):
    """Records the number of tokens of each batch, special tokens included."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.tokens: list[tuple[int, int]] = []

    def forward(self, tokens: Tokens):
        self.tokens.append((len(tokens), int(tokens.lengths.sum()) + len(tokens)))
        return super().forward(tokens)


@given(MANY, st.integers(1, 300))
def test_a_batch_is_within_the_budget_or_a_single_sequence_and_longest_come_first(sequences, budget):
    encoder = Watching()
    streamed(Engine(Embedder.from_encoder(encoder, Policy()), token_budget=budget), sequences)
    assert all(rows == 1 or tokens <= budget for rows, tokens in encoder.tokens)
    per_row = [tokens / rows for rows, tokens in encoder.tokens]
    assert per_row == sorted(per_row, reverse=True)


def test_duplicates_are_computed_once():
    embedder = letters()
    vectors, _ = Engine(embedder).embed([b"ACGT", b"AAAA", b"ACGT", b"ACGT"])
    assert embedder.encoder.rows == 2
    assert np.array_equal(vectors[0], vectors[2])


@settings(max_examples=40)
@given(
    st.lists(st.text("ACGTN", min_size=20, max_size=80), min_size=1, max_size=80),
    st.sampled_from(["given", "both"]),
    st.integers(1, 500),
    st.none() | st.integers(1, 7),
    st.randoms(use_true_random=False),
)
def test_kmer_vectors_do_not_depend_on_the_batch(sequences, strand, budget, batch_size, random):
    embedder = kmer(Policy(strand=strand))
    order = list(range(len(sequences)))
    random.shuffle(order)
    together, refused = Engine(embedder, batch_size, budget).embed(encoded([sequences[i] for i in order]))
    for position, i in enumerate(order):
        alone, refused_alone = Engine(embedder).embed([sequences[i].encode()])
        assert (position in refused) == (0 in refused_alone)
        np.testing.assert_allclose(together[position], alone[0], atol=1e-6)


@pytest.mark.parametrize("layout", ["v1", "v2"])
@pytest.mark.parametrize("policy", [Policy(), Policy(strand="both", long="window", max_tokens=8)])
def test_nt_vectors_do_not_depend_on_the_batch(shared, layout, policy):
    folder = shared / "golden" / "nt_tiny" / layout
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    embedder = load_embedder(str(folder), policy)
    rng = np.random.default_rng(7)
    sequences = ["".join(rng.choice(list("ACGTN"), n, p=[0.24] * 4 + [0.04])) for n in rng.integers(20, 120, 30)]
    alone = np.concatenate([Engine(embedder).embed([s.encode()])[0] for s in sequences])
    for seed, budget, batch_size in ((1, 40, None), (2, 10_000, 3), (3, 10_000, None), (4, 1, None)):
        order = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sequences)), 2))
        together, refused = Engine(embedder, batch_size, budget).embed([sequences[i].encode() for i in order])
        assert not refused
        np.testing.assert_allclose(together, alone[order], atol=1e-5)


def test_empty_input_gives_empty_output():
    for embedder in (letters(), kmer(), letters(Policy(strand="both")), kmer(Policy(strand="both"))):
        vectors, refused = Engine(embedder).embed([])
        assert vectors.shape == (0, embedder.spec.dimension)
        assert refused == {}
        refused, batches = Engine(embedder).stream([])
        assert refused == {}
        assert list(batches) == []


def test_refused_rows_are_zeros_and_reported():
    vectors, refused = Engine(kmer()).embed([b"ACGTACGTAC", b"NNNNNACGTN", b"ACG", b"NNNNNACGTN"])
    assert set(refused) == {1, 2, 3}
    assert all("6 consecutive bases without N" in reason for reason in refused.values())
    assert not vectors[1:].any()
    assert np.linalg.norm(vectors[0]) == pytest.approx(1, abs=1e-6)


@given(MANY, st.integers(62, 200))
def test_out_of_memory_changes_no_vector_and_lowers_the_budget(sequences, fits):
    embedder = letters(fits=fits)
    engine = Engine(embedder, token_budget=5000)
    vectors, _ = engine.embed(encoded(sequences))
    np.testing.assert_allclose(vectors, np.stack([expected(s) for s in sequences]), atol=1e-6)
    lowered = engine.token_budget
    if sum(len(s) + 1 for s in set(sequences)) > fits:
        assert lowered < 5000
    engine.embed(encoded(sequences))
    assert engine.token_budget <= lowered


def test_out_of_memory_is_reported_once_per_halving_and_not_again(caplog):
    sequences = [b"ACGT" * 5 + bytes([65] * i) for i in range(64)]
    engine = Engine(letters(fits=300), token_budget=100_000)
    with caplog.at_level(logging.WARNING, "ednabed"):
        engine.embed(sequences)
        first = len(caplog.records)
        assert 0 < first < 12
        assert all("out of memory" in record.getMessage() for record in caplog.records)
        engine.embed(sequences)
        # The lowered budget may still be halved once more by a batch that is fuller than those before.
        assert len(caplog.records) <= first + 1


class Failing(LetterEncoder):
    """Raises a given error once a batch has more than ``rows`` rows."""

    def __init__(self, error: Exception, rows: int = 0):
        super().__init__()
        self.error = error
        self.limit = rows

    def forward(self, tokens: Tokens):
        if len(tokens) > self.limit:
            raise self.error
        return super().forward(tokens)


@pytest.mark.parametrize(
    "words",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "MPS backend out of memory (MPS allocated: 1 GB)",
        "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes",
    ],
)
def test_out_of_memory_messages_of_torch_are_recognised(words):
    engine = Engine(Embedder.from_encoder(Failing(RuntimeError(words), rows=2), Policy()))
    sequences = ["ACGT" * n for n in range(5, 15)]
    vectors, _ = engine.embed(encoded(sequences))
    np.testing.assert_allclose(vectors, np.stack([expected(s) for s in sequences]), atol=1e-6)


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("no"), OSError("x")]
)
def test_other_errors_name_their_records(error):
    engine = Engine(Embedder.from_encoder(Failing(error), Policy()))
    _, batches = engine.stream([b"ACGT" * 5, b"TTTT" * 5], ["one", "two"])
    message = f"record 'one' and 1 others: letters failed .{type(error).__name__}: {error}"
    with pytest.raises(EmbeddingError, match=message) as caught:
        list(batches)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("policy", [Policy(), Policy(strand="both")])
def test_a_single_sequence_that_does_not_fit_is_named(policy):
    engine = Engine(letters(policy, fits=30))
    sequences = [b"ACGT" * 5, b"ACGT" * 10, b"TTTT" * 5]
    refused, batches = engine.stream(sequences, ["first", "the long one", "third"])
    assert refused == {}
    with pytest.raises(
        EmbeddingError, match=r"record 'the long one': 41 tokens alone do not fit into the memory of cpu"
    ):
        list(batches)
    with pytest.raises(EmbeddingError, match="record 2 of the batch"):
        Engine(letters(policy, fits=30)).embed(sequences)


def test_many_windows_of_one_sequence_fit_although_one_batch_of_them_would_not():
    sequence = "ACGTTGCAAC" * 30
    engine = Engine(letters(Policy(long="window"), max_tokens=11, fits=33), token_budget=1000)
    vectors, _ = engine.embed([sequence.encode()])
    oracle = np.mean([expected(sequence[i : i + 10]) for i in range(0, 300, 10)], axis=0)
    np.testing.assert_allclose(vectors[0], oracle, atol=1e-6)


class Broken(LetterEncoder):
    """Returns ``value`` at one position of the vector of all-A rows, and other shapes or dtypes on request."""

    def __init__(self, value: float = 1.0, change=None, normalisation: str = "none"):
        super().__init__()
        self.value = value
        self.change = change
        self.normalisation = normalisation

    def forward(self, tokens: Tokens):
        out = super().forward(tokens)
        for i in range(len(tokens)):
            if not tokens.ids[tokens.offsets[i] : tokens.offsets[i + 1]].any():
                out[i, 3] = self.value
        return out if self.change is None else self.change(out)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("normalisation", ["none", "l2"])
def test_a_vector_that_is_not_finite_is_an_error_on_its_record(value, normalisation):
    engine = Engine(Embedder.from_encoder(Broken(value, normalisation=normalisation), Policy()))
    refused, batches = engine.stream([b"ACGT" * 5, b"A" * 20, b"TTTT"], ["good", "bad", "other"])
    with pytest.raises(EmbeddingError, match=r"record 'bad': letters returned a vector that is not finite in fp32"):
        list(batches)
    assert refused == {}


@pytest.mark.parametrize(
    "change",
    [lambda v: v[:-1], lambda v: v[:, :-1], lambda v: v.T, lambda v: v[0]],
    ids=["rows", "width", "turned", "one"],
)
def test_an_array_of_another_shape_is_refused(change):
    with pytest.raises(EmbeddingError, match=r"expected .*: the encoder is faulty"):
        Engine(Embedder.from_encoder(Broken(change=change), Policy())).embed([b"ACGT", b"ACGA", b"ACGC"])


def test_l2_gives_unit_vectors():
    vectors, _ = Engine(Embedder.from_encoder(Broken(normalisation="l2"), Policy())).embed([b"ACGT", b"AACC", b"T"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_size_below_one_is_refused(size):
    with pytest.raises(UsageError, match="at least 1"):
        Engine(letters(), batch_size=size)


def test_float64_from_an_encoder_becomes_float32():
    vectors, _ = Engine(Embedder.from_encoder(Broken(change=lambda v: v.astype(np.float64)), Policy())).embed([b"ACGT"])
    assert vectors.dtype == np.float32
    _, batches = Engine(Embedder.from_encoder(Broken(change=lambda v: v.astype(np.float64)), Policy())).stream(
        [b"ACGT"]
    )
    assert next(batches).vectors.dtype == np.float32


@pytest.mark.parametrize("policy", [Policy(), Policy(strand="both")])
def test_an_encoder_may_give_a_read_only_array_or_another_type(policy):
    def read_only(vectors):
        vectors.flags.writeable = False
        return vectors

    plain, _ = Engine(Embedder.from_encoder(Broken(normalisation="l2"), policy)).embed([b"ACGT", b"AACC"])
    for change in (read_only, lambda v: v.astype(np.float64), lambda v: np.broadcast_to(v, v.shape)):
        vectors, _ = Engine(Embedder.from_encoder(Broken(change=change, normalisation="l2"), policy)).embed(
            [b"ACGT", b"AACC"]
        )
        np.testing.assert_allclose(vectors, plain, atol=1e-6)
    halves, _ = Engine(Embedder.from_encoder(Broken(change=lambda v: v.astype(np.float16)), policy)).embed(
        [b"ACGT", b"AACC"]
    )
    assert halves.dtype == np.float32


def test_encoder_is_abstract():
    with pytest.raises(TypeError):
        Encoder()  # type: ignore[abstract]


def test_a_vector_of_zeros_is_a_refusal():
    class Nothing(LetterEncoder):
        def forward(self, tokens):
            out = super().forward(tokens)
            out[tokens.lengths == 25] = 0
            return out

    embedder = Embedder.from_encoder(Nothing(), Policy())
    refused, batches = Engine(embedder, token_budget=60).stream([b"ACGTA" * 5, b"ACGT" * 7, b"TTTTT" * 5])
    done = sorted(i for batch in batches for i in batch.index.tolist())
    assert done == [1]
    assert refused == dict.fromkeys([0, 2], "letters gives it a vector of zeros")
