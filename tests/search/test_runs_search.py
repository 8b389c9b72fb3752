"""Search in a run: by number, by id, by letters; each distinct sequence once."""

from __future__ import annotations

import random

import numpy as np
import pytest

from ednabed.errors import EdnabedError, InputError, StoreError
from ednabed.models.base import Embedder
from ednabed.models.kmer import KmerEncoder
from ednabed.models.spec import Policy
from ednabed.search.runs import search_run
from ednabed.store.run_writer import RunRequest, embed_to_run
from ednabed.store.runs import Run
from support import letters


def rows(seed: int = 3) -> list[tuple[str, str]]:
    rng = random.Random(seed)
    parents = ["".join(rng.choices("ACGT", k=120)) for _ in range(6)]
    pool = []
    for parent in parents:
        for _ in range(3):
            letters_ = list(parent)
            for place in rng.sample(range(120), rng.choice([0, 1, 4, 10])):
                letters_[place] = rng.choice("ACGT")
            pool.append("".join(letters_))
    return [(f"r{i}", rng.choice(pool)) for i in range(60)]


ROWS = rows()


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    (folder / "a.fa").write_text("".join(f">{i};size={n + 1}\n{s}\n" for n, (i, s) in enumerate(ROWS)))
    embedder = Embedder.of(KmerEncoder(), Policy())
    return embed_to_run(RunRequest([folder / "a.fa"], folder, dataset="see"), embedder).run


@pytest.mark.parametrize("k", [1, 5, 1000])
@pytest.mark.parametrize("query", [0, 17, 59])
def test_hits_equal_the_oracle(run, query, k):
    hits = search_run(run, seq_idx=query, k=k)
    vectors = np.asarray(run.load_embeddings(), np.float64)
    first: dict[str, int] = {}
    for i, (_, sequence) in enumerate(ROWS):
        first.setdefault(sequence, i)
    scores = sorted((-float(vectors[query] @ vectors[i]), i) for i in first.values())[:k]
    assert len(hits) == min(k, len(first))
    np.testing.assert_allclose([h["similarity"] for h in hits], [-s for s, _ in scores], atol=1e-6)
    assert {h["seq_idx"] for h in hits} <= set(first.values())
    assert hits[0]["seq_idx"] == first[ROWS[query][1]]
    for rank, hit in enumerate(hits, start=1):
        name, sequence = ROWS[hit["seq_idx"]]
        assert (hit["rank"], hit["id"], hit["length"], hit["source"]) == (rank, name, len(sequence), "a.fa")
        assert hit["abundance"] == hit["seq_idx"] + 1
        assert hit["occurrences"] == sum(s == sequence for _, s in ROWS)
        assert hit["distance"] == pytest.approx(1 - hit["similarity"])


def test_a_query_by_id_or_by_letters_finds_the_same(run):
    by_number = search_run(run, seq_idx=8, k=5)
    assert search_run(run, record_id="r8", k=5) == by_number
    by_letters = search_run(run, sequence=ROWS[8][1].lower().replace("t", "u"), k=5)
    assert [h["seq_idx"] for h in by_letters] == [h["seq_idx"] for h in by_number]
    np.testing.assert_allclose([h["similarity"] for h in by_letters], [h["similarity"] for h in by_number], atol=1e-6)
    assert search_run(run, sequence=f">pasted\n{ROWS[8][1][:60]}\n{ROWS[8][1][60:]}\n", k=5) == by_letters


def test_queries_that_are_not_there(run):
    for query in ({"seq_idx": 60}, {"seq_idx": -1}):
        with pytest.raises(StoreError, match="has records 0 to 59"):
            search_run(run, **query)
    with pytest.raises(StoreError, match="no record with id 'nobody'"):
        search_run(run, record_id="nobody")
    with pytest.raises(InputError, match="position 1"):
        search_run(run, sequence="!CGT")
    with pytest.raises(StoreError, match="cannot be embedded by kmer6"):
        search_run(run, sequence="ACGTN")


def test_an_id_of_several_sequences_asks_for_the_number(tmp_path):
    a, b = ROWS[0][1], ROWS[1][1]
    assert a != b
    (tmp_path / "a.fa").write_text(f">x\n{a}\n>same\n{a}\n")
    (tmp_path / "b.fa").write_text(f">x\n{b}\n>same\n{a}\n")
    request = RunRequest([tmp_path / "a.fa", tmp_path / "b.fa"], tmp_path, dataset="see")
    run = embed_to_run(request, Embedder.of(KmerEncoder(), Policy())).run
    with pytest.raises(StoreError, match=r"choose by --seq-idx: 0 \(a\.fa\), 2 \(b\.fa\)"):
        search_run(run, record_id="x")
    assert search_run(run, record_id="same", k=1)[0]["seq_idx"] == 0


def test_a_run_of_a_model_that_is_not_here_is_a_sentence(tmp_path):
    (tmp_path / "a.fa").write_text(f">x\n{ROWS[0][1]}\n")
    run = embed_to_run(RunRequest([tmp_path / "a.fa"], tmp_path, dataset="see"), letters()).run
    assert search_run(run, seq_idx=0)[0]["id"] == "x"
    with pytest.raises(EdnabedError, match="letters"):
        search_run(run, sequence=ROWS[0][1])


def test_a_model_of_that_name_with_another_fingerprint_is_refused(tmp_path):
    (tmp_path / "a.fa").write_text(f">x\n{ROWS[0][1]}\n")
    other = Embedder.of(KmerEncoder(5, 512, name="kmer6"), Policy())
    run = embed_to_run(RunRequest([tmp_path / "a.fa"], tmp_path, dataset="see"), other).run
    with pytest.raises(StoreError, match="their vectors cannot be compared"):
        search_run(run, sequence=ROWS[0][1])


@pytest.mark.parametrize("policy", [Policy(strand="both"), Policy(alphabet="strict")])
def test_letters_are_embedded_under_the_policy_of_the_run(tmp_path, policy):
    (tmp_path / "a.fa").write_text("".join(f">{i}\n{s}\n" for i, s in ROWS))
    run = embed_to_run(RunRequest([tmp_path / "a.fa"], tmp_path), Embedder.of(KmerEncoder(), policy)).run
    hit = search_run(run, sequence=ROWS[4][1], k=1)[0]
    assert ROWS[hit["seq_idx"]][1] == ROWS[4][1]
    assert hit["similarity"] == pytest.approx(1, abs=1e-6)


def test_a_folder_of_an_older_tool_cannot_be_searched(tmp_path):
    np.save(tmp_path / "embeddings.npy", np.ones((2, 3), np.float32))
    for query in ({"seq_idx": 0}, {"record_id": "x"}, {"sequence": "ACGT" * 6}):
        with pytest.raises(StoreError, match="older tool"):
            search_run(Run.open(tmp_path), **query)
