"""vsearch, blastn and MMseqs2 as methods, if installed: names, ties and errors, whatever the names and paths."""

from __future__ import annotations

import random
import re
import shutil
import sys
import tempfile

import pytest

from ednabed.evaluate import methods, tools
from ednabed.evaluate.consensus import Consensus, agreed
from ednabed.evaluate.external import BestHit, Blast, Sintax
from ednabed.evaluate.methods import METHOD_NAMES, installed
from ednabed.evaluate.mmseqs import MMseqs
from ednabed.evaluate.splits import Labelled
from ednabed.evaluate.tools import ToolError, run_tool
from ednabed.taxonomy.taxa import Taxa

vsearch = pytest.mark.skipif(shutil.which("vsearch") is None, reason="vsearch is not installed")
blastn = pytest.mark.skipif(
    shutil.which("blastn") is None or shutil.which("makeblastdb") is None, reason="blastn is not installed"
)
mmseqs = pytest.mark.skipif(shutil.which("mmseqs") is None, reason="mmseqs is not installed")
METHODS = [
    pytest.param(BestHit(), marks=vsearch),
    pytest.param(BestHit(1, 32, "vsearch-default"), marks=vsearch),
    pytest.param(Sintax(), marks=vsearch),
    pytest.param(Blast(), marks=blastn),
    pytest.param(Consensus(), marks=vsearch),
    pytest.param(MMseqs(), marks=mmseqs),
]
BEST_HITS = [
    pytest.param(BestHit(), marks=vsearch),
    pytest.param(Blast(), marks=blastn),
    pytest.param(MMseqs(), marks=mmseqs),
]

draw = random.Random(5)


def dna(length=300):
    return "".join(draw.choices("ACGT", k=length))


def changed(sequence, positions):
    swap = {"A": "C", "C": "G", "G": "T", "T": "A"}
    return "".join(swap[c] if i in positions else c for i, c in enumerate(sequence))


STEM = [dna() for _ in range(3)]
NAMES = [
    ("Animalia", "Chordata", "Aves; sensu lato", "Suli, formes", "", "Morus", "Morus bassanus (L., 1758); auct."),
    ("Plantae", "Streptophyta", "", "Rosales", "Moraceae", "Morus", "Morus alba, L."),
    ("Fungi", "", "", "", "Näm:e=|f", "G_s'\"x", "G_s'\"x tax=d:y,s:z(0.5)"),
]
TRAINING = [Labelled(f"id {i};x", STEM[i], NAMES[i]) for i in range(3)]


def ask(method, training, queries, threads=1):
    with method.prepare(training, threads) as classify:
        return classify(queries)


@pytest.fixture
def blanks(tmp_path, monkeypatch):
    """Use a folder for temporary files whose path has spaces and special characters."""
    folder = tmp_path / "my data, ünd 'more'"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_names_and_paths_with_any_characters_survive(method, blanks):
    queries = [(f"query {i};size=3", changed(STEM[i], {150})) for i in (2, 0, 1)] + [("dup", STEM[1]), ("dup", STEM[0])]
    found = ask(method, TRAINING, queries, threads=2)
    assert [p.id for p in found] == [name for name, _ in queries]
    assert [p.names for p in found] == [NAMES[i] for i in (2, 0, 1, 1, 0)]
    # No file is left.
    assert list(blanks.iterdir()) == []


@pytest.mark.parametrize("method", METHODS)
def test_a_query_without_related_sequences_gets_no_name_and_the_highest_novelty(method):
    strange, known = ask(method, TRAINING, [("strange", "ACACAC" * 30), ("known", STEM[0])])
    assert not any(strange.names)
    assert strange.novelty == ((1.0,) * 7 if isinstance(method, Sintax) else (100.0,) * 7)
    assert known.novelty[6] < 0.1
    assert ask(method, TRAINING, []) == []


