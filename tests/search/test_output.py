"""Results as files: read back by other means, and complete or missing."""

from __future__ import annotations

import csv
import io
import json
import os
import threading
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.errors import EdnabedError, StoreError, UsageError
from ednabed.search.hit import Hit
from ednabed.search.output import FORMATS, HitWriter, check_format, format_of


@dataclass(frozen=True)
class Aligned:
    """The attributes of ``ednabed.search.align.Alignment``."""

    strand: str = "-"
    score: int = 321
    identity: float = 98.76543
    length: int = 163
    matches: int = 160
    mismatches: int = 2
    gap_openings: int = 1
    query_coverage: float = 99.0
    target_coverage: float = 54.321
    query_start: int = 3
    query_end: int = 164
    target_start: int = 200
    target_end: int = 38
    cigar: str = "80=2X1D80="


KEYS = ["rank", "similarity", "distance", "id", "dataset", "run_id", "seq_idx", "sample", "abundance", "lineage",
        "occurrences", "datasets", "length", "source", "source_file"]  # fmt: skip


def hit(rank: int = 1, **changes: Any) -> Hit:
    facts = {
        "similarity": 0.98765432, "distance": 1 - 0.98765432, "id": f"seq{rank}", "dataset": "lake",
        "run_id": "2026-05-31_12-00-00", "seq_idx": 10 + rank, "sample": "A1", "abundance": 7,
        "lineage": "Animalia;Chordata;;;;;", "occurrences": 2, "datasets": {"lake": 2}, "length": 170, "source": "a.fa",
        "source_file": "consolidated_data/runs/lake/2026-05-31_12-00-00/embeddings.npy", **changes,
    }  # fmt: skip
    return Hit(rank, **facts)


def query(name: str | None = "q1", **more: object) -> dict:
    return {"id": name, **more}


def text_of(queries: list[tuple[dict, list[Hit]]], format: str, *, single: bool = False, aligned: bool = False) -> str:
    stream = io.StringIO(newline="")
    with HitWriter(stream, format, single=single, aligned=aligned) as writer:
        for one, hits in queries:
            writer.write(one, hits)
    assert not stream.closed
    return stream.getvalue()


ODD = st.text(st.characters(), max_size=8) | st.sampled_from(
    [
        "",
        " ",
        "a\tb",
        "a\nb",
        "a\r\nb",
        '"',
        '"a',
        "'",
        "\\",
        "\x1b[31m",
        "\u2028",
        "\u202e",
        "\x85",
        "\ud800",
        "=1+1",
        "é",
    ]
)
names = st.none() | ODD
odd_hits = st.lists(
    st.builds(
        hit, rank=st.integers(1, 99), id=names, sample=names, lineage=names, dataset=ODD,
        abundance=st.none() | st.integers(), similarity=st.floats(-1, 1), alignment=st.none() | st.just(Aligned()),
    ),
    max_size=3,
)  # fmt: skip
odd_queries = st.lists(st.tuples(names.map(query), odd_hits), max_size=3)


# -- json --------------------------------------------------------------------------------------------------------------


def test_json_of_one_query_keeps_the_keys_of_the_guide():
    found = json.loads(text_of([(query(run="lake/r", seq_idx=3), [hit(1), hit(2)])], "json", single=True))
    assert found == {
        "query": {"id": "q1", "run": "lake/r", "seq_idx": 3},
        "results": [hit(1).to_dict(), hit(2).to_dict()],
    }
    assert list(found["results"][0]) == KEYS
    assert {"rank", "distance", "dataset", "run_id", "seq_idx", "source_file"} <= set(found["results"][0])


def test_json_of_many_queries_is_an_array():
    given_ = [
        (query("a", status="embedded"), [hit()]),
        (query(None, reason="empty"), []),
        (query("c"), [hit(1), hit(2)]),
    ]
    text = text_of(given_, "json")
    assert json.loads(text) == [{"query": one, "results": [hit.to_dict() for hit in hits]} for one, hits in given_]
    assert len(text.splitlines()) == 2 + len(given_)
    assert json.loads(text_of(given_[:1], "json")) == [{"query": given_[0][0], "results": [hit().to_dict()]}]


