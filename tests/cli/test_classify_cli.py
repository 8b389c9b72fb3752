"""``ednabed classify`` and ``ednabed reference calibrate``: from files to names, and one sentence per error."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from cli_support import call_in
from ednabed.export.assignments import TSV_COLUMNS
from ednabed.sequences.lineage import format_lineage
from ednabed.taxonomy.calibration import FILE, Group
from support import ednabed
from taxonomy_support import (
    DRAWS,
    FOREIGN,
    Barcode,
    lineage_of,
    randomly,
    reference_of,
    reverse_complement,
    shared_world,
    substituted,
    world,
    world_workspace,
    write_fasta,
    write_table,
)

WORLD = shared_world()
NOT_CALIBRATED = "is not calibrated, so names are given by fixed identity thresholds"


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    return world_workspace(tmp_path_factory.mktemp("world") / "ws")


@pytest.fixture
def own(workspace, tmp_path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(workspace, tmp_path / "own"))


@pytest.fixture(scope="module")
def uncalibrated(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    reference_of(folder, world(8, length=300))
    return folder


@pytest.fixture
def queries(tmp_path) -> Path:
    """A known species, its other strand, a fragment of it, a new species, N, a duplicate, and four invalid queries."""
    known = WORLD[1].sequence
    return write_fasta(
        tmp_path / "q.fa",
        [
            ("known", substituted(known, 2, 1)), ("turned", reverse_complement(substituted(known, 2, 1))),
            ("short", "ACGTACG"), ("piece", known[120:290]), ("new", substituted(known, 25, 2)),
            ("foreign!", known[:30] + "!" + known[30:]), ("known", substituted(known, 2, 1)),
            ("n", known[:100] + "N" * 9 + known[109:]), ("allN", "N" * 60), ("empty", ""),
        ],
    )  # fmt: skip


def calibration_of(workspace: Path) -> Path:
    (path,) = workspace.glob(f"data/reference/builds/*/{FILE}")
    return path


# -- results ---------------------------------------------------------------------------------------------------------


def test_a_table_in_the_order_of_the_input(capsys, workspace, queries):
    code, out, err = call_in(capsys, workspace, "classify", queries, "--format", "tsv")
    assert code == 0
    assert out.splitlines()[0].split("\t") == list(TSV_COLUMNS)
    rows = rows_of(out)
    assert [row["id"] for row in rows] == [
        "known", "turned", "short", "piece", "new", "foreign!", "known", "n", "allN", "empty"
    ]  # fmt: skip
    by = {row["id"]: row for row in rows}
    assert by["known"]["lineage"] == format_lineage(WORLD[1].lineage)
    assert (by["known"]["status"], by["known"]["rank"], by["known"]["strand"]) == ("assigned", "species", "+")
    assert float(by["known"]["identity"]) == pytest.approx(99.6, abs=0.3)
    assert float(by["known"]["confidence"]) == float(by["known"]["species_confidence"]) >= 0.8
    assert rows[0] == rows[6], "doubles are answered alike"
    assert (by["turned"]["strand"], by["turned"]["lineage"]) == ("-", by["known"]["lineage"])
    assert "reverse complement" in by["turned"]["note"]
    assert by["piece"]["genus"] == WORLD[1].lineage[5]
    assert by["new"]["species"] == ""
    assert by["n"]["lineage"] == format_lineage(WORLD[1].lineage)
    assert {name: by[name]["status"] for name in ("short", "foreign!", "allN", "empty")} == dict.fromkeys(
        ("short", "foreign!", "allN", "empty"), "rejected"
    )
    assert by["short"]["note"] == "7 bases, fewer than the minimum of 20"
    assert by["foreign!"]["note"] == "invalid character '!' at position 31"
    assert "10 queries: " in err
    assert "4 rejected" in err
    assert "1 are on the opposite strand" in err or "1 is on the opposite strand" in err
    assert "rejected: 'short': 7 bases" in err


def test_formats_and_files(capsys, workspace, queries, tmp_path):
    code, tsv, _ = call_in(capsys, workspace, "classify", queries, "--format", "tsv")
    rows = rows_of(tsv)
    target = tmp_path / "folder" / "taxa.tsv"
    code, out, err = call_in(capsys, workspace, "classify", queries, "--output", target)
    assert (code, out) == (0, "")
    assert target.read_text(encoding="utf-8") == tsv
    assert f"in {target}" in err
    call_in(capsys, workspace, "classify", queries, "--output", tmp_path / "taxa.jsonl")
    objects = [json.loads(line) for line in (tmp_path / "taxa.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [o["id"] for o in objects] == [row["id"] for row in rows]
    assert [o["lineage"] or "" for o in objects] == [row["lineage"] for row in rows]
    _, qiime2, _ = call_in(capsys, workspace, "classify", queries, "--format", "qiime2")
    assert qiime2.splitlines()[0] == "Feature ID\tTaxon\tConfidence"
    assert qiime2.splitlines()[1].split("\t")[1].endswith(f"; s__{WORLD[1].lineage[6]}")
    _, sintax, _ = call_in(capsys, workspace, "classify", queries, "--format", "sintax")
    assert sintax.splitlines()[0].split("\t")[3].startswith("d:Animalia,p:Phylum0")
    _, table, _ = call_in(capsys, workspace, "classify", queries)
    assert table.splitlines()[0].split()[:3] == ["id", "status", "rank"]
    assert len(table.splitlines()) in (len(rows) + 1, len(rows) + 2)


def test_neither_threads_nor_vectors_alone_change_the_known_species(capsys, workspace, queries):
    one, three = (
        [{**row, "similarity": ""} for row in rows_of(call_in(capsys, workspace, *asked, "--threads", count)[1])]
        for asked in [("classify", queries, "--format", "tsv")]
        for count in (1, 3)
    )
    assert one == three
    code, out, _ = call_in(capsys, workspace, "classify", queries, "--format", "tsv", "--no-align")
    rows = {row["id"]: row for row in rows_of(out)}
    assert code == 0
    assert rows["known"]["genus"] == WORLD[1].lineage[5]
    assert rows["known"]["identity"] == rows["known"]["coverage"] == ""


def test_limits_of_confidence_and_identity(capsys, workspace, queries):
    def row(*more):
        return rows_of(call_in(capsys, workspace, "classify", queries, "--format", "tsv", *more)[1])[0]

    assert row("--min-confidence", 1)["species"] == ""
    assert row("--min-confidence", 0)["species"] == WORLD[1].lineage[6]
    assert row("--min-identity", 99.9)["status"] == "unclassified"
    assert "below the requested 99.9" in row("--min-identity", 99.9)["note"]
    for option in ("--min-confidence", "--min-identity", "--min-coverage", "--alpha"):
        code, out, err = call_in(capsys, workspace, "classify", queries, option, 101)
        assert (code, out) == (2, "")
        assert option[2:] in err


def test_the_share_of_known_species_is_reported_and_kept_next_to_the_results(capsys, workspace, tmp_path):
    few = write_fasta(tmp_path / "few.fa", [(one.id, one.sequence) for one in WORLD[:20]])
    many = write_fasta(tmp_path / "many.fa", [(one.id, one.sequence) for one in WORLD[:120]])
    output = tmp_path / "taxonomy.tsv"
    for queries, options, words in (
        (few, [], "known species: 0.50, assumed, because 20 distinct queries are not enough to estimate it"),
        (many, [], "estimated from these"),
        (few, ["--known", "0.9"], "known species: 0.90, as requested"),
    ):
        code, _, err = call_in(capsys, workspace, "classify", queries, "--output", output, *options)
        assert code == 0
        assert words in err
        about = json.loads((tmp_path / "taxonomy.tsv.about.json").read_text("utf-8"))
        assert about["schema"] == "ednabed.classification/1"
        (shares,) = about["shares"].values()
        assert f"known species: {shares['known']:.2f}" in err
        assert sum(shares["lacking"].values()) == pytest.approx(1, abs=1e-3)
        assert about["criteria"]["known"] == (0.9 if options else None)
        assert about["statuses"] == {"assigned": len(rows_of(output.read_text("utf-8")))}


def test_names_at_a_precision(monkeypatch, capsys, workspace, queries):
    """If no confidence reaches the precision, no name is given, and this is reported."""
    arguments = (workspace, "classify", queries, "--format", "tsv", "--precision", "0.6")
    code, out, err = call_in(capsys, *arguments)
    assert code == 0
    assert [row["rank"] for row in rows_of(out)].count("species") > 2
    assert "no confidence reached" not in err
    found = Group.cutoff
    monkeypatch.setattr(
        Group, "cutoff", lambda own, rank, *more: None if rank == "species" else found(own, rank, *more)
    )
    code, out, err = call_in(capsys, *arguments)
    assert code == 0
    assert "species" not in {row["rank"] for row in rows_of(out)}
    assert "no confidence reached precision 0.6 in calibration at species, so no name is given there" in err


def test_names_by_consensus(capsys, workspace, uncalibrated, queries):
    for place in (workspace, uncalibrated):
        code, out, err = call_in(capsys, place, "classify", queries, "--format", "tsv", "--consensus")
        assert code == 0
        assert NOT_CALIBRATED not in err
        rows = [row for row in rows_of(out) if row["status"] != "rejected"]
        assert {row["confidence"] for row in rows} == {""}
        assert {row["novel_rank"] for row in rows} == {""}
    by = {
        row["id"]: row
        for row in rows_of(call_in(capsys, workspace, "classify", queries, "--format", "tsv", "--consensus")[1])
    }
    assert by["known"]["species"] == WORLD[1].lineage[6]
    assert not by["new"]["species"], "its identity is below the limit of species"
    assert by["new"]["withheld"] == "identity"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--known", "1.5"], "known is 1.5; expected a share above 0 and below 1"),
        (["--known", "nan"], "known is nan; expected a share"),
        (["--precision", "0"], "precision is 0; expected a share"),
        (["--consensus", "--precision", "0.9"], "consensus gives names without confidences"),
        (["--consensus", "--no-align"], "consensus compares identities"),
        (["--margin", "-1"], "margin is -1; expected a number from 0 to 100"),
        (["--novel-coverage", "101"], "novel-coverage is 101; expected a number from 0 to 100"),
    ],
)
def test_impossible_options(capsys, workspace, queries, options, words):
    code, out, err = call_in(capsys, workspace, "classify", queries, *options)
    assert (code, out) == (2, "")
    assert words in err


def test_without_a_calibration_shares_are_unknown(capsys, uncalibrated, queries):
    code, _, err = call_in(capsys, uncalibrated, "classify", queries, "--known", "0.5")
    assert code == 2
    assert "is not calibrated, so --precision and --known cannot be used" in err


def test_a_table_of_samples(capsys, workspace, queries, tmp_path):
    counts = tmp_path / "counts.tsv"
    counts.write_text("id\tlake\tsea\nknown\t3\t0\nnew\t1\t5\nother\t2\t2\n", encoding="utf-8")
    target = tmp_path / "taxa.tsv"
    code, _, err = call_in(
        capsys, workspace, "classify", queries, "--abundance", counts, "--taxon-table", target, "--format", "tsv"
    )
    assert code == 0
    text = target.read_text(encoding="utf-8")
    assert WORLD[1].lineage[6] in text
    assert "1 features of the count table (4 reads)" in err
    code, _, err = call_in(capsys, workspace, "classify", queries, "--abundance", counts)
    assert code == 2
    assert "--taxon-table" in err


def test_a_count_table_without_any_of_the_queries(capsys, workspace, queries, tmp_path):
    counts, target, taxa = tmp_path / "counts.tsv", tmp_path / "t.tsv", tmp_path / "taxa.tsv"
    options = ("--abundance", counts, "--taxon-table", taxa, "--output", target)
    for text, told in (
        ("", "is empty; give a file with at least one id and its counts"),
        ("id\tlake\nother\t3\n", "none of the sequences, such as 'known', is in this count table"),
    ):
        counts.write_text(text, encoding="utf-8")
        code, out, err = call_in(capsys, workspace, "classify", queries, *options)
        assert (code, out) == (1, "")
        assert f"{counts}: {told}" in err
        assert sorted(path.name for path in tmp_path.iterdir()) == ["counts.tsv", "q.fa"]


def samples_of(path: Path) -> dict[str, int]:
    """Return reads by sample from a sample-by-taxon table."""
    from ednabed.export.sample_table import COLUMNS

    rows = rows_of(path.read_text(encoding="utf-8"))
    return {name: sum(int(row[name]) for row in rows) for name in rows[0] if name not in COLUMNS}


def test_several_files_are_samples(capsys, uncalibrated, tmp_path):
    known = [one.sequence for one in world(8, length=300)]
    lake = write_fasta(tmp_path / "lake.fasta", [("a;size=5", known[0]), ("b;size=2;sample=pond", known[9])])
    sea = tmp_path / "sea.v2.fa.gz"
    sea.write_bytes(gzip.compress(f">a;size=7\n{known[0]}\n>short\nACGT\n".encode()))
    target = tmp_path / "taxa.tsv"
    code, _, err = call_in(capsys, uncalibrated, "classify", lake, sea, "--taxon-table", target, "--format", "tsv")
    assert code == 0, err
    # The rejected one counts as one read.
    assert samples_of(target) == {"lake": 5, "pond": 2, "sea.v2": 8}
    # A single file is not a sample by its name.
    assert call_in(capsys, uncalibrated, "classify", lake, "--taxon-table", target, "--format", "tsv")[0] == 0
    assert samples_of(target) == {"no_sample": 5, "pond": 2}
    # The count table determines the samples.
    counts = tmp_path / "counts.tsv"
    counts.write_text("id\twinter\na\t3\n", encoding="utf-8")
    code, _, _ = call_in(
        capsys, uncalibrated, "classify", lake, sea, "--taxon-table", target, "--abundance", counts, "--format", "tsv"
    )
    assert (code, samples_of(target)) == (0, {"winter": 3})
    # Two files of the same name are two samples.
    (tmp_path / "p1").mkdir()
    again = shutil.copyfile(lake, tmp_path / "p1" / "lake.fasta")
    code, _, err = call_in(
        capsys, uncalibrated, "classify", lake, again, sea, "--taxon-table", target, "--format", "tsv"
    )
    assert code == 0, err
    assert samples_of(target) == {f"{tmp_path.name}/lake": 5, "pond": 4, "p1/lake": 5, "sea.v2": 8}


def test_in_a_process_of_its_own_and_by_a_pipe(workspace, queries):
    done = ednabed("classify", "-", "--format", "tsv", cwd=workspace, stdin=queries.read_bytes())
    assert done.returncode == 0, done.stderr
    assert [row["id"] for row in rows_of(done.stdout.decode())][:2] == ["known", "turned"]
    assert b"Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
def test_partial_files_are_removed_when_the_process_is_terminated(workspace, queries, tmp_path):
    target = tmp_path / "results" / "out.tsv"
    process = subprocess.Popen(
        [sys.executable, "-m", "ednabed.cli.main", "classify", "-", "--output", str(target)],
        cwd=workspace, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        process.stdin.write(queries.read_bytes())
        process.stdin.flush()
        until = time.monotonic() + 60
        while not list(target.parent.glob(".out.tsv.*.tmp")) and time.monotonic() < until:
            time.sleep(0.05)
        assert list(target.parent.glob(".out.tsv.*.tmp"))
        process.terminate()
        assert process.wait(60) == 143
    finally:
        process.kill()
        process.communicate()
    assert list(target.parent.iterdir()) == []


# -- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file(capsys, workspace, tmp_path, content):
    path, target = tmp_path / "empty.fa", tmp_path / "out.tsv"
    path.write_text(content)
    target.write_text("older")
    code, out, err = call_in(capsys, workspace, "classify", path, "--output", target)
    assert (code, out) == (1, "")
    assert "empty.fa" in err
    assert target.read_text() == "older", "an older result stays as it was"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("option", ["--output", "--taxon-table"])
def test_an_output_that_is_the_input(capsys, workspace, queries, option):
    before = queries.read_bytes()
    code, _, err = call_in(capsys, workspace, "classify", queries, option, queries.parent / "." / queries.name)
    assert code == 2
    assert "given twice, as input and for results" in err
    assert queries.read_bytes() == before


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("own/data/reference/consolidated_metadata.json", "is inside the reference"),
        ("own/data/reference/new.tsv", "is inside the reference"),
        ("own/consolidated_data/runs/made-up/RUN/run.json", "is inside the run"),
        ("file/taxonomy.tsv", "is a file, expected a folder"),
        ("file/deeper/taxonomy.tsv", "is a file, expected a folder"),
        ("z.tsv.gz", "has the extension of a compressed file"),
        ("z.tsv.zst", "has the extension of a compressed file"),
    ],
)
def test_paths_where_no_result_can_be_written(monkeypatch, capsys, own, queries, tmp_path, place, told):
    monkeypatch.setattr("ednabed.cli.classify.open_from", lambda *_: pytest.fail("began the work"))
    (run,) = (own / "consolidated_data" / "runs" / "made-up").iterdir()
    (tmp_path / "file").write_text("mine")
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    target = tmp_path / place.replace("RUN", run.name)
    for verb, option in (("classify", "--output"), ("classify", "--taxon-table"), ("evaluate", "--output")):
        files = (queries,) if verb == "classify" else ()
        code, out, err = call_in(capsys, own, verb, *files, option, target)
        assert (code, out) == (2, "")
        assert told in err
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before


def test_two_results_in_one_file(capsys, workspace, queries, tmp_path):
    target = tmp_path / "t.tsv"
    code, _, err = call_in(capsys, workspace, "classify", queries, "--output", target, "--taxon-table", target)
    assert code == 2
    assert "given twice" in err


def test_a_missing_file_and_a_missing_reference(capsys, workspace, queries, tmp_path):
    code, _, err = call_in(capsys, workspace, "classify", tmp_path / "no.fa", "--format", "tsv")
    assert code == 1
    assert "no.fa" in err
    code, _, err = call_in(capsys, tmp_path, "classify", queries)
    assert code == 1
    assert "consolidate" in err
    assert "Traceback" not in err


def test_no_labels(capsys, tmp_path, queries):
    reference_of(tmp_path / "ws", [Barcode(f"r{i}", randomly(100, i), ("",) * 7) for i in range(3)])
    for command in (("classify", queries), ("reference", "calibrate")):
        code, out, err = call_in(capsys, tmp_path / "ws", *command)
        assert (code, out) == (1, "")
        assert "has no record with a lineage" in err
        assert "embed labelled records" in err


def test_a_missing_calibration_is_reported_and_vectors_alone_are_refused(capsys, uncalibrated, tmp_path):
    path = write_fasta(tmp_path / "q.fa", [("a", world(8, length=300)[5].sequence)])
    code, out, err = call_in(capsys, uncalibrated, "classify", path, "--format", "tsv")
    (row,) = rows_of(out)
    assert (code, row["species"], row["confidence"], row["novel_p"]) == (0, "Genus0 species1", "", "")
    assert NOT_CALIBRATED in err
    code, out, err = call_in(capsys, uncalibrated, "classify", path, "--no-align")
    assert (code, out) == (2, "")
    assert "run 'ednabed reference calibrate' or omit --no-align" in err


@pytest.mark.parametrize("limit", ["--min-identity", "--min-coverage"])
def test_limits_of_the_alignment_without_alignment_are_refused(capsys, workspace, queries, limit):
    for more in ((), ("--format", "tsv")):
        code, out, err = call_in(capsys, workspace, "classify", queries, "--no-align", limit, 90, *more)
        assert (code, out) == (2, "")
        assert limit[2:] in err
        assert "Traceback" not in err
    assert call_in(capsys, workspace, "classify", queries, "--no-align", limit, 0)[0] == 0


def test_too_little_to_calibrate(capsys, uncalibrated):
    code, _, err = call_in(capsys, uncalibrated, "reference", "calibrate", "--queries", 299)
    assert code == 2
    assert "299" in err
    code, _, err = call_in(capsys, uncalibrated, "reference", "calibrate", "--known", 1)
    assert code == 2
    assert not list(uncalibrated.glob(f"data/reference/builds/*/{FILE}"))


def test_a_damaged_calibration(capsys, own, queries):
    path = calibration_of(own)
    text = path.read_text(encoding="utf-8")
    for damaged in (text[: len(text) // 2], text.replace('"known": 0.5', '"known": 0.6'), ""):
        path.write_text(damaged, encoding="utf-8")
        code, out, err = call_in(capsys, own, "classify", queries, "--format", "tsv")
        assert (code, out) == (1, "")
        assert FILE in err
        assert "create it again with 'ednabed reference calibrate'" in err
    code, _, _ = call_in(capsys, own, "reference", "calibrate", "--queries", DRAWS, "--threads", 1)
    assert code == 0
    assert call_in(capsys, own, "classify", queries, "--format", "tsv")[0] == 0


def test_a_reference_that_was_built_again(capsys, own, queries):
    """The calibration of the old build does not apply to the new one, and this is reported."""
    more = write_table(own / "more.tsv", [Barcode("more", randomly(400, 3), lineage_of(77))])
    old = calibration_of(own)
    assert call_in(capsys, own, "embed", more, "--dataset", "more", "--model", "kmer6")[0] == 0
    code, _, err = call_in(capsys, own, "classify", queries, "--format", "tsv")
    assert code == 0
    assert NOT_CALIBRATED not in err, "nothing is consolidated yet"
    kept = old.read_bytes()
    assert call_in(capsys, own, "consolidate", "--incremental", "--no-calibrate")[0] == 0
    code, out, err = call_in(capsys, own, "classify", queries, "--format", "tsv")
    assert code == 0
    assert NOT_CALIBRATED in err
    assert {row["confidence"] for row in rows_of(out)} == {""}
    # A calibration that is copied by hand is refused.
    (build,) = (p for p in (own / "data" / "reference" / "builds").iterdir() if p != old.parent)
    (build / FILE).write_bytes(kept)
    code, _, err = call_in(capsys, own, "classify", queries)
    assert code == 1
    assert "is of build" in err


def test_a_calibrated_reference_is_sound_and_stays_calibrated(capsys, own, queries):
    assert call_in(capsys, own, "reference", "verify")[0] == 0
    assert call_in(capsys, own, "reference", "tag", "kept")[0] == 0
    code, _, err = call_in(capsys, own, "classify", queries, "--reference", "kept", "--format", "tsv")
    assert code == 0
    assert NOT_CALIBRATED not in err
    # Nothing is new: the build and its calibration are kept.
    assert call_in(capsys, own, "consolidate", "--incremental")[0] == 0
    assert NOT_CALIBRATED not in call_in(capsys, own, "classify", queries, "--format", "tsv")[2]


def test_another_marker(capsys, workspace, tmp_path):
    path = write_fasta(tmp_path / "q.fa", [(str(i), randomly(300, FOREIGN + i)) for i in range(12)])
    code, out, err = call_in(capsys, workspace, "classify", path, "--format", "tsv")
    rows = rows_of(out)
    assert code == 0
    nothing = [row for row in rows if row["status"] == "unclassified" and not row["kingdom_confidence"]]
    assert len(nothing) >= 8
    assert all("another marker, or no related sequence" in row["note"] for row in nothing)
    assert f"{len(nothing)} have no related sequence in the reference" in err
    assert "use a reference that contains it" in err


def test_calibrate_reports_its_results(capsys, own):
    first = json.loads(calibration_of(own).read_text(encoding="utf-8"))
    code, out, err = call_in(
        capsys, own, "reference", "calibrate", "--queries", DRAWS, "--threads", 2, "--seed", 0, "--json"
    )
    assert (code, err) == (0, "")
    told = json.loads(out)
    again = json.loads(calibration_of(own).read_text(encoding="utf-8"))
    assert {**again, "created": "", "calibration_sha256": ""} == {**first, "created": "", "calibration_sha256": ""}
    assert told["build"] == again["build"]
    assert sum(told["draws"][""].values()) <= DRAWS
    assert set(told["reliability"]) == {"aligned", "vectors"}


def test_nothing_can_be_measured_with_one_species_and_that_is_reported(capsys, tmp_path):
    base = randomly(300, 1)
    reference_of(tmp_path, [Barcode(f"r{i}", substituted(base, 4 + i % 6, i), lineage_of(0)) for i in range(210)])
    code, out, _ = call_in(capsys, tmp_path, "reference", "calibrate", "--threads", 1)
    assert code == 0
    assert "unknown      all: the accuracy of the calibration, because there are too few species" in out


def test_files_of_any_size_are_streamed(monkeypatch, capsys, uncalibrated, tmp_path):
    """Four times as many queries take at most 50 % more memory."""
    from ednabed.search import queries as module

    monkeypatch.setattr(module, "_BATCH", 100)
    known = world(8, length=300)
    peaks = []
    for count in (200, 200, 800):
        path = write_fasta(
            tmp_path / "q.fa", ((f"q{i}", known[i % 96].sequence[i % 90 : 150 + i % 97]) for i in range(count))
        )
        tracemalloc.start()
        code, _, _ = call_in(capsys, uncalibrated, "classify", path, "--output", tmp_path / "out.tsv", "--threads", 1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert code == 0
        assert len((tmp_path / "out.tsv").read_text(encoding="utf-8").splitlines()) == count + 1
    assert peaks[2] < 1.5 * peaks[1]


@pytest.mark.slow
def test_a_hundred_thousand_queries(uncalibrated, tmp_path):
    known = world(8, length=300)
    sizes = {}
    for count in (10_000, 100_000):
        path = write_fasta(
            tmp_path / "q.fa", ((f"q{i}", known[i % 96].sequence[i % 150 :][:150]) for i in range(count))
        )
        code = (
            "import resource, sys; from ednabed.cli.main import main\n"
            "try: main(sys.argv[1:])\n"
            "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, "--workspace", str(uncalibrated), "classify", str(path), "--output",
             str(tmp_path / "out.tsv")],
            capture_output=True, text=True, check=False, timeout=3_000,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        sizes[count] = int(done.stdout.split()[-1])
        with (tmp_path / "out.tsv").open(encoding="utf-8") as file:
            assert [line.split("\t", 1)[0] for line in file] == ["id", *(f"q{i}" for i in range(count))]
    assert sizes[100_000] < 1.3 * sizes[10_000]


# -- real sequences --------------------------------------------------------------------------------------------------


def test_the_demonstration_sample_against_a_part_of_the_12s_table(capsys, shared, tmp_path):
    sample, table = shared / "data" / "samples" / "demo_12s_1000.fasta.gz", shared / "data" / "12s.tsv.gz"
    if not (sample.is_file() and table.is_file()):
        pytest.skip(f"no {sample} or {table}")
    with gzip.open(sample, "rt", encoding="utf-8") as file:
        text = "".join(itertools.islice(file, 200))
    headers = [line[1:].split(maxsplit=1) for line in text.splitlines() if line.startswith(">")]
    (tmp_path / "demo.fa").write_text(text, encoding="utf-8")
    workspace = tmp_path / "ws"
    workspace.mkdir()
    embed = ("embed", table, "--dataset", "reference", "--max-sequences", 2_000)
    for command in (embed, ("consolidate", "--no-calibrate")):
        code, _, err = call_in(capsys, workspace, *command)
        assert code == 0, err
    code, out, _ = call_in(capsys, workspace, "classify", tmp_path / "demo.fa", "--format", "tsv")
    rows = rows_of(out)
    assert code == 0
    assert [row["id"] for row in rows] == [name for name, _ in headers]
    given = [(row, told.strip()) for row, (_, told) in zip(rows, headers, strict=True) if row["species"]]
    assert given
    # Without calibration a species is given from 97 %, so related species are confused; genera rarely are.
    right = [row["genus"] == told.split()[0] for row, told in given]
    assert sum(right) > 0.8 * len(right)
    for row in rows:
        assert row["status"] in ("assigned", "unclassified", "rejected")
        assert row["marker"] in ("12S", "")
