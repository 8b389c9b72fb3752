"""The check of an embedder passes if relatives are nearer, and only then."""

from __future__ import annotations

import random

import numpy as np
import pytest

from ednabed.errors import InputError
from ednabed.evaluate.validation import compare, validate
from ednabed.models.base import Embedder
from ednabed.models.kmer import KmerEncoder
from ednabed.models.spec import Policy
from ednabed.sequences.labels import Labels
from support import LetterEncoder, letters

KMER = Embedder.from_encoder(KmerEncoder(), Policy())
FISH = "Animalia;Chordata;Actinopteri;Perciformes;Gobiidae;Gobius;Gobius niger"
FISH2 = "Animalia;Chordata;Actinopteri;Perciformes;Gobiidae;Gobius;Gobius paganellus"
CRAB = "Animalia;Arthropoda;Malacostraca;Decapoda;Portunidae;Carcinus;Carcinus maenas"
A = "".join(random.Random(1).choices("ACGT", k=200))
A2 = A[:90] + "T" + A[91:]
C = "".join(random.Random(2).choices("ACGT", k=200))


def rows(*pairs):
    return [(f"r{i}", lineage, sequence.encode()) for i, (lineage, sequence) in enumerate(pairs)]


class Fixed(LetterEncoder):
    """Returns the given vectors, in order of the first bases A, C, G, T."""

    def __init__(self, vectors):
        super().__init__()
        self.vectors = np.asarray(vectors, np.float32)
        self.dimension = self.vectors.shape[1]

    def forward(self, tokens):
        return self.vectors[[int(tokens.ids[o]) for o in tokens.offsets[:-1]]]


def fixed(*vectors):
    return Embedder.from_encoder(Fixed(vectors), Policy())


def test_the_packaged_sequences_pass_with_kmer6():
    result = validate(KMER)
    assert result.passed
    assert result.similarity.shape == (3, 3)
    assert result.checked == 2
    np.testing.assert_allclose(np.diag(result.similarity), 1, atol=1e-6)
    np.testing.assert_allclose(result.similarity, result.similarity.T, atol=1e-6)
    assert result.similarity[0, 1] > max(result.similarity[0, 2], result.similarity[1, 2])
    genera = [lineage.split(";")[5] for lineage in result.lineages]
    assert genera[0] == genera[1] != genera[2]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_relatives_are_found_in_any_order(order):
    pairs = [(FISH, A), (FISH2, A2), (CRAB, C)]
    result = compare(KMER, rows(*(pairs[i] for i in order)))
    assert result.passed
    assert result.checked == 2


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1)])
def test_a_wrong_label_fails_whatever_the_order(order):
    pairs = [(FISH, A), (CRAB, A2), (FISH2, C)]
    result = compare(KMER, rows(*(pairs[i] for i in order)))
    assert not result.passed
    assert len(result.failures) == 2
    assert "is not nearer to its relative" in result.failures[0]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1), (1, 0, 2), (2, 1, 0)])
def test_an_encoder_that_gives_all_sequences_one_vector_fails(order):
    pairs = [(FISH, "A" * 30), (FISH2, "C" * 30), (CRAB, "G" * 30)]
    constant = fixed(*[[0.3, 0.1, 0.7, 1.3]] * 4)
    result = compare(constant, rows(*(pairs[i] for i in order)))
    assert not result.passed
    assert len(result.failures) == 2
    assert not validate(constant).passed


def test_the_nearest_relative_is_what_counts():
    """With one near and one distant relative, it is enough that the near one is nearer than the unrelated record."""
    pairs = rows((FISH, "A" * 30), (FISH, "C" * 30), (FISH, "G" * 30), (CRAB, "T" * 30))
    assert compare(fixed([1, 0], [0.9, 0.4], [0.4, 0.9], [-1, 0.1]), pairs).passed
    assert not compare(fixed([1, 0], [0.9, 0.4], [-1, 0.1], [0.4, 0.9]), pairs).passed


def test_records_without_more_distant_relatives_are_not_checked():
    with pytest.raises(InputError, match="no record has closer and more distant relatives"):
        compare(KMER, rows((FISH, A), (FISH, C)))
    with pytest.raises(InputError, match="no record has closer"):
        compare(KMER, rows((FISH, A), (CRAB, C)))
    for few in ((), ((FISH, A),), (("", A), ("", A2), ("", C))):
        with pytest.raises(InputError, match="no record has closer"):
            compare(KMER, rows(*few))


def test_unlabelled_records_are_not_checked_but_count_as_unrelated():
    result = compare(KMER, rows((FISH, A), (FISH2, A2), ("", C)))
    assert result.checked == 2
    assert result.passed


def test_the_text_shows_the_matrix_and_the_verdict():
    result = compare(KMER, rows((FISH, A), (CRAB, A2), (FISH2, C)))
    text = result.to_text()
    assert f"{result.similarity[0, 1]:.4f}" in text
    assert "Gobius niger" in text
    assert "0 of 2 sequences" in text
    assert all(failure in text for failure in result.failures)


def test_a_file_with_lineages(tmp_path):
    path = tmp_path / "v.fa"
    path.write_text(
        f">a tax=d:Animalia,p:Chordata,g:Gobius\n{A}\n>b tax=d:Animalia,p:Chordata,g:Gobius\n{A2}\n"
        f">c tax=d:Animalia\n{C}\n"
    )
    result = validate(KMER, path)
    assert result.ids == ["a", "b", "c"]
    assert result.passed
    path.write_text(f">a\n{A}\n>b\n{A2}\n>c\n{C}\n")
    with pytest.raises(InputError, match=r"v\.fa: no record has closer"):
        validate(KMER, path)
    assert validate(KMER, path, Labels({"a": FISH, "b": FISH2, "c": CRAB})).passed


def test_files_that_cannot_be_checked(tmp_path):
    path = tmp_path / "v.fa"
    path.write_text(f">a\n{A}\n>b\nACG\n")
    with pytest.raises(InputError, match=r"v\.fa: record 'b' cannot be embedded"):
        validate(KMER, path)
    path.write_text("".join(f">{i}\n{A}\n" for i in range(201)))
    with pytest.raises(InputError, match="more than 200 records"):
        validate(KMER, path)
    path.write_text("ACGTN" * 6)
    with pytest.raises(InputError):
        validate(KMER, path)
    path.write_text(f">a\n{'ACGTN' * 6}\n>b\n{A}\n")
    with pytest.raises(InputError, match=r"record 'a' cannot be embedded by kmer6"):
        validate(KMER, path)


def test_200_records_are_accepted(tmp_path):
    path = tmp_path / "v.tsv"
    body = "".join(f"{i}\t{C if i % 2 else A}\t{CRAB if i % 2 else FISH}\n" for i in range(200))
    path.write_text("id\tsequence\tlineage\n" + body)
    result = validate(KMER, path)
    assert result.checked == 200
    assert result.passed


def test_vectors_of_any_length_are_compared_by_cosine():
    result = compare(letters(), rows((FISH, "A" * 30), (FISH, "A" * 29 + "C"), (CRAB, "G" * 30)))
    assert result.passed
    assert np.abs(result.similarity).max() <= 1