@pytest.mark.parametrize("single", [True, False])
def test_json_of_no_hits_and_no_queries(single):
    assert json.loads(text_of([(query(), [])], "json", single=single)) in (
        {"query": query(), "results": []},
        [{"query": query(), "results": []}],
    )
    assert json.loads(text_of([], "json")) == []


def test_json_has_the_fields_of_the_alignment_in_the_hit():
    hits = [hit(1, alignment=Aligned()), hit(2, alignment=None)]
    first, second = json.loads(text_of([(query(), hits)], "json", aligned=True))[0]["results"]
    assert list(first) == list(second)
    assert list(first)[: len(KEYS)] == KEYS
    assert first["length"] == second["length"] == 170
    renamed = {"alignment_length": "length", "alignment_score": "score"}
    keys = list(first)[len(KEYS) :]
    assert {renamed.get(key, key): first[key] for key in keys} == {
        f.name: getattr(Aligned(), f.name) for f in fields(Aligned)
    }
    assert {second[key] for key in keys} == {None}


def test_the_double_has_the_attributes_of_the_real_alignment():
    align = pytest.importorskip("ednabed.search.align")
    assert [f.name for f in fields(align.Alignment)] == [f.name for f in fields(Aligned)]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("single", [True, False])
def test_json_refuses_numbers_that_are_not_finite(tmp_path, number, single):
    path = tmp_path / "x.json"
    message = r"query q1: a number .* not finite.*ednabed runs verify"
    with pytest.raises(StoreError, match=message), HitWriter(path, "json", single=single, aligned=False) as writer:
        writer.write(query(), [hit(similarity=number)])
    assert list(tmp_path.iterdir()) == []


@given(odd_queries, st.booleans())
def test_json_preserves_any_text(queries, aligned):
    text = text_of(queries, "json", aligned=aligned)
    assert text.isascii()
    found = json.loads(text)
    assert [one["query"] for one in found] == [one for one, _ in queries]
    for one, (_, hits) in zip(found, queries, strict=True):
        assert [{key: h[key] for key in KEYS} for h in one["results"]] == [h.to_dict() for h in hits]
        assert all("alignment" not in h and ("cigar" in h) == aligned for h in one["results"])


# -- tsv ---------------------------------------------------------------------------------------------------------------

TSV = ["query", *KEYS[:11]]
ALIGNED = ["identity", "query_coverage", "target_coverage", "strand", "cigar"]


def rows_of(text: str) -> list[dict[str, str]]:
    lines = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE))
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def test_tsv_has_one_line_per_hit():
    text = text_of([(query("a"), [hit(1), hit(2, abundance=None)]), (query("b"), []), (query("c"), [hit(1)])], "tsv")
    assert text.splitlines()[0].split("\t") == TSV
    assert text.splitlines()[1].split("\t") == [
        "a", "1", "0.987654", "0.012346", "seq1", "lake", "2026-05-31_12-00-00", "11", "A1", "7",
        "Animalia;Chordata;;;;;", "2",
    ]  # fmt: skip
    rows = rows_of(text)
    assert [(row["query"], row["rank"]) for row in rows] == [("a", "1"), ("a", "2"), ("c", "1")]
    assert rows[1]["abundance"] == ""


@pytest.mark.parametrize("aligned", [True, False])
def test_tsv_without_queries_is_a_header(aligned):
    assert text_of([], "tsv", aligned=aligned) == "\t".join(TSV + ALIGNED * aligned) + "\n"
    assert text_of([(query(), [])], "tsv", aligned=aligned) == "\t".join(TSV + ALIGNED * aligned) + "\n"


def test_tsv_with_alignments():
    hits = [hit(1, alignment=Aligned()), hit(2, alignment=None)]
    first, second = rows_of(text_of([(query(), hits)], "tsv", aligned=True))
    assert [first[key] for key in ALIGNED] == ["98.765", "99.000", "54.321", "-", "80=2X1D80="]
    assert [second[key] for key in ALIGNED] == [""] * 5


@pytest.mark.parametrize(
    ("one", "name"),
    [
        (query(None), ""),
        (query(""), ""),
        (query(None, run="lake/r", seq_idx=0), "lake/r:0"),
        (query(None, seq_idx=4), "4"),
        (query("x", run="lake/r", seq_idx=0), "x"),
    ],
)
def test_a_query_has_a_name_if_possible(one, name):
    assert rows_of(text_of([(one, [hit()])], "tsv"))[0]["query"] == name


