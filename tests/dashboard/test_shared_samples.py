"""The main action of each page on the shared samples: a whole cruise with its count table, and unprocessed reads."""

from __future__ import annotations

import csv
import gzip
import zipfile
from collections import Counter

from browser_support import EXAMPLES, cells, choose, rest, saved, unfold, until, upload
from ednabed.dashboard.jobs import Jobs
from ednabed.store.runs import find_run


def metrics(page) -> dict[str, int]:
    shown = [m.inner_text().strip().split("\n") for m in page.get_by_test_id("stMetric").all()]
    return {lines[0]: int(lines[-1].replace(",", "")) for lines in shown}


def test_a_cruise_is_identified_with_its_count_table(visit, served, shared, tmp_path):
    samples = shared / "data" / "samples"
    with gzip.open(samples / "okex2301_12s_counts.tsv.gz", "rt") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    names, counts = rows[0][1:], [[int(cell) for cell in row[1:]] for row in rows[1:]]
    page = visit("identify")
    unfold(page, "Identify sequences")
    choose(page, "Reference", "data/fish")
    upload(page, "Sequence files", samples / "okex2301_12s_asv.fasta.gz")
    upload(page, "Reads by sample", samples / "okex2301_12s_counts.tsv.gz")
    page.get_by_role("button", name="Identify", exact=True).click()
    page.get_by_test_id("stMetric").filter(has_text="Queries").wait_for()
    found = metrics(page)
    assert found["Queries"] == len(counts) == 438
    assert found["Assigned"] + found["Not in reference"] + found["Unclassified"] + found["Rejected"] == 438
    page.get_by_role("tab", name="Samples").click()
    page.get_by_text("Rarefied: the exact expectation").wait_for()
    until(lambda: names[0] in cells(page))
    lines = saved(page, "Samples by taxa (TSV)", tmp_path).read_text(encoding="utf-8").splitlines()
    table = [line.split("\t") for line in lines]
    assert table[0][-len(names) :] == names
    sums = [sum(int(row[place]) for row in table[1:]) for place in range(-len(names), 0)]
    assert sums == [sum(row[place] for row in counts) for place in range(len(names))]


def test_reads_of_a_fastq_file_are_identified_and_filtered(visit, served, shared):
    page = visit("identify")
    unfold(page, "Identify sequences")
    choose(page, "Reference", "data/fish")
    upload(page, "Sequence files", shared / "data" / "samples" / "mifish_12s_DRR126155_R1.fastq.gz")
    page.get_by_role("button", name="Identify", exact=True).click()
    page.get_by_text("6,714 of 6,714 queries").wait_for()
    page.get_by_label("Status").click()
    page.get_by_role("option", name="not in reference").click()
    absent = metrics(page)["Not in reference"]
    page.get_by_text(f"{absent:,} of 6,714 queries").wait_for()


def test_what_is_new_on_the_cruise(visit, served, shared):
    samples = shared / "data" / "samples"
    page = visit("discover")
    unfold(page, "Look for new taxa")
    upload(page, "Sequence files", samples / "okex2301_12s_asv.fasta.gz")
    upload(page, "Reads by sample", samples / "okex2301_12s_counts.tsv.gz")
    page.get_by_role("button", name="Discover", exact=True).click()
    page.locator("strong", has_text="novel_1").first.wait_for()
    until(lambda: "Groups not in the reference" in metrics(page))
    count = metrics(page)["Groups not in the reference"]
    assert 0 < metrics(page)["Candidate taxa"] <= count
    pages = -(-count // 12)
    assert pages > 1
    page.get_by_label(f"Page of {pages}").fill(str(pages))
    page.keyboard.press("Enter")
    page.locator("strong", has_text=f"novel_{count}").wait_for()
    job = next(job for job in Jobs(served.workspace).list() if job.about.get("kind") == "discover")
    assert len((job.folder / "discovery" / "candidates.tsv").read_text(encoding="utf-8").splitlines()) == count + 1


def reads_by_sample(path) -> dict[str, int]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = csv.DictReader(file, delimiter="\t")
        sums: Counter[str] = Counter()
        for row in rows:
            sums.update({sample: int(reads) for sample, reads in list(row.items())[1:]})
    return dict(sums)


def test_a_study_with_counts_is_embedded_exported_mapped_and_searched(visit, served, shared, tmp_path):
    samples = shared / "data" / "samples"
    page = visit()
    upload(page, "Sequence files", samples / "okex2301_12s_asv.fasta.gz")
    upload(page, "Count table", samples / "okex2301_12s_counts.tsv.gz")
    upload(page, "Samples (TSV", EXAMPLES / "okex2301_samples.tsv")
    page.get_by_label("Name of the dataset").fill("cruise")
    page.get_by_role("button", name="Embed", exact=True).click()
    until(lambda: "cruise" in cells(page))
    page.get_by_role("tab", name="Export").click()
    choose(page, "What", f"run {find_run(served.workspace, 'cruise').label}")
    choose(page, "Format", "qiime2")
    page.get_by_role("button", name="Export", exact=True).click()
    button = page.get_by_role("button", name="Download").filter(has_text="zip")

    def is_exported() -> bool:
        # The page goes back to its first tab when the job ends.
        page.get_by_role("tab", name="Export").click()
        return button.is_visible()

    until(is_exported)
    with page.expect_download() as download:
        button.click()
    download.value.save_as(tmp_path / "cruise.zip")
    with zipfile.ZipFile(tmp_path / "cruise.zip") as packed:
        lines = packed.read("feature-table.tsv").decode().splitlines()[1:]
    names, *rows = [line.split("\t")[1:] for line in lines]
    sums = {name: sum(int(row[place]) for row in rows) for place, name in enumerate(names)}
    expected = reads_by_sample(samples / "okex2301_12s_counts.tsv.gz")
    assert sums == {name: reads for name, reads in expected.items() if reads}
    page = visit("map")
    page.get_by_text("individual runs").click()
    rest(page)
    page.get_by_label("Runs", exact=True).click()
    # The first run, the cruise, is chosen already.
    page.get_by_role("option").filter(has_text="okex2301").first.click()
    page.keyboard.press("Escape")
    rest(page)
    page.get_by_role("button", name="Lay out the map").click()
    page.locator(".js-plotly-plot").wait_for()
    choose(page, "Colour by", "dataset")
    page.locator(".legendtext", has_text="several").wait_for()
    page = visit("search")
    choose(page, "Reference", "data/fish")
    upload(page, "or a FASTA file", shared / "data" / "samples" / "okex2301_12s_asv.fasta.gz")
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_text("The file has more than 200 sequences").wait_for()
    page.get_by_text("nearest sequences").wait_for()
    assert len(saved(page, "TSV", tmp_path).read_text(encoding="utf-8").splitlines()) > 200
