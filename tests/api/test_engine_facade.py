"""``EmbeddingEngine``: rows stay aligned, rejections are reported, and errors are raised."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ednabed
from ednabed import EmbeddingEngine
from ednabed.api.engine import EmbeddingEngine as Facade
from ednabed.errors import EmbeddingError, InputError, ModelError, UsageError

GOOD = "ACGTTGCATGCATGCATTGACC"
FISH = "Animalia;Chordata;Actinopteri;Perciformes;Gobiidae;Gobius;Gobius niger"
FISH2 = "Animalia;Chordata;Actinopteri;Perciformes;Gobiidae;Gobius;Gobius paganellus"
CRAB = "Animalia;Arthropoda;Malacostraca;Decapoda;Portunidae;Carcinus;Carcinus maenas"


@pytest.fixture(scope="module")
def engine() -> EmbeddingEngine:
    return EmbeddingEngine()


def test_the_public_names():
    assert EmbeddingEngine is Facade
    assert set(ednabed.__all__) >= {"EmbeddingEngine", "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = ednabed.Nothing


BAD = {
    "": "empty sequence",
    "  ": "empty sequence",
    "ACGT": "has no {least} consecutive bases without N, which {model} needs",
    "ACGT!ACGTACGTACGTACGTACGT": "invalid character '!' at position 5",
    "N" * 30: "contains no A, C, G or T",
    "ACGTN" * 5: "has no {least} consecutive bases without N, which {model} needs",
}


@pytest.mark.parametrize(("model", "least"), [("barcode-1", 7), ("kmer6", 6)])
@settings(max_examples=40)
@given(sequences=st.lists(st.text("ACGT", min_size=20, max_size=60) | st.sampled_from(sorted(BAD)), max_size=20))
def test_rows_are_aligned_and_the_rejected_are_zeros(model, least, sequences):
    engine = EmbeddingEngine(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        vectors = engine.get_embeddings(sequences)
    report = engine.last_report
    bad = {i for i, s in enumerate(sequences) if s in BAD}
    assert vectors.shape == (len(sequences), 512)
    assert vectors.dtype == np.float32
    assert set(report.rejected) == bad
    assert len(caught) == bool(bad)
    for i, sequence in enumerate(sequences):
        if i in bad:
            assert not vectors[i].any()
            assert BAD[sequence].format(model=model, least=least) in report.rejected[i]
        else:
            np.testing.assert_allclose(vectors[i], engine.get_embedding_single(sequence), atol=1e-6)
    assert (report.given, report.embedded) == (len(sequences), len(sequences) - len(bad))
    assert report.distinct == len({s for s in sequences if s not in BAD})


def test_the_warning_says_how_many_and_the_first(engine):
    with pytest.warns(
        UserWarning, match=r"2 of 4 sequences were rejected and have rows of zeros.* number 1 .*\(has no 7"
    ):
        engine.get_embeddings([GOOD, "ACGT", GOOD, "ACGT*" * 6])


def test_no_warning_without_a_rejection(engine):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.get_embeddings([GOOD, GOOD + "N"])
    assert engine.last_report.rejected == {}
    assert engine.last_report.ambiguous == 1


def test_no_sequences_and_no_usable_sequences(engine):
    assert engine.get_embeddings([]).shape == (0, 512)
    with pytest.warns(UserWarning, match="2 of 2"):
        vectors = engine.get_embeddings(["ACG", ""])
    assert not vectors.any()
    assert engine.last_report.embedded == 0


def test_case_rna_and_gaps_do_not_matter(engine):
    vectors = engine.get_embeddings([GOOD, GOOD.lower(), GOOD.replace("T", "U"), GOOD[:5] + "--" + GOOD[5:]])
    assert engine.last_report.distinct == 1
    np.testing.assert_array_equal(vectors, vectors[[0, 0, 0, 0]])


def test_both_strands_of_a_sequence_are_alike_to_the_default(engine):
    other = GOOD[::-1].translate(str.maketrans("ACGT", "TGCA"))
    np.testing.assert_allclose(engine.get_embedding_single(GOOD), engine.get_embedding_single(other), atol=1e-6)
    one, two = EmbeddingEngine("kmer6").get_embeddings([GOOD, other])
    assert one @ two < 0.9


def test_a_single_sequence(engine):
    vector = engine.get_embedding_single(GOOD)
    assert vector.shape == (512,)
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
    cases = {"": InputError, "ACGT": EmbeddingError, "ACG!" * 6: InputError, "ACGTN" * 6: EmbeddingError}
    for bad, error in cases.items():
        with pytest.raises(error):
            engine.get_embedding_single(bad)


@pytest.mark.parametrize("batch_size", [1, "3"])
def test_batch_size_is_a_cap_that_changes_nothing(engine, batch_size):
    sequences = [GOOD + "ACGT"[i % 4] * i for i in range(12)]
    capped = EmbeddingEngine(batch_size=batch_size)
    np.testing.assert_allclose(capped.get_embeddings(sequences), engine.get_embeddings(sequences), atol=1e-6)
    assert capped.get_model_info()["batch_size"] == int(batch_size)


def test_the_bar_is_drawn_only_on_request(engine, capfd):
    engine.get_embeddings([GOOD])
    assert capfd.readouterr() == ("", "")
    engine.get_embeddings([GOOD], show_progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "embedding" in err


def test_settings_reach_the_function():
    both = EmbeddingEngine(strand="both", alphabet="strict", min_length=30)
    plain = EmbeddingEngine()
    assert both.get_model_info()["fingerprint"] != plain.get_model_info()["fingerprint"]
    with pytest.warns(UserWarning, match="3 of 3"):
        both.get_embeddings([GOOD, GOOD * 2 + "R", "ACGT"])
    with pytest.raises(InputError):
        both.get_embedding_single(GOOD)


@pytest.mark.parametrize(
    ("settings_", "error"),
    [
        ({"model_name": "nonsense"}, UsageError),
        ({"batch_size": 0}, UsageError),
        ({"strand": "minus"}, UsageError),
        ({"long": "cut"}, UsageError),
        ({"precision": "fp8"}, UsageError),
        ({"batch_size": "eight"}, UsageError),
        ({"batch_size": True}, UsageError),
        ({"min_length": 2.5}, UsageError),
        ({"use_gpu": "yes"}, UsageError),
        ({"model_name": None}, UsageError),
        ({"model_name": Path("no-such-folder")}, ModelError),
        ({"max_tokens": 100}, UsageError),
        ({"layer": 3}, UsageError),
    ],
)
def test_impossible_settings_are_usage_errors(settings_, error):
    with pytest.raises(error) as caught:
        EmbeddingEngine(**settings_)
    assert "--" not in str(caught.value)


def test_the_default_model_cannot_use_a_gpu(caplog):
    engine = EmbeddingEngine(use_gpu=True)
    assert "barcode-1 cannot use one; it runs on the CPU" in caplog.text
    assert engine.get_model_info()["device"] == "cpu"


def test_the_device_is_logged(caplog):
    with caplog.at_level("INFO", "ednabed"):
        EmbeddingEngine("kmer6")
    assert [record.message for record in caplog.records] == ["model: kmer6, 512 dimensions, on cpu in fp32"]


def test_short_sequences_depend_on_the_model(engine):
    assert engine.get_embedding_single("ATGCATGC").any()
    assert engine.get_embeddings(["ATGCATGC"]).any()
    with pytest.raises(InputError, match="8 bases, fewer than `min_length` 20"):
        EmbeddingEngine(min_length=20).get_embedding_single("ATGCATGC")


def test_sequences_in_any_container(engine):
    wanted = engine.get_embeddings([GOOD, GOOD * 2])
    for given_ in (
        (GOOD * n for n in (1, 2)),
        (GOOD, GOOD * 2),
        [GOOD.encode(), GOOD.encode() * 2],
        np.array([GOOD, GOOD * 2]),
        np.array([GOOD, GOOD * 2], object),
        np.array([GOOD, GOOD * 2], "S"),
        pa.array([GOOD, GOOD * 2]),
        pa.chunked_array([[GOOD], [GOOD * 2]]),
        pa.array([GOOD, GOOD * 2]).dictionary_encode(),
    ):
        np.testing.assert_array_equal(engine.get_embeddings(given_), wanted)
    np.testing.assert_array_equal(engine.get_embedding_single(GOOD.encode()), engine.get_embedding_single(GOOD))
    with pytest.warns(UserWarning, match="1 of 2 .*empty sequence"):
        assert not engine.get_embeddings(pa.array([GOOD, None]))[1].any()
    with pytest.warns(UserWarning, match=r"invalid character 'ÿ' at position 5"):
        engine.get_embeddings([b"ACGT\xff"])


@pytest.mark.parametrize("bad", [None, GOOD, GOOD.encode(), 5, {GOOD: 1}, {GOOD}, [GOOD, 5], [[GOOD]], np.array(GOOD)])
def test_other_than_a_list_of_sequences(engine, bad):
    with pytest.raises(UsageError, match=r"^`sequences`(: number \d)? is .*expected"):
        engine.get_embeddings(bad)
    if not isinstance(bad, (str, bytes)):
        with pytest.raises(UsageError, match=r"^`sequence` is .*expected a sequence as text"):
            engine.get_embedding_single(bad)


def test_model_info(engine):
    info = engine.get_model_info()
    assert info["model_name"] == "barcode-1"
    assert info["embedding_dim"] == 512
    assert (info["device"], info["precision"]) == ("cpu", "fp32")
    assert info["fingerprint"] == engine.embedder.spec.fingerprint
    assert info["spec"]["architecture"]["family"] == "kmer-map"
    assert info["spec"]["pooling"] == "sum"
    assert info["spec"]["weights"].startswith("sha256:")
    assert info["licence"] == "Apache-2.0"
    # The older guide's keys.
    assert info["max_length"] == info["max_tokens"]
    assert info["tokenizer_type"] == info["spec"]["tokenizer"]
    assert isinstance(info["gpu_available"], bool)
    formula = EmbeddingEngine("kmer6").get_model_info()["spec"]
    assert (formula["model"], formula["architecture"]["family"]) == ("kmer6", "kmer")


def test_validation_prints_and_returns_the_matrix(engine, capsys):
    matrix = engine.validate_embeddings()
    out = capsys.readouterr().out
    assert matrix.shape == (3, 3)
    assert matrix.dtype == np.float32
    assert f"{matrix[0, 1]:.4f}" in out
    assert "2 of 2 sequences" in out


def test_validation_of_given_sequences(capsys):
    engine = EmbeddingEngine("kmer6")
    a, b = "ACGTTGCATG" * 8, "GGATTCCAAC" * 8
    matrix = engine.validate_embeddings({FISH: a, FISH2: a + "ACC", CRAB: b})
    assert matrix[0, 1] > matrix[0, 2]
    with pytest.raises(EmbeddingError, match="failed the check: sequence 1 is not nearer to its relative sequence 3"):
        engine.validate_embeddings({FISH: a, CRAB: a + "ACC", FISH2: b})
    assert "0 of 2" in capsys.readouterr().out
    for bad in ({}, {FISH: a}, {FISH: a, CRAB: "!"}, {FISH: a, FISH2: "ACG", CRAB: b}):
        with pytest.raises(InputError):
            engine.validate_embeddings(bad)


def test_validation_of_pairs_with_free_labels(capsys):
    engine = EmbeddingEngine("kmer6")
    a, b = "ACGTTGCATG" * 8, "GGATTCCAAC" * 8
    matrix = engine.validate_embeddings(
        test_sequences=[(a, "Sequence_A"), (a + "ACC", "Sequence_B"), (b, "Sequence_C")]
    )
    assert matrix.shape == (3, 3)
    out = capsys.readouterr().out
    assert "Sequence_A" in out
    assert "2 of 2 sequences" in out
    # With free labels the first two are the related ones, and a model that does not find them nearest fails.
    with pytest.raises(EmbeddingError, match="Sequence_A is not nearer to its relative Sequence_C"):
        engine.validate_embeddings([(a, "Sequence_A"), (b, "Sequence_C"), (a + "ACC", "Sequence_B")])
    # If the labels are lineages, they decide, in any order.
    assert engine.validate_embeddings([(a, FISH), (b, CRAB), (a + "ACC", FISH2)]).shape == (3, 3)
    # Two are compared, without a verdict.
    capsys.readouterr()
    assert engine.validate_embeddings(iter([(a, "one"), (b, "two")])).shape == (2, 2)
    assert "not checked" in capsys.readouterr().out


def test_validation_of_other_than_pairs():
    engine = EmbeddingEngine("kmer6")
    with pytest.raises(UsageError, match=r"`test_sequences`: number 1 is 'ACGT.*expected a pair"):
        engine.validate_embeddings([GOOD])
    with pytest.raises(InputError, match=r"number 1 \(ACGT.*invalid character 'e' at position 2"):
        engine.validate_embeddings([("Sequence_1", GOOD)])
    with pytest.raises(InputError, match="ranks of lineage 'Sequence_A' cannot be determined"):
        engine.validate_embeddings([(GOOD, FISH), (GOOD, "Sequence_A"), (GOOD, CRAB)])


# -- a network -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(shared):
    folder = shared / "golden" / "nt_tiny" / "v2"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return folder


def test_a_model_folder(tiny):
    engine = EmbeddingEngine(tiny, use_gpu=False, precision="fp32")
    info = engine.get_model_info()
    assert info["model_name"] == "v2"
    assert info["device"] == "cpu"
    sequences = [GOOD * n for n in (1, 3, 2, 1)]
    vectors = engine.get_embeddings(sequences)
    assert vectors.shape == (4, info["embedding_dim"])
    np.testing.assert_allclose(vectors[2], engine.get_embedding_single(sequences[2]), atol=1e-5)
    np.testing.assert_array_equal(vectors[0], vectors[3])


def test_truncation_is_counted_for_every_record(tiny):
    engine = EmbeddingEngine(str(tiny), use_gpu=False, precision="fp32", max_tokens=8)
    engine.get_embeddings([GOOD * 10, GOOD, GOOD * 10])
    assert engine.last_report.truncated == 2
    rejecting = EmbeddingEngine(str(tiny), use_gpu=False, precision="fp32", max_tokens=8, long="reject")
    with pytest.warns(UserWarning, match="more than the 8 allowed"):
        vectors = rejecting.get_embeddings([GOOD * 10, GOOD])
    assert not vectors[0].any()


def test_a_forced_gpu_that_does_not_exist_is_an_error(tiny):
    import torch

    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("a GPU is here")
    with pytest.raises(UsageError, match="none can be used here"):
        EmbeddingEngine(str(tiny), use_gpu=True)