@pytest.mark.parametrize("method", BEST_HITS)
def test_equally_good_best_hits_are_reported_as_ties(method):
    base = dna()
    a, b = (("K", "P", "C", "O", "F", "G", s) for s in ("G a", "G b"))
    training = [
        Labelled("1", changed(base, {100}), a),
        Labelled("2", changed(base, {200}), b),
        Labelled("3", changed(base, {180}), a),
        Labelled("4", changed(base, {90, 120, 210}), ("K", "P", "C", "O", "F", "H", "H c")),
    ]
    tie, clear = ask(method, training, [("tie", base), ("clear", training[1].sequence)])
    assert set(tie.tied) == {a, b}
    assert tie.confidences is None
    assert tie.identity == pytest.approx(100 * 299 / 300, abs=0.01)
    assert tie.novelty == pytest.approx((100 - tie.identity,) * 7)
    assert (clear.names, clear.tied, clear.identity) == (b, (), 100.0)


@vsearch
def test_identity_has_more_decimals_than_vsearch_writes():
    base = dna(1000)
    near, far = changed(base, {500}), changed(base, {500, 501})
    gapped = base[:300] + base[303:]
    names = [("K", "P", "C", "O", "F", "G", s) for s in ("G a", "G b", "G c")]
    training = [Labelled(str(i), s, n) for i, (s, n) in enumerate(zip((near, far, gapped), names, strict=True))]
    found = ask(BestHit(), training, [("q", base), ("far", changed(far, {502})), ("part", gapped[100:500])])
    assert found[0].names == names[0]
    assert found[0].identity == pytest.approx(99.9)
    assert found[1].identity == pytest.approx(99.9)
    # Only the columns between the ends of the shorter sequence count.
    assert (found[2].names, found[2].identity) == (names[2], 100.0)
    single = ask(BestHit(), training[2:], [("q", base)])[0]
    assert single.identity == pytest.approx(99.7)


@vsearch
def test_sintax_reports_its_support():
    a, b = (("K", "P", "C", "O", "F", "G", s) for s in ("G a", "G b"))
    base = dna()
    training = [Labelled("1", base, a), Labelled("2", changed(base, {150}), b), *TRAINING]
    found = ask(Sintax(), training, [("q", changed(base, {40, 150, 170}))])[0]
    assert found.names[:6] == a[:6]
    assert all(0 <= c <= 1 for c in found.confidences)
    assert found.confidences[5] == 1.0
    assert found.novelty == pytest.approx(tuple(1 - c for c in found.confidences))
    # No order or family in the lineage: no name and no support there.
    other = ask(Sintax(), TRAINING, [("q", STEM[2])])[0]
    assert other.confidences[1:4] == (None,) * 3
    assert other.novelty[1:4] == (1.0,) * 3


def test_missing_tools_are_reported(monkeypatch):
    monkeypatch.setattr(methods.shutil, "which", lambda name: None)
    found, absent = installed()
    assert [method.name for method in found] == ["naive-bayes"]
    assert [sentence.split()[0] for sentence in absent] == ["vsearch", "blastn", "mmseqs"]
    with pytest.raises(ToolError, match="vsearch is not installed"):
        ask(BestHit(), TRAINING, [])


@vsearch
def test_installed_tools_are_methods_with_settings():
    found, _ = installed()
    names = [method.name for method in found]
    assert names == [name for name in METHOD_NAMES if name in names]
    assert names[:4] == ["vsearch", "vsearch-default", "sintax", "consensus"]
    assert found[0].settings.startswith("vsearch v2")
    assert "--maxaccepts 1 --maxrejects 32" in found[1].settings
    assert "0.51 of the hits within 1 % of the best, species given from 97 %, genus from 95 %" in found[3].settings


@blastn
def test_blastn_settings_contain_its_version():
    assert Blast().settings.startswith("blastn 2")


