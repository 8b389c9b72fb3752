"""``ednabed search --table``: the options of a search in a reference, for a LanceDB table."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from cli_support import call
from ednabed import EmbeddingEngine
from support import ednabed


def sequences() -> list[str]:
    rng = random.Random(5)
    parents = ["".join(rng.choices("ACGT", k=90)) for _ in range(4)]
    out = []
    for parent in parents:
        for _ in range(5):
            letters = list(parent)
            for place in rng.sample(range(90), rng.choice([1, 4, 9])):
                letters[place] = rng.choice("ACGT")
            out.append("".join(letters))
    return out


SEQUENCES = sequences()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ws")
    lines = [f"t{i}\t{s}\tS{i % 3}\t{i * 10}" for i, s in enumerate([*SEQUENCES, SEQUENCES[2]])]
    (folder / "a.tsv").write_text("id\tsequence\tsample\tdepth\n" + "\n".join(lines) + "\n", encoding="utf-8")
    kmer6 = ("--model", "kmer6")
    for verb in (
        ("table", "import", "a.tsv"),
        ("table", "embed", *kmer6),
        ("embed", "a.tsv", "--dataset", "same", *kmer6),
    ):
        done = ednabed(*verb, cwd=folder)
        assert done.returncode == 0, done.stderr
    (folder / "full.fa").write_text(f">x\n{SEQUENCES[0]}\n", encoding="utf-8")
    assert ednabed("embed", "full.fa", "--dataset", "other", "--model", "kmer6-full", cwd=folder).returncode == 0
    return folder


def nearest(query: int, k: int, without: set[int] = frozenset()) -> list[tuple[str, float]]:
    vectors = EmbeddingEngine("kmer6").get_embeddings(SEQUENCES).astype(np.float64)
    scores = vectors @ vectors[query]
    order = [i for i in np.argsort(-scores, kind="stable").tolist() if i not in without]
    return [(f"t{i}", scores[i]) for i in order[:k]]


def search(capsys, workspace, *arguments) -> dict:
    code, out, err = call(capsys, "--workspace", workspace, "search", "--table", *arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


@pytest.mark.parametrize(
    "query",
    [
        ("--id", "t7"),
        ("--sequence", SEQUENCES[7]),
        ("--run", "same", "--seq-idx", 7),
        ("--run", "same", "--id", "t7"),
    ],
)
def test_every_kind_of_query_finds_the_same(capsys, workspace, query):
    hits = search(capsys, workspace, *query, "--top-k", 6)["results"]
    assert [hit["id"] for hit in hits] == [name for name, _ in nearest(7, 6)]
    np.testing.assert_allclose([hit["similarity"] for hit in hits], [s for _, s in nearest(7, 6)], atol=2e-6)
    assert hits[0]["sample"] == "S1"
    assert "sequence" not in hits[0]


def test_a_file_of_queries_with_alignments(capsys, workspace, tmp_path):
    (tmp_path / "q.fa").write_text(f">q2\n{SEQUENCES[2]}\n>bad\nAC!\n>q9\n{SEQUENCES[9]}\n", encoding="utf-8")
    words = ("search", "--table", "--fasta", tmp_path / "q.fa", "--align", "--exclude-self", "--top-k", 2, "--json")
    code, out, err = call(capsys, "--workspace", workspace, *words)
    assert code == 0
    assert "not searched: 'bad'" in err
    answers = json.loads(out)
    assert [answer["query"]["id"] for answer in answers] == ["q2", "bad", "q9"]
    for answer, number in ((answers[0], 2), (answers[2], 9)):
        assert [hit["id"] for hit in answer["results"]] == [name for name, _ in nearest(number, 2, {number})]
        assert all(hit["identity"] > 75 and hit["cigar"] for hit in answer["results"])


def test_repeated_sequences_and_filters(capsys, workspace):
    hit = search(capsys, workspace, "--id", "t2", "--top-k", 1)["results"][0]
    assert (hit["id"], hit["occurrences"]) == ("t2", 2)
    hits = search(capsys, workspace, "--id", "t2", "--where", "sample = 'S0'", "--top-k", 99)["results"]
    assert {hit["sample"] for hit in hits} == {"S0"}
    assert len(hits) == 7
    # The depths are text, as in the file, and are compared as numbers.
    hits = search(capsys, workspace, "--id", "t2", "--where", "depth >= 100", "--top-k", 99)["results"]
    assert {hit["id"] for hit in hits} == {f"t{i}" for i in range(10, 21)}
    hits = search(capsys, workspace, "--id", "t2", "--min-similarity", 0.99)["results"]
    assert [hit["id"] for hit in hits] == ["t2"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--id", "nobody"), 1, "no row with sequence_id 'nobody'"),
        (("--id", "t1", "--dataset", "same"), 2, "--dataset is for runs"),
        (("--id", "t1", "--occurrences"), 2, "--occurrences is for runs"),
        (("--id", "t1", "--reference", "x"), 2, "exclude each other"),
        (("--id", "t1", "--where", "nothing = 1"), 2, "there is no column 'nothing'"),
        (("--id", "t1", "--where", "depth > 5 AND sample = TRUE"), 2, "write it as text"),
        (("--run", "other", "--seq-idx", "0"), 1, "cannot be compared"),
        (("--id", "t1", "--db", "nowhere"), 1, "has no table 'sequences'"),
        ((), 2, "give exactly one query"),
    ],
)
def test_impossible_requests(capsys, workspace, arguments, code, words):
    ended, out, err = call(capsys, "--workspace", workspace, "search", "--table", *arguments)
    assert (ended, out) == (code, "")
    assert words in err
    assert "Traceback" not in err
