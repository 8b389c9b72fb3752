"""The main action of each page, in a real browser, on real samples: what a user does and sees."""

from __future__ import annotations

import gzip
import json
import zipfile

from browser_support import EXAMPLES, SABLEFISH, cells, choose, rest, saved, unfold, until, upload
from ednabed.dashboard.jobs import Jobs


def fasta(path):
    """Headers and sequences of a FASTA file."""
    text = path.read_text(encoding="utf-8")
    return [(part.split("\n")[0], "".join(part.split("\n")[1:])) for part in text.split(">")[1:]]


def test_studies_shows_the_workspace_and_consolidates_an_added_study(visit, served):
    page = visit()
    assert page.get_by_test_id("stMetric").filter(has_text="Records").inner_text().split("\n")[-1] == "234"
    until(lambda: "okex2301" in cells(page))
    upload(page, "Sequence files", EXAMPLES / "unknown_12s.fasta")
    page.get_by_label("Name of the dataset").fill("unknown")
    page.get_by_role("button", name="Embed", exact=True).click()
    until(lambda: (served.workspace / "consolidated_data" / "runs" / "unknown").is_dir())
    until(lambda: "unknown" in cells(page))
    until(lambda: "not yet" in cells(page))
    page.get_by_role("tab", name="Consolidate").click()
    page.get_by_text("Calibrate", exact=True).click()
    page.get_by_role("button", name="Consolidate", exact=True).click()
    until(lambda: "not yet" not in cells(page))
    assert page.get_by_test_id("stMetric").filter(has_text="Runs not in reference").inner_text().split("\n")[-1] == "0"


def test_studies_compresses_only_after_a_dry_run_with_the_same_choice(visit, served):
    page = visit()
    page.get_by_role("tab", name="Compress").click()
    button = page.get_by_role("button", name="Compress", exact=True)
    assert button.is_disabled()
    page.get_by_role("button", name="What would it save?").click()
    page.get_by_text("Compress: what it would save").first.wait_for()
    until(lambda: Jobs(served.workspace).list()[0].state == "done")
    page.get_by_role("tab", name="Compress").click()
    until(button.is_enabled)
    assert not list((served.workspace / "consolidated_data").rglob("embeddings.npz"))
    page.get_by_text("Delete the originals once every value is compared").click()
    until(button.is_disabled)


def test_studies_names_a_build_and_refuses_an_invalid_name(visit, served):
    page = visit()
    page.get_by_role("tab", name="Tag").click()
    page.get_by_label("Name of the build").fill("../../etc")
    page.get_by_role("button", name="Name this build", exact=True).click()
    page.get_by_text("cannot be a folder on every system").wait_for()
    page.get_by_label("Name of the build").fill("november")
    page.get_by_role("button", name="Name this build", exact=True).click()
    page.get_by_text("november: build").wait_for()
    names = json.loads((served.workspace / "data" / "reference" / "names.json").read_text())
    assert list(names["names"]) == ["november"]


def test_the_map_is_laid_out_once_and_coloured_and_a_lasso_exports_its_points(visit, served, tmp_path):
    page = visit("map")
    choose(page, "Reference", "data/fish")
    page.get_by_role("button", name="Lay out the map").click()
    page.get_by_text("laid out").wait_for()
    plot = page.locator(".js-plotly-plot")
    plot.wait_for()
    assert (served.workspace / "data" / "fish" / "map.parquet").is_file()
    choose(page, "Colour by", "family")
    page.locator(".legendtext", has_text="Liparidae").wait_for()
    box = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    left, top, width, height = box["x"], box["y"], box["width"], box["height"]
    corners = [(0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98), (0.02, 0.1)]
    page.mouse.move(left + corners[0][0] * width, top + corners[0][1] * height)
    page.mouse.down()
    for x, y in corners[1:]:
        page.mouse.move(left + x * width, top + y * height, steps=5)
    page.mouse.up()
    page.get_by_text("1,331 sequences selected").wait_for()
    page.get_by_role("button", name="FASTA", exact=True).wait_for()
    assert len(fasta(saved(page, "FASTA", tmp_path))) == 1331
    lines = saved(page, "TSV", tmp_path).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 1550
    assert "Dipturus macrocauda" in "\n".join(lines)
    # The same again, from what was kept.
    again = visit("map")
    choose(again, "Reference", "data/fish")
    again.locator(".js-plotly-plot").wait_for()
    assert sum(job.arguments[:2] == ["reference", "map"] for job in Jobs(served.workspace).list()) == 1


def test_search_finds_what_a_pasted_sequence_is_like_and_where_it_was_seen(visit, served, tmp_path):
    page = visit("search")
    page.get_by_label("Sequence", exact=True).fill(SABLEFISH)
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_text("nearest sequences").wait_for()
    until(lambda: cells(page).count("Anoplopoma fimbria") > 1)
    alignment = page.get_by_test_id("stCode").filter(has_text="query").inner_text()
    assert alignment.count("||||||||||") >= 16
    until(lambda: "D02-03" in cells(page))
    until(lambda: "20498" in cells(page))
    page.get_by_text("Coast lines").wait_for()
    found = json.loads(saved(page, "JSON", tmp_path).read_text(encoding="utf-8"))
    assert found["results"][0]["lineage"].endswith("Anoplopoma fimbria")
    assert found["results"][0]["identity"] == 100
    assert "columns" not in found["results"][0]
    assert saved(page, "TSV", tmp_path).read_text(encoding="utf-8").startswith("query\trank\t")


def test_search_takes_a_file_and_reports_an_invalid_base(visit):
    page = visit("search")
    upload(page, "or a FASTA file", EXAMPLES / "unknown_12s.fasta")
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_label("Query").wait_for()
    other = visit("search")
    other.get_by_label("Sequence", exact=True).fill("ACGT!" * 30)
    other.get_by_role("button", name="Search", exact=True).click()
    other.get_by_test_id("stAlert").filter(has_text="!").wait_for()