@mmseqs
def test_mmseqs_settings_contain_its_version_and_identity_outweighs_length():
    assert re.match(r"mmseqs \d.*: easy-search .*-k 13", MMseqs().settings)
    base = dna()
    names = [("K", "P", "C", "O", "F", "G", s) for s in ("G a", "G b")]
    # 285 identical bases compared with 300 bases of which 30 differ.
    training = [
        Labelled("1", base[:285] + dna(15), names[0]),
        Labelled("2", changed(base, set(range(5, 300, 10))), names[1]),
    ]
    found = ask(MMseqs(), training, [("q", base)])[0]
    assert (found.names, found.identity) == (names[0], 100.0)


@vsearch
def test_the_consensus_includes_only_hits_close_to_the_best():
    base = dna()
    a, b = (("K", "P", "C", "O", "F", "G", s) for s in ("G a", "G b"))
    other = ("K", "P", "C", "O", "F", "H", "H d")
    training = [
        Labelled("1", changed(base, {100}), a),
        Labelled("2", changed(base, {200}), a),
        Labelled("3", changed(base, {100, 110, 120}), b),
        # More than one percentage point behind the best: no vote.
        *(Labelled(f"far{i}", changed(base, {20 + i, 60, 150, 170, 210}), other) for i in range(4)),
    ]
    found = ask(Consensus(), training, [("q", base)])[0]
    assert (found.names, found.tied, found.confidences) == (a, (), None)
    assert found.given == (True,) * 7
    assert found.identity == pytest.approx(100 * 299 / 300)
    # One vote against one is not a majority of 0.51; both agree about the genus.
    split = ask(Consensus(), [training[0], training[2]], [("q", base)])[0]
    assert split.names == (*a[:6], "")
    # 95 % is enough only for a genus.
    distant = ask(Consensus(), training[:1], [("q", changed(base, set(range(0, 300, 24))))])[0]
    assert 95 < distant.identity < 97
    assert distant.names == a
    assert distant.given == (True,) * 6 + (False,)


def test_names_need_a_majority_of_the_votes():
    a, b = (("K", "P", "C", "O", "F", "G", s) for s in ("G a", "G b"))
    none = (*a[:6], "")
    moved = ("K", "P", "C", "O other", "F", "G", "G a")
    taxa = Taxa([a, b, moved])
    assert agreed([a, a, b], taxa) == a
    assert agreed([a, b], taxa) == none
    # A hit without a name also votes.
    assert agreed([a, none], taxa) == none
    # 0.51 of 100 is more than half.
    assert agreed([a] * 50 + [b] * 50, taxa) == none
    assert agreed([a] * 51 + [b] * 49, taxa) == a
    # A species under two orders is one taxon, with the most frequent lineage.
    assert agreed([a, moved, moved, b], taxa) == moved
    assert agreed([("", "", "", "", "", "", "")], taxa) == ("",) * 7


def test_a_failing_tool_is_reported_with_the_last_line_of_its_output(monkeypatch):
    monkeypatch.setattr(tools.shutil, "which", lambda name: sys.executable)
    code = "import sys; sys.stderr.write('reading\\nno room left\\n\\n'); sys.exit(3)"
    with pytest.raises(ToolError, match=r"^sometool failed with exit code 3 \(no room left\); "):
        run_tool(["sometool", "-c", code], None)
    with pytest.raises(ToolError, match="no error message"):
        run_tool(["sometool", "-c", "import sys; sys.exit(1)"], None)


def test_a_tool_that_cannot_be_started_is_reported(monkeypatch, tmp_path):
    broken = tmp_path / "sometool"
    broken.write_text("no program", encoding="utf-8")
    monkeypatch.setattr(tools.shutil, "which", lambda name: str(broken))
    with pytest.raises(ToolError, match="sometool cannot be started"):
        run_tool(["sometool"], tmp_path)


@vsearch
def test_a_failing_search_names_vsearch():
    with pytest.raises(ToolError, match=r"^vsearch failed with exit code 1 \(.+\)"):
        ask(BestHit(accepts=-5), TRAINING, [("q", STEM[0])])