def test_numbers_near_zero_have_no_sign():
    row = rows_of(text_of([(query(), [hit(similarity=1.0000001, distance=-1e-7)])], "tsv"))[0]
    assert (row["similarity"], row["distance"]) == ("1.000000", "0.000000")
    assert rows_of(text_of([(query(), [hit(distance=-0.25)])], "tsv"))[0]["distance"] == "-0.250000"


def plain(text: str | None) -> str:
    """What must be read back of a text, character by character, from the definition."""
    ends = "\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    return "".join(
        " " if ord(c) < 32 or 127 <= ord(c) < 160 or c in ends else "\ufffd" if 0xD800 <= ord(c) < 0xE000 else c
        for c in text or ""
    )


@given(odd_queries)
def test_tsv_preserves_any_text_except_control_characters(queries):
    text = text_of(queries, "tsv", aligned=True)
    text.encode()
    rows = rows_of(text)
    wanted = [(one, h) for one, hits in queries for h in hits]
    # Other programs end a line at any of these.
    assert len(text.splitlines()) == len(text.split("\n")) - 1 == len(rows) + 1 == len(wanted) + 1
    for row, (one, h) in zip(rows, wanted, strict=True):
        assert row["query"] == plain(one["id"])
        assert [row[key] for key in ("id", "sample", "lineage", "dataset")] == [
            plain(h.value(key)) for key in ("id", "sample", "lineage", "dataset")
        ]
        assert float(row["similarity"]) == pytest.approx(h.similarity, abs=6e-7)
        assert row["abundance"] == ("" if h.abundance is None else str(h.abundance))


# -- blast6 ------------------------------------------------------------------------------------------------------------


def test_blast6_has_the_twelve_columns():
    hits = [hit(1, alignment=Aligned()), hit(2, alignment=None), hit(3, id="a b\t c", alignment=Aligned(strand="+"))]
    text = text_of([(query("my query"), hits), (query("b"), [])], "blast6", aligned=True)
    assert text == (
        "my_query\tseq1\t98.765\t163\t2\t1\t3\t164\t200\t38\t-1\t0\n"
        "my_query\ta_b__c\t98.765\t163\t2\t1\t3\t164\t200\t38\t-1\t0\n"
    )
    assert text_of([], "blast6", aligned=True) == ""


def test_blast6_names_hits_without_id():
    text = text_of([(query(None), [hit(1, id=None, alignment=Aligned())])], "blast6", aligned=True)
    assert text.split("\t")[:2] == ["query", "lake/2026-05-31_12-00-00:11"]


@given(odd_queries)
def test_blast6_has_no_blank_whatever_the_ids(queries):
    text = text_of(queries, "blast6", aligned=True)
    text.encode()
    lines = text.splitlines()
    assert len(lines) == sum(h.alignment is not None for _, hits in queries for h in hits)
    for line in lines:
        cells = line.split("\t")
        assert len(cells) == 12
        assert all(cell and len(cell.split()) == 1 for cell in cells)


# -- table -------------------------------------------------------------------------------------------------------------


def test_a_table_of_one_query():
    assert text_of([(query(), [hit(1), hit(12, id="x", sample=None)])], "table", single=True) == (
        "rank  similarity  occurrences  id    dataset  run_id               seq_idx  sample  abundance  lineage\n"
        "1     0.9877      2            seq1  lake     2026-05-31_12-00-00  11       A1      7          "
        "Animalia;Chordata;;;;;\n"
        "12    0.9877      2            x     lake     2026-05-31_12-00-00  22               7          "
        "Animalia;Chordata;;;;;\n"
    )


def test_a_table_with_alignments():
    hits = [hit(1, alignment=Aligned()), hit(2, alignment=None)]
    lines = text_of([(query(), hits)], "table", single=True, aligned=True).splitlines()
    assert lines[0].split()[:6] == ["rank", "similarity", "identity", "coverage", "strand", "occurrences"]
    assert lines[1].split()[:6] == ["1", "0.9877", "98.8", "99.0", "-", "2"]
    assert lines[2].split()[:3] == ["2", "0.9877", "2"]
    assert lines[0].index("occurrences") == lines[1].index("2  ", 30) == lines[2].index("2  ", 30)