def test_identify_names_a_file_composes_samples_and_is_found_again(visit, served, tmp_path):
    page = visit("identify")
    unfold(page, "Identify sequences")
    choose(page, "Reference", "data/fish")
    upload(page, "Sequence files", EXAMPLES / "okex2301_12s.fasta.gz")
    page.get_by_role("button", name="Identify", exact=True).click()
    metric = page.get_by_test_id("stMetric")
    metric.filter(has_text="Queries").wait_for()
    shown = [m.inner_text().strip().split("\n") for m in metric.all()]
    numbers = {lines[0]: int(lines[-1]) for lines in shown}
    assert numbers["Queries"] == 234
    assert numbers["Assigned"] + numbers["Not in reference"] + numbers["Unclassified"] + numbers["Rejected"] == 234
    assert numbers["Assigned"] > 100
    choose(page, "Named at least to", "genus")
    lines = saved(page, "TSV", tmp_path).read_text(encoding="utf-8").splitlines()
    given = [line.split("\t") for line in lines[1:]]
    head = lines[0].split("\t")
    with_genus = sum(row[head.index("genus")] != "" for row in given)
    page.get_by_text(f"{with_genus} of 234 queries").wait_for()
    assert saved(page, "QIIME 2", tmp_path).read_text(encoding="utf-8").startswith("Feature ID\tTaxon\tConfidence\n")
    page.get_by_role("tab", name="Samples").click()
    page.locator(".legendtext", has_text="Anoplopomatidae").first.wait_for()
    until(lambda: "D03-02" in cells(page))
    page.get_by_text("Rarefied: the exact expectation").wait_for()
    # Later, without the address of the job.
    again = visit("identify")
    again.get_by_test_id("stMetric").filter(has_text="Queries").wait_for()


def test_identify_is_cancelled_and_leaves_nothing_half_written(visit, served, tmp_path):
    table = gzip.decompress((EXAMPLES / "fish_12s.tsv.gz").read_bytes()).decode().splitlines()[1:]
    many = tmp_path / "many.fasta"
    with many.open("w", encoding="utf-8", newline="\n") as file:
        for reverse_complement_codes in range(30):
            for number, line in enumerate(table):
                sequence = line.split("\t")[2]
                # Another sequence each time, so that none is computed once for all.
                file.write(
                    f">q{reverse_complement_codes}_{number}\n{sequence[: len(sequence) - reverse_complement_codes]}\n"
                )
    page = visit("identify")
    before = len(Jobs(served.workspace).list())
    unfold(page, "Identify sequences")
    choose(page, "Reference", "data/fish")
    upload(page, "Sequence files", many)
    page.get_by_role("button", name="Identify", exact=True).click()
    page.get_by_role("button", name="Cancel").wait_for()
    job = Jobs(served.workspace).list()[0]
    assert len(Jobs(served.workspace).list()) == before + 1
    until(lambda: job.progress is not None and job.progress.done > 0)
    # After a reload it is still running.
    page.reload()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("cancelled; no half-written files are left").wait_for()
    assert job.state == "cancelled"
    assert list((job.folder / "results").iterdir()) == []


def test_discover_shows_cards_and_their_positions_on_the_map(visit, served, tmp_path):
    page = visit("discover")
    unfold(page, "Look for new taxa")
    page.get_by_text("a run of this workspace").click()
    rest(page)
    choose(page, "Run", "okex2301")
    page.get_by_role("button", name="Discover", exact=True).click()
    page.get_by_test_id("stMetric").filter(has_text="Candidate taxa").wait_for()
    page.locator("strong", has_text="novel_1").wait_for()
    card = (
        page.get_by_test_id("stVerticalBlock").filter(has=page.locator("strong", has_text="novel_1")).last.inner_text()
    )
    assert (
        "% identical" in card
        and "p 0." in card
        and "not in the reference" in card
        and "The reference has" in card
        and "Nearest named" in card
    )
    page.get_by_role("tab", name="All in a table").click()
    names = fasta(saved(page, "candidates.fasta", tmp_path))
    assert names[0][0].startswith("novel_1;size=")
    page.get_by_role("tab", name="On the map").click()
    page.get_by_text("Place the groups on the map of the reference").click()
    if page.get_by_role("button", name="Lay out the map").count():
        page.get_by_role("button", name="Lay out the map").click()
    page.locator(".legendtext", has_text="groups not in the reference").wait_for()
    # The map of the study itself shows which of its sequences are new.
    study = visit("map")
    choose(study, "Reference", "data/reference")
    if study.get_by_role("button", name="Lay out the map").count():
        study.get_by_role("button", name="Lay out the map").click()
    study.locator(".js-plotly-plot").wait_for()
    choose(study, "Colour by", "novelty")
    study.locator(".legendtext", has_text="novel_1").wait_for()


def test_export_writes_files_for_another_program(visit, served, tmp_path):
    page = visit()
    page.get_by_role("tab", name="Export").click()
    choose(page, "What", "run okex2301")
    choose(page, "Format", "qiime2")
    page.get_by_role("button", name="Export", exact=True).click()
    page.get_by_role("tab", name="Export").click()
    button = page.get_by_role("button", name="Download").filter(has_text="zip")
    button.wait_for()
    with page.expect_download() as download:
        button.click()
    path = tmp_path / "export.zip"
    download.value.save_as(path)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert {"taxonomy.tsv", "feature-table.tsv", "feature-table.biom"} <= set(names)
        table = archive.read("feature-table.tsv").decode().splitlines()
    assert "D01-01" in table[1].split("\t")
