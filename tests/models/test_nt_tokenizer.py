"""Tests of the k-mer tokenizer against the original's ids, and against a slow one that reads base by base."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.models.nucleotide_transformer.tokenizer import LAYOUTS, KmerTokenizer

V1, V2, V2_3MER = LAYOUTS[4105], LAYOUTS[4107], LAYOUTS[75]
DNA = st.text(alphabet="ACGT", max_size=40) | st.text(alphabet="ACGTN", max_size=40) | st.text(alphabet="N", max_size=4)


def slow(text: str, tokenizer: KmerTokenizer) -> list[int]:
    kmers = ["".join(letters) for letters in product("ATCG", repeat=tokenizer.k)]
    number = {kmer: tokenizer.first_kmer + i for i, kmer in enumerate(kmers)}
    single = {letter: tokenizer.first_single + i for i, letter in enumerate("ATCGN")}
    ids: list[int] = []
    for i, run in enumerate(text.split("N")):
        if i:
            ids.append(single["N"])
        whole = len(run) // tokenizer.k * tokenizer.k
        ids += [number[run[at : at + tokenizer.k]] for at in range(0, whole, tokenizer.k)]
        ids += [single[letter] for letter in run[whole:]]
    return ids


@pytest.mark.parametrize(("layout", "tokenizer"), [("v1", V1), ("v2", V2), ("v2_3mer", V2_3MER)])
def test_ids_of_the_original(golden: Path, layout: str, tokenizer: KmerTokenizer) -> None:
    cases = json.loads((golden / "kmer_tokens.json").read_text(encoding="utf-8"))["cases"]
    valid = [case for case in cases if case["kind"] == "valid"]
    assert len(valid) > 10
    batch = tokenizer([case["text"].encode() for case in valid])
    for case, start, stop in zip(valid, batch.offsets, batch.offsets[1:], strict=False):
        assert [3, *batch.ids[start:stop]] == case[layout], case["text"]


@pytest.mark.parametrize("layout", ["v1", "agro", "v2", "v2_3mer"])
def test_ids_of_whole_sequences_truncated(golden: Path, layout: str) -> None:
    folder = golden / "nt_tiny" / layout
    known = json.loads((folder / "sequences.json").read_text(encoding="utf-8"))
    tokenizer = {"v1": V1, "agro": V1, "v2": V2, "v2_3mer": V2_3MER}[layout]
    expected = np.load(folder / "expected.npz")
    batch = tokenizer([row["sequence"].encode() for row in known["sequences"]])
    for i, length in enumerate(expected["lengths"]):
        ids = [3, *batch.ids[batch.offsets[i] : batch.offsets[i + 1]]][: known["max_tokens"]]
        assert ids == expected["ids"][i, :length].tolist()


@pytest.mark.parametrize("layout", ["v1", "v2", "v2_3mer"])
def test_vocabulary_equals_the_file(golden: Path, layout: str) -> None:
    lines = (golden / "nt_tiny" / layout / "vocab.txt").read_text(encoding="utf-8").split()
    tokenizer = {"v1": V1, "v2": V2, "v2_3mer": V2_3MER}[layout]
    assert list(tokenizer.vocabulary) == lines[: len(tokenizer.vocabulary)]


@pytest.mark.parametrize("rows", LAYOUTS)
def test_vocabulary_has_a_token_for_each_embedding_row(rows: int) -> None:
    assert len(LAYOUTS[rows].vocabulary) == rows
    assert LAYOUTS[rows].vocabulary[LAYOUTS[rows].first_single] == "A"


def test_identity_is_stable() -> None:
    assert V1.identity == "nt-6mer-v1:sha256:610a27ecb85ca6306fb53f14a19bdea5f459804d3379a943072c79f18ca858af"
    assert V2.identity == "nt-6mer-v2:sha256:c00e0ad166d6ab3f7540ebc92270392e581bb3106763412f29034b49323e1052"
    assert V2_3MER.identity == "nt-3mer-v2:sha256:0976e2b4722307d16c669e2daa57f5912fc7f62e08389540751b5474c93dcfd0"


@pytest.mark.parametrize("tokenizer", [V1, V2, V2_3MER], ids=lambda tokenizer: tokenizer.name)
@settings(deadline=None, max_examples=150)
@given(texts=st.lists(DNA, max_size=8))
def test_equals_the_slow_one(tokenizer: KmerTokenizer, texts: list[str]) -> None:
    batch = tokenizer([text.encode() for text in texts])
    assert len(batch) == len(texts)
    assert batch.offsets.dtype == np.int64 and batch.offsets[0] == 0 and batch.offsets[-1] == len(batch.ids)
    rows = [batch.ids[a:b].tolist() for a, b in zip(batch.offsets, batch.offsets[1:], strict=False)]
    assert rows == [slow(text, tokenizer) for text in texts]


def test_published_examples() -> None:
    assert V2([b"ATTCCGATTCCGATTCCG"]).ids.tolist() == [369, 369, 369]
    assert V2_3MER([b"ATTCCGATTCCGATTCCG"]).ids.tolist() == [11, 49, 11, 49, 11, 49]


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ([b"ACGT", b"ACGU"], r"row 1 contains b'U' at position 3"),
        ([b"acgt"], r"row 0 contains b'a' at position 0"),
        ([b"", b"ACN-"], r"row 1 contains b'-' at position 3"),
        ([b"AC\n"], r"row 0 contains b'\\n' at position 2"),
        ([b"AC\xff"], r"row 0 contains b'\\xff' at position 2"),
    ],
)
def test_other_characters_are_refused(batch: list[bytes], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        V2(batch)