def test_tables_of_many_queries_have_headings():
    queries = [
        (query("a", length=170), [hit()]),
        (query("b", status="rejected", reason="letter 'E' at 3"), []),
        (query(None), []),
    ]
    text = text_of(queries, "table")
    assert [block.splitlines()[0] for block in text.split("\n\n")] == ["a (length 170)", "b", "query"]
    assert text.split("\n\n")[1].splitlines()[1:] == ["no hits (rejected, letter 'E' at 3)"]
    assert text.endswith("query\nno hits\n")
    assert text_of([(query(reason="\x1b[2J\n"), [])], "table", single=True) == "no hits ( [2J )\n"
    assert text_of([(query(), [])], "table", single=True) == "no hits\n"
    assert text_of([], "table") == ""


@given(odd_queries, st.booleans())
def test_a_table_does_not_control_the_terminal(queries, aligned):
    text = text_of(queries, "table", aligned=aligned)
    text.encode()
    assert plain(text.replace("\n", "")) == text.replace("\n", "")
    blocks = sum(len(hits) + 2 if hits else 2 for _, hits in queries)
    assert len(text.splitlines()) == blocks + max(len(queries) - 1, 0)


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_has_the_bytes_of_the_stream(tmp_path, format):
    queries = [(query("é"), [hit(1, sample="Zürich", alignment=Aligned())]), (query("b"), [])]
    path = tmp_path / "new" / "deep" / "hits.x"
    with HitWriter(path, format, single=False, aligned=True) as writer:
        for one, hits in queries:
            writer.write(one, hits)
        assert not path.exists()
        works = sorted(work.name for work in path.parent.iterdir())
        assert works and all(name.startswith(".hits.x.") for name in works)
    assert path.read_bytes() == text_of(queries, format, aligned=True).encode()
    assert list(path.parent.iterdir()) == [path]


class Killed(BaseException):
    """Represents a signal: ``except Exception`` does not catch it."""


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, Killed])
@pytest.mark.parametrize("old", [None, b"old\n"])
def test_an_exception_leaves_everything_unchanged(tmp_path, format, error, old):
    path = tmp_path / "hits"
    if old is not None:
        path.write_bytes(old)
    with pytest.raises(error), HitWriter(path, format, single=False, aligned=True) as writer:
        writer.write(query(), [hit(alignment=Aligned())] * 5000)
        raise error
    assert [(p, p.read_bytes()) for p in tmp_path.iterdir()] == ([] if old is None else [(path, old)])


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failure_at_the_very_end_leaves_everything_unchanged(tmp_path, monkeypatch, failing):
    path = tmp_path / "hits.tsv"
    path.write_text("old", encoding="utf-8")

    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os if failing == "fsync" else Path, failing, fail)
    with (
        pytest.raises(OSError, match="no space left"),
        HitWriter(path, "tsv", single=True, aligned=False) as writer,
    ):
        writer.write(query(), [hit()])
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text(encoding="utf-8") == "old"


def test_everything_is_on_the_disk_before_the_file_is_renamed(tmp_path, monkeypatch):
    seen = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(number):
        seen.append(("fsync", os.fstat(number).st_size))
        return fsync(number)

    def watched_replace(self, target):
        seen.append(("replace", self.stat().st_size))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    with HitWriter(tmp_path / "x.json", "json", single=False, aligned=False) as writer:
        writer.write(query(), [hit()])
    size = (tmp_path / "x.json").stat().st_size
    assert seen == [("fsync", size), ("replace", size)]


def test_an_old_file_is_replaced_and_a_link_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    real, link = tmp_path / "disk" / "hits.tsv", tmp_path / "hits.tsv"
    real.write_text("old", encoding="utf-8")
    try:
        link.symlink_to(real)
    except OSError:
        pytest.skip("this system lets nobody make links")
    with HitWriter(link, "tsv", single=True, aligned=False) as writer:
        writer.write(query(), [hit()])
    assert link.is_symlink()
    assert real.read_text(encoding="utf-8").startswith("query\t")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["disk", "hits.tsv", "hits.tsv"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_written_to_and_stays(tmp_path):
    pipe = tmp_path / "pipe.tsv"
    os.mkfifo(pipe)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text(encoding="utf-8")), daemon=True)
    reader.start()
    with HitWriter(pipe, "tsv", single=True, aligned=False) as writer:
        writer.write(query(), [hit()])
    reader.join(timeout=60)
    assert got == [text_of([(query(), [hit()])], "tsv", single=True)]
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_folder_is_not_a_file(tmp_path):
    message = r"is a folder, expected a file .* hits.json"
    with pytest.raises(UsageError, match=message), HitWriter(tmp_path, "json", single=True, aligned=False):
        pytest.fail("opened")
    assert list(tmp_path.iterdir()) == []


