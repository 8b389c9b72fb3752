"""The walk in the documentation, command by command, on real samples."""

from __future__ import annotations

import csv
import gzip
import json
import re
import shlex
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ednabed import get_data_manager
from ednabed.reference.opened import open_reference
from ednabed.sequences import open_records
from support import ednabed

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "walk.md"
EXAMPLES = ROOT / "examples"
ASVS = "okex2301_12s_asv.fasta.gz"
NAMES = [ASVS, "canopy_coi.fastq.gz", "okex2301_18s.fasta.gz", "fish_12s.tsv.gz"]
COUNTS = "okex2301_12s_counts.tsv.gz"
# Confidences near 0.8: a little more or less of it gives the name of the rank above or below.
EITHER = {
    "67ff5be1871c.D01-01": ("(genus|species)", "Anoplopoma( fimbria)?"),
    "050ead6c5984.D01-01": ("(family|genus)", "(Scorpaenidae|Sebastes)"),
    "657ae105eabc.D01-03": ("(genus|species)", "Stenobrachius( leucopsarus)?"),
    "dc234915150a.D01-01": ("(class|order)", "(Actinopteri|Stomiiformes)"),
}
WHALE = "65d7f68c293cd9824f3f7c2e7aef587f"


def commands() -> list[str]:
    return re.findall(r"^    (ednabed [^\n]+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def walked(tmp_path_factory) -> tuple[Path, list[tuple[str, str, str]]]:
    """The workspace at the end of the walk, and what each command said."""
    clone = tmp_path_factory.mktemp("clone")
    shutil.copytree(EXAMPLES, clone / "examples")
    folder = clone / "walk"
    folder.mkdir()
    said = []
    for command in commands():
        done = ednabed(*shlex.split(command)[1:], cwd=folder)
        out, err = done.stdout.decode(), done.stderr.decode()
        assert done.returncode == 0, f"{command}\n{out}\n{err}"
        assert "Traceback" not in err
        said.append((command, out, err))
    return folder, said


def output_of(said: list[tuple[str, str, str]], start: str) -> list[str]:
    found = [out for command, out, _ in said if command.startswith(start)]
    assert found, start
    return found


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def counts_by_asv() -> tuple[list[str], dict[str, list[int]]]:
    """Names of the samples, and the reads of each ASV in them."""
    with gzip.open(EXAMPLES / COUNTS, "rt", encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file, delimiter="\t")
    return header[1:], {line[0]: [int(cell) for cell in line[1:]] for line in lines}


def test_each_distinct_sequence_is_there_once(walked):
    folder, _ = walked
    reference = open_reference(folder / "data" / "reference")
    sequences: set[str] = set()
    counts = counts_by_asv()[1]
    records = 0
    for name in NAMES:
        with open_records(EXAMPLES / name) as batches:
            for batch in batches:
                letters = [s.decode().upper() for s in batch.column("sequence").to_pylist()]
                # A sequence with counts is a record in each sample with reads.
                ids = batch.column("id").to_pylist()
                records += sum(sum(n > 0 for n in counts[i]) for i in ids) if name == ASVS else len(letters)
                sequences |= set(letters)
    held = reference.take_sequences(np.arange(reference.rows)).column("sequence").to_pylist()
    assert len(held) == len(set(held))
    rejected = sum(len(p.read_text(encoding="utf-8").splitlines()) - 1 for p in folder.rglob("rejected.tsv"))
    # Two of the four files were embedded twice, and nothing of them is rejected.
    assert reference.manifest.counts["records"] == records - rejected
    # IUPAC codes become N, by which two sequences may become one.
    assert len({s for s in sequences if not set(s) - set("ACGTN")} - set(held)) <= rejected
    assert len(held) <= len(sequences)


def test_incremental_reads_the_new_run_only_and_then_nothing(walked):
    _, said = walked
    first, second, third, last = output_of(said, "ednabed consolidate --incremental")
    assert "4 of 4 datasets, 1 read now" in first
    for later in (second, third, last):
        assert "nothing new" in later
        assert "0 read now" in later


def test_hits_across_studies(walked):
    folder, said = walked
    (aligned,) = output_of(said, "ednabed search --run deep_sea_12s --seq-idx 0 --dataset barcodes_12s")
    lines = aligned.strip().split("\n")
    assert len(lines) == 6
    assert all("barcodes_12s" in line for line in lines[1:])
    rows = rows_of(folder / "hits.tsv")
    assert len(rows) == 438 * 3
    assert not [row for row in rows if row["query"] == row["id"] and row["dataset"] == "deep_sea_12s"]
    assert {row["rank"] for row in rows} == {"1", "2", "3"}
    for line in (folder / "hits.b6").read_text(encoding="utf-8").splitlines():
        assert len(line.split("\t")) == 12
    one = json.loads((folder / "one.json").read_text(encoding="utf-8"))
    assert one["query"]["seq_idx"] == 0
    assert one["results"][0]["similarity"] == pytest.approx(1, abs=1e-6)
    assert set(one["results"][0]["datasets"]) <= {"deep_sea_12s", "canopy_coi", "deep_sea_18s"}


def test_the_named_build_has_three_studies_and_the_current_one_four(walked):
    folder, _ = walked
    named = open_reference(folder / "data" / "reference", "reference_2026-11")
    assert [part.dataset for part in named.manifest.runs] == ["deep_sea_12s", "canopy_coi", "deep_sea_18s"]
    current = open_reference(folder / "data" / "reference")
    assert {part.dataset for part in current.manifest.runs} == {
        "deep_sea_12s",
        "canopy_coi",
        "deep_sea_18s",
        "barcodes_12s",
    }
    assert current.manifest.version == "v1.0"
    second = open_reference(folder / "data" / "reference_v2.0")
    assert second.manifest.version == "v2.0"
    assert second.spec.dimension == 4096


def test_eight_sequences_get_the_answers_that_the_page_shows(walked):
    _, said = walked
    (made,) = output_of(said, "ednabed consolidate --runs-root labelled")
    assert "1,331 distinct, in 1,550 records" in made
    assert re.search(r"^calibrated   in .* with [\d,]+ queries drawn from it$", made, re.MULTILINE)
    (told,) = output_of(said, "ednabed classify ../examples/unknown_12s.fasta")
    answers = {line.split()[0]: line for line in told.splitlines()[1:]}
    shown = re.findall(
        r"^\| (\w+\.D\S+) \| (\w+) \| (.*?) ?\| (.*?) ?\| (.*?) ?\|$", PAGE.read_text("utf-8"), re.MULTILINE
    )
    assert [row[0] for row in shown] == list(answers), "in the order of the input"
    for name, status, rank, taxon, absent in shown:
        rank, taxon = EITHER.get(name, (rank, taxon))
        # Guesses and their confidences differ a little from one processor to another.
        given = taxon.split(" [")[0]
        line = rf"{name} +{status} +{rank} +{given}( \[.* [\d.]+\])? +[\d.]+ +[\d.]+( +{absent} \(q .*\))?"
        assert re.fullmatch(line if taxon else rf"{name} +{status} +[\d.]+", answers[name].strip()), answers[name]
        assert bool(absent) == ("(q " in answers[name])


def test_names_and_counts_of_the_cruise(walked):
    folder, _ = walked
    rows = rows_of(folder / "taxonomy.tsv")
    by = {row["id"]: row for row in rows}
    ids = [row["id"] for row in rows]
    with open_records(EXAMPLES / ASVS) as batches:
        assert ids == [name for batch in batches for name in batch.column("id").to_pylist()]
    told = {row["status"] for row in rows}
    assert told == {"assigned", "not_in_reference", "unclassified"}
    for row in rows:
        given = [name for name in row["lineage"].split(";") if name]
        assert (row["rank"] == "") == (not given)
        assert not given or float(row["confidence"]) >= 0.8
        assert not row["tied_species"] or not row["species"], "of species that fit equally well none is given"
        assert (row["status"] == "not_in_reference") == (row["novel_rank"] != "")
        assert not row["novel_rank"] or max(float(row["novel_p"]), float(row["novel_q"])) <= 0.05
        assert not row["novel_rank"] or given, "nothing is absent without a name above"
    # A fin whale, by the names published with the data, is no fish of any order that the reference holds.
    assert not by[WHALE]["order"]
    assert float(by[WHALE]["identity"]) < 80
    # The sablefish was much of what swam there, by the names published with the data too.
    samples, counts = counts_by_asv()
    reads = {name: sum(row) for name, row in counts.items()}
    table = rows_of(folder / "taxa.tsv")
    assert sum(int(row["total"]) for row in table) == sum(reads.values())
    assert list(table[0])[-len(samples) :] == samples
    sablefish = [name for name in ids if by[name]["genus"] == "Anoplopoma"]
    counted = [int(row["total"]) for row in table if row["genus"] == "Anoplopoma"]
    assert sum(counted) == sum(reads[name] for name in sablefish) > 500_000
    taxa = rows_of(folder / "taxonomy_qiime2.tsv")
    assert list(taxa[0]) == ["Feature ID", "Taxon", "Confidence"]
    assert [row["Feature ID"] for row in taxa] == ids
    for row in taxa:
        names = [part.split("__", 1)[1] for part in row["Taxon"].split("; ")] if "__" in row["Taxon"] else []
        assert names == by[row["Feature ID"]]["lineage"].rstrip(";").split(";")[: len(names)]
        assert bool(names) == (by[row["Feature ID"]]["rank"] != "")


def test_what_is_new_is_put_together(walked):
    folder, _ = walked
    novel = {row["id"] for row in rows_of(folder / "taxonomy.tsv") if row["status"] == "not_in_reference"}
    candidates = rows_of(folder / "discovery" / "candidates.tsv")
    members = rows_of(folder / "discovery" / "members.tsv")
    assert {row["id"] for row in members} == novel
    reads = [int(row["reads"]) for row in candidates]
    assert reads == sorted(reads, reverse=True)
    assert [row["id"] for row in candidates] == [f"novel_{i + 1}" for i in range(len(candidates))]
    assert {row["candidate"] for row in members} == {row["id"] for row in candidates}
    for row in candidates:
        assert max(float(row["p"]), float(row["q"])) <= 0.05
        assert not row["lineage"].split(";")[6]
    with open_records(folder / "discovery" / "candidates.fasta") as batches:
        assert [name for batch in batches for name in batch.column("id").to_pylist()] == [c["id"] for c in candidates]
    assert (folder / "discovery" / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_how_right_it_is_was_measured(walked):
    folder, _ = walked
    page = (folder / "accuracy.md").read_text(encoding="utf-8")
    for group in ("record", "species", "genus", "family"):
        assert f"| {group} |" in page
    # The model of the reference, and the yardstick.
    assert "ednabed barcode-1" in page
    assert "ednabed kmer6" in page


def test_versions_are_compared_on_common_sequences(walked):
    _, said = walked
    (told,) = output_of(said, "ednabed versions compare")
    # 438 deep-sea sequences and 1,331 distinct barcodes, some in both.
    assert re.search(r"1,7\d\d", told), told


def test_two_functions_are_refused_and_named(walked):
    folder, _ = walked
    done = ednabed("consolidate", "--output", "data/other", cwd=folder)
    assert done.returncode == 1
    assert b"kmer6-full" in done.stderr
    assert b"deep_sea_12s/" in done.stderr
    assert not (folder / "data" / "other").exists()
    searched = ednabed(
        "search", "--reference", "data/reference_v2.0", "--run", "canopy_coi", "--seq-idx", "0", cwd=folder
    )
    assert searched.returncode == 1
    assert b"cannot be compared" in searched.stderr


def test_compressed_runs_are_the_same_runs(walked):
    folder, _ = walked
    data = get_data_manager(folder)
    assert data.list_datasets() == ["barcodes_12s", "canopy_coi", "deep_sea_12s", "deep_sea_18s"]
    assert all(run.fault is None for run in data.list_runs())
    assert not list(folder.rglob("consolidated_data/**/embeddings.npy"))
    reference = open_reference(folder / "data" / "reference")
    run = data.list_runs("deep_sea_18s")[0]
    (number,) = [i for i, part in enumerate(reference.manifest.runs) if part.dataset == "deep_sea_18s"]
    part = reference.manifest.runs[number]
    vectors = data.load_embeddings(f"deep_sea_18s/{run.run_id}")
    assert part.sequences == part.records == len(vectors)
    np.testing.assert_array_equal(vectors, reference.vectors[part.first : part.first + part.sequences])
    hits = data.search_across_embeddings("deep_sea_18s", 42, top_k=5)
    assert len(hits) == 5
    assert all(hit["dataset"] != "deep_sea_18s" and hit["path"].is_dir() for hit in hits)


def test_exports_of_the_run_have_the_reads_of_each_sample_and_names(walked):
    folder, said = walked
    samples, counts = counts_by_asv()
    expected = {name: sum(row[place] for row in counts.values()) for place, name in enumerate(samples)}
    _, header, *lines = (folder / "deep_sea_qiime2" / "feature-table.tsv").read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    assert {row[0] for row in rows} == set(counts), "the lab's own ids"
    found = {name: sum(int(row[place]) for row in rows) for place, name in enumerate(header.split("\t")) if place}
    assert found == {name: reads for name, reads in expected.items() if reads}
    with zipfile.ZipFile(folder / "deep_sea_dwc.zip") as archive:
        occurrences = list(csv.DictReader(archive.read("occurrence.txt").decode().splitlines(), delimiter="\t"))
    by_event: Counter[str] = Counter()
    for row in occurrences:
        by_event[row["eventID"].removeprefix("deep_sea_12s:")] += int(row["organismQuantity"])
    assert dict(by_event) == found
    krona = (folder / "deep_sea_krona.txt").read_text("utf-8").splitlines()
    assert sum(int(line.split("\t")[0]) for line in krona) == sum(expected.values())
    assert any("Anoplopoma" in line for line in krona)
    assert any("data/fish" in out for out in output_of(said, "ednabed runs show deep_sea_12s"))