def test_a_long_name_works(tmp_path):
    path = tmp_path / ("x" * 240 + ".tsv")
    with HitWriter(path, "tsv", single=False, aligned=False):
        pass
    assert list(tmp_path.iterdir()) == [path]


def test_queries_are_written_as_they_arrive():
    stream = io.StringIO()
    with HitWriter(stream, "json", single=False, aligned=False) as writer:
        before = 0
        for number in range(3):
            writer.write(query(str(number)), [hit()])
            assert len(stream.getvalue()) > before + 200
            before = len(stream.getvalue())


def test_a_query_that_cannot_be_written_leaves_nothing_in_the_stream():
    stream = io.StringIO()
    with pytest.raises(StoreError), HitWriter(stream, "json", single=False, aligned=False) as writer:
        writer.write(query("a"), [hit()])
        before = stream.getvalue()
        writer.write(query("b"), [hit(1), hit(2, similarity=float("nan"))])
    assert stream.getvalue() == before


@pytest.mark.parametrize("format", FORMATS)
def test_a_single_query_is_one_query(tmp_path, format):
    path = tmp_path / "hits"
    # Kept referenced, so that garbage collection does not clean up.
    held = HitWriter(path, format, single=True, aligned=True)
    with pytest.raises(ValueError, match="got none") as caught, held:
        pass
    assert list(tmp_path.iterdir()) == []
    assert caught.value.__context__ is None
    with (
        pytest.raises(ValueError, match="got a second"),
        HitWriter(path, format, single=True, aligned=True) as writer,
    ):
        writer.write(query(), [])
        writer.write(query(), [])
    assert list(tmp_path.iterdir()) == []


# -- which format ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "asked", "format"),
    [
        (None, None, "table"),
        (None, "json", "json"),
        ("a.json", None, "json"),
        ("a.b.JSON", None, "json"),
        ("a.tsv", None, "tsv"),
        ("a.txt", None, "tsv"),
        ("a.b6", None, "blast6"),
        ("a.blast6", None, "blast6"),
        ("a.m8", None, "blast6"),
        ("a.json", "tsv", "tsv"),
        ("a", "table", "table"),
    ],
)
def test_the_format_is_the_requested_one_or_that_of_the_extension(path, asked, format):
    assert format_of(None if path is None else Path(path), asked) == format
    assert format in FORMATS


@pytest.mark.parametrize(
    ("path", "asked", "message"),
    [
        ("a.csv", None, "a.csv: the extension '.csv' is not that of a result format, expected one of .json, .tsv"),
        ("a", None, "the extension '' is not that of a result format"),
        ("a.json.gz", None, "the extension '.gz' is not that of a result format"),
        (".json", None, "the extension '' is not that of a result format"),
        ("a.json", "xml", "the result format 'xml' is unknown; choose one of json, tsv, blast6, table"),
        (None, "JSON", "the result format 'JSON' is unknown"),
    ],
)
def test_an_unknown_format_is_refused(path, asked, message):
    with pytest.raises(UsageError) as caught:
        format_of(None if path is None else Path(path), asked)
    assert message in str(caught.value)


def test_blast6_needs_alignments(tmp_path):
    check_format("blast6", True)
    for format in set(FORMATS) - {"blast6"}:
        check_format(format, False)
    with pytest.raises(UsageError, match="blast6 consists of alignments, and this search computes none"):
        check_format("blast6", False)
    with pytest.raises(UsageError, match="the result format 'xml' is unknown"):
        check_format("xml", True)
    with pytest.raises(EdnabedError):
        HitWriter(tmp_path / "a.b6", "blast6", single=True, aligned=False)
