"""Tests of exports: read back by ednabed and by the programs they are for; complete or absent; safe for any names."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
import zipfile
from collections import Counter
from pathlib import Path

import biom
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ednabed import extras
from ednabed.api.manager import DataManager
from ednabed.errors import InputError, MissingPackage, StoreError, UsageError
from ednabed.export import dwc_terms
from ednabed.export.assignments import AssignmentWriter
from ednabed.export.names import names_by_id
from ednabed.export.spreadsheet import safe_cell
from ednabed.reference.loose import LooseRuns
from ednabed.search.choice import Choice
from ednabed.sequences import digest, open_records
from ednabed.sequences.counts import read_count_table
from ednabed.sequences.labels import read_labels
from ednabed.sequences.lineage import RANKS
from ednabed.store.assignment import Assignment
from ednabed.store.runs import Run
from ednabed.store.versions import register, tag_run
from ednabed.workflows.exports import BY_RECORD, FORMATS, ExportOptions, export_records
from ednabed.workflows.names import AssignmentSource
from reference_support import SPEC, add_run, consolidate, legacy, letters_of, opened, vector_of, write_run

RAT = "Animalia;Chordata;Mammalia;Rodentia;Muridae;Rattus;Rattus rattus"
FAMILY = "Animalia;Chordata;;Rodentia;Muridae;;"
FORMULA = '=HYPERLINK("http://x","y");+1;;;;;'
HTML = '<script>alert(1)</script> & "co";;;;;;'
LINEAGES = [RAT, None, FAMILY, HTML, FORMULA, None]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """Build two datasets that share sample names: sequences 0 to 5 in lake, and 0, 6 and 0 again in sea."""
    folder = tmp_path_factory.mktemp("ws")
    add_run(
        folder, "lake", "a", range(6),
        columns={
            "lineage": LINEAGES,
            "latitude": ["-60.5", "-60.5", "north", None, "12", "95"],
            "lon": ["-123.4"] * 6,
            "date": ["2024-05-01", "1/5/2024", "2024", None, "2024-05-01T10:00:00Z", "2024-05-01/2024-05-03"],
            "marker": ["12S"] * 6,
            "note": ["=1+1", "-5.2", "@x", "a\tb\nc", '"quoted', "-"],
            "kingdom": ["own"] * 6,
        },
    )  # fmt: skip
    add_run(folder, "sea", "b", [0, 6, 0], columns={"abundance": pa.array([None, 7, 5], pa.int64())},
            created="2024-01-02T00:00:00+00:00")  # fmt: skip
    consolidate(folder)
    return folder


@pytest.fixture(params=["reference", "loose"])
def collection(workspace, request):
    data = DataManager(workspace)
    return data.open_reference() if request.param == "reference" else data.loose_runs(["lake/a", "sea/b"])


def export(collection, target: Path, format: str, *, assignments: Path | None = None, rows=None, choice=None, **more):
    assigned = AssignmentSource(file=assignments)
    return export_records(
        collection, target, format, rows=rows, choice=choice, assigned=assigned, options=ExportOptions(**more)
    )


def possible(format: str) -> bool:
    """Return whether the packages for a format are installed."""
    return importlib.util.find_spec({"h5ad": "anndata"}.get(format, "numpy")) is not None


POSSIBLE = [format for format in FORMATS if possible(format)]


def tsv(path: Path) -> list[dict[str, str]]:
    text = path.read_bytes().decode()
    lines = list(csv.reader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert text.count("\n") == len(lines)
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def reads_of_lake() -> dict[str, int]:
    return {digest(letters_of(n).encode()): n + 1 for n in range(6)}


# -- FASTA -------------------------------------------------------------------------------------------------------------


def test_fasta_of_distinct_sequences(collection, tmp_path):
    done = export(collection, tmp_path / "x.fasta", "fasta")
    lines = (tmp_path / "x.fasta").read_text().splitlines()
    assert lines[:2] == [">a-0;size=7", letters_of(0)]  # 1, one for the record without abundance, and 5
    assert lines[1::2] == [letters_of(n) for n in range(7)]
    assert (done.sequences, done.records, done.reads) == (7, 9, 7 + 2 + 3 + 4 + 5 + 6 + 7)


def test_ednabed_reads_fasta_of_records_back(workspace, collection, tmp_path):
    done = export(collection, tmp_path / "x.fasta", "fasta", occurrences=True)
    assert done.records == 9
    with open_records(tmp_path / "x.fasta") as batches:
        batch = pa.Table.from_batches(batches)
    found = sorted(zip(*(batch.column(c).to_pylist() for c in ("id", "abundance", "sample", "sequence")), strict=True),
                   key=str)  # fmt: skip
    expected = [(f"a-{n}", n + 1, f"S{n % 3}", letters_of(n).encode()) for n in range(6)]
    expected += [("b-0", None, "S0", letters_of(0).encode()), ("b-1", 7, "S1", letters_of(6).encode())]
    expected += [("b-2", 5, "S2", letters_of(0).encode())]
    assert found == sorted(expected, key=str)


@pytest.mark.parametrize("format", ["parquet", "dwc"])
def test_a_file_that_is_being_read_is_replaced_later(collection, tmp_path, monkeypatch, format):
    """Windows does not replace a file that another process has open."""
    target = tmp_path / "x.out"
    target.write_bytes(b"old")
    real, tries = Path.replace, []

    def replace(self, other):
        tries.append(self)
        if len(tries) <= 3:
            raise PermissionError(13, "in use", str(other))
        return real(self, other)

    monkeypatch.setattr(Path, "replace", replace)
    export(collection, target, format)
    assert len(tries) == 4 and target.read_bytes() != b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["x.out"]


def test_fasta_ids_are_unique_single_words(tmp_path):
    ids = ["x y", "x y", "z;size=9", "<b>=1", "\t"]
    run = add_run(tmp_path, "d", "r", range(5), columns={"id": ids})
    done = export(DataManager(tmp_path).loose_runs([run.folder]), tmp_path / "x.fasta", "fasta")
    heads = [line for line in (tmp_path / "x.fasta").read_text().splitlines() if line[0] == ">"]
    assert heads == [
        ">x_y_1;size=1",
        ">x_y_2;size=2",
        ">z_size=9;size=3",
        "><b>=1;size=4",
        f">{digest(letters_of(4).encode())};size=5",
    ]
    assert any("2 features share their id with another" in note for note in done.notes)


# -- tables ------------------------------------------------------------------------------------------------------------


def test_parquet_has_every_record_with_all_columns_unchanged(collection, tmp_path):
    export(collection, tmp_path / "x.parquet", "parquet")
    table = pq.read_table(tmp_path / "x.parquet")
    rows = {row["id"]: row for row in table.to_pylist()}
    assert len(rows) == table.num_rows == 9
    first = rows["a-0"]
    assert first["sequence"] == letters_of(0)
    assert first["digest"] == digest(letters_of(0).encode())
    assert (first["dataset"], first["run_id"], first["seq_idx"]) == ("lake", "a", 0)
    assert [first[rank] for rank in RANKS] == RAT.split(";")
    assert first["kingdom_input"] == "own"
    assert rows["a-1"]["lineage"] is None
    assert [rows[f"a-{n}"]["note"] for n in range(6)] == ["=1+1", "-5.2", "@x", "a\tb\nc", '"quoted', "-"]
    assert rows["a-4"]["kingdom"] == '=HYPERLINK("http://x","y")'
    assert rows["b-1"]["note"] is None
    assert rows["b-0"]["abundance"] is None
    assert "row" not in table.column_names


def test_tsv_is_the_same_except_for_harmless_formulas(collection, tmp_path):
    done = export(collection, tmp_path / "x.tsv", "tsv")
    rows = {row["id"]: row for row in tsv(tmp_path / "x.tsv")}
    assert len(rows) == 9
    assert [rows[f"a-{n}"]["note"] for n in range(6)] == ["'=1+1", "-5.2", "'@x", "a b c", "'\"quoted", "-"]
    assert rows["a-4"]["kingdom"] == '\'=HYPERLINK("http://x","y")'
    assert rows["a-4"]["lineage"][0] == "'"
    assert rows["a-4"]["phylum"] == "+1"
    assert rows["a-0"]["lon"] == "-123.4"
    assert rows["a-3"]["kingdom"].startswith("<script>")
    assert any(note.startswith("5 cells begin like a formula") for note in done.notes)
    assert read_labels(tmp_path / "x.tsv")["a-0"] == RAT


def test_tables_of_distinct_sequences(collection, tmp_path):
    export(collection, tmp_path / "x.tsv", "tsv", occurrences=False)
    export(collection, tmp_path / "x.parquet", "parquet", occurrences=False)
    rows = tsv(tmp_path / "x.tsv")
    assert len(rows) == 7
    assert {k: rows[0][k] for k in ("id", "abundance", "records", "samples", "datasets", "lineage")} == {
        "id": "a-0", "abundance": "7", "records": "3", "samples": "3", "datasets": "lake;sea", "lineage": RAT,
    }  # fmt: skip
    table = pq.read_table(tmp_path / "x.parquet").to_pylist()
    assert [str(row["abundance"]) for row in table] == [row["abundance"] for row in rows]


@pytest.mark.parametrize(
    ("cell", "safe"),
    [
        ("=1", "'=1"), ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"), ("-1+1", "'-1+1"), ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "' =1"), ("\r=1", "' =1"), ("  =1", "'  =1"), ('"=1"', "'\"=1\""), ("＝1", "'＝1"), ("\n=1", "' =1"),
        ("-1", "-1"), ("+1.5e-3", "+1.5e-3"), ("-", "-"), ("+", "+"), ("-.5", "-.5"), ("-e5", "'-e5"), ("--1", "'--1"),
        ("", ""), ("a=1", "a=1"), ("'=1", "'=1"), ("1-2", "1-2"), ("a\x00b\u2028", "a b "), ("\ud800", "\ufffd"),
        ("\u202e=1", "' =1"), ("\x00-1+1", "' -1+1"),
    ],
)  # fmt: skip
def test_cells_for_spreadsheets(cell, safe):
    assert safe_cell(cell) == safe


# -- AnnData -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("obsm", [False, True])
def test_h5ad(collection, tmp_path, obsm):
    anndata = pytest.importorskip("anndata")
    export(collection, tmp_path / "x.h5ad", "h5ad", obsm=obsm)
    data = anndata.read_h5ad(tmp_path / "x.h5ad")
    vectors = data.obsm["X_ednabed"] if obsm else data.X
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, np.stack([vector_of(n) for n in range(7)]))
    assert list(data.obs_names) == [*(f"a-{n}" for n in range(6)), "b-1"]
    assert data.obs["digest"].tolist() == [digest(letters_of(n).encode()) for n in range(7)]
    assert data.obs["lineage"].tolist()[:3] == [RAT, "", FAMILY]
    assert data.obs["species"].tolist()[0] == "Rattus rattus"
    assert data.obs["kingdom"].tolist()[4] == '=HYPERLINK("http://x","y")'
    assert data.obs["reads"].tolist() == [7, 2, 3, 4, 5, 6, 7]
    assert data.obs["rank"].tolist()[2] == "family"
    assert data.obs["confidence"].isna().all()
    assert data.uns["ednabed"]["fingerprint"] == SPEC.fingerprint
    assert bool(data.uns["ednabed"]["build"]) == (not isinstance(collection, LooseRuns))
    backed = anndata.read_h5ad(tmp_path / "x.h5ad", backed="r")
    assert backed.n_obs == 7
    backed.file.close()
    data.write_h5ad(tmp_path / "again.h5ad")


def test_h5ad_of_selected_rows_in_many_blocks(workspace, tmp_path, monkeypatch):
    anndata = pytest.importorskip("anndata")
    monkeypatch.setattr("ednabed.export.h5ad.BLOCK_BYTES", 64)
    rows = np.array([5, 1, 3, 3])
    done = export(opened(workspace), tmp_path / "x.h5ad", "h5ad", rows=rows)
    assert done.sequences == 3
    np.testing.assert_array_equal(anndata.read_h5ad(tmp_path / "x.h5ad").X, np.stack([vector_of(n) for n in (1, 3, 5)]))


def test_a_missing_package_is_named(workspace, tmp_path, monkeypatch):
    def absent(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(extras.importlib, "import_module", absent)
    with pytest.raises(MissingPackage, match=re.escape('pip install "ednabed[export]"')):
        export(opened(workspace), tmp_path / "x", "h5ad")
    assert list(tmp_path.iterdir()) == []


def test_qiime2_without_biom(workspace, tmp_path):
    export(opened(workspace), tmp_path / "x", "qiime2", biom=False)
    assert "feature-table.biom" not in [path.name for path in (tmp_path / "x").iterdir()]


# -- QIIME 2 -----------------------------------------------------------------------------------------------------------


def test_qiime2(collection, tmp_path):
    pandas = pytest.importorskip("pandas")
    done = export(collection, tmp_path / "q", "qiime2")
    assert done.files == ("export.json", "feature-table.biom", "feature-table.tsv", "sequences.fasta", "taxonomy.tsv")
    ids = [*(f"a-{n}" for n in range(6)), "b-1"]
    # As q2-types reads it.
    taxa = pandas.read_csv(tmp_path / "q" / "taxonomy.tsv", sep="\t", skip_blank_lines=True, header=0, dtype=object)
    assert taxa["Feature ID"].tolist() == ids
    assert taxa["Taxon"].tolist()[:3] == [
        "k__Animalia; p__Chordata; c__Mammalia; o__Rodentia; f__Muridae; g__Rattus; s__Rattus rattus",
        "Unassigned",
        "k__Animalia; p__Chordata; c__; o__Rodentia; f__Muridae",
    ]
    assert taxa["Taxon"].tolist()[4] == 'k__=HYPERLINK("http://x","y"); p__+1'
    table = biom.load_table(str(tmp_path / "q" / "feature-table.biom"))
    text = biom.load_table(str(tmp_path / "q" / "feature-table.tsv"))
    # Both datasets have S0 to S2, which are different samples.
    samples = ["lake/S0", "lake/S1", "lake/S2", "sea/S0", "sea/S1", "sea/S2"]
    for one in (table, text):
        assert list(one.ids("observation")) == ids
        assert sorted(one.ids("sample")) == samples
        assert one.get_value_by_ids(ids[0], "lake/S0") == 1
        assert one.get_value_by_ids(ids[0], "sea/S0") == 1
        assert one.get_value_by_ids(ids[0], "sea/S2") == 5
        assert one.sum() == done.reads == 34
    assert table.type == "OTU table"
    ours = read_count_table(tmp_path / "q" / "feature-table.tsv")
    assert list(ours.row_of_id) == ids
    fasta = (tmp_path / "q" / "sequences.fasta").read_text().splitlines()
    assert fasta == [line for n, id in enumerate(ids) for line in (f">{id}", letters_of(n))]
    about = json.loads((tmp_path / "q" / "export.json").read_text())
    for name, entry in about["files"].items():
        assert hashlib.sha256((tmp_path / "q" / name).read_bytes()).hexdigest() == entry["sha256"]


# -- Darwin Core -------------------------------------------------------------------------------------------------------


def standard_terms(kind: str) -> dict[str, str]:
    lines = (Path(__file__).parent / "dwc_terms.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return {term: address for file, term, address in rows[1:] if file == kind}


def test_every_term_is_in_its_definition():
    core, dna = standard_terms("core"), standard_terms("dna")
    for term in (
        *dwc_terms.CORE_GENERATED,
        *dwc_terms.CORE_FROM_COLUMNS,
        *dwc_terms.VERBATIM.values(),
        *dwc_terms.TAXON_IDS,
    ):
        assert core[term] == dwc_terms.core_address(term)
    for term, address in {**dwc_terms.DNA_GENERATED, **dwc_terms.DNA_FROM_COLUMNS}.items():
        assert dna[term] == address


def archive(path: Path) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Read an archive according to its meta.xml; the keys are the addresses of the terms."""
    space = "{http://rs.tdwg.org/dwc/text/}"
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        root = ElementTree.fromstring(file.read("meta.xml"))
        tables = []
        for part in root:
            assert (part.get("fieldsTerminatedBy"), part.get("linesTerminatedBy")) == ("\\t", "\\n")
            text = file.read(part.find(f"{space}files/{space}location").text).decode(part.get("encoding"))
            lines = text.removesuffix("\n").split("\n")
            assert len(text.splitlines()) == len(lines)
            fields = {int(f.get("index")): f.get("term") for f in part.findall(f"{space}field")}
            head = lines[0].split("\t")
            for place, address in fields.items():
                assert "mixs" in address or address.lower().endswith(f"/{head[place]}".lower())
            key = part.find(f"{space}id")
            key = part.find(f"{space}coreid") if key is None else key
            rows = []
            for line in lines[int(part.get("ignoreHeaderLines")) :]:
                cells = line.split("\t")
                assert len(cells) == len(head)
                rows.append({"id": cells[int(key.get("index"))], **{term: cells[i] for i, term in fields.items()}})
            tables.append(rows)
    return tables[0], tables[1]


def test_dwc(collection, tmp_path):
    done = export(collection, tmp_path / "x.zip", "dwc")
    core, dna = archive(tmp_path / "x.zip")
    terms = "http://rs.tdwg.org/dwc/terms/"
    assert len({row["id"] for row in core}) == len(core) == 9
    assert [row["id"] for row in core] == [row["id"] for row in dna]
    by_id = {row["id"]: {k.removeprefix(terms): v for k, v in row.items()} for row in core}
    first = by_id["lake:S0:a-0"]
    assert first["occurrenceID"] == first["id"]
    assert (first["organismQuantity"], first["organismQuantityType"]) == ("1", "DNA sequence reads")
    # The sample has sequences 0 and 3.
    assert (first["sampleSizeValue"], first["sampleSizeUnit"]) == ("5", "DNA sequence reads")
    assert (first["scientificName"], first["taxonRank"], first["genus"]) == ("Rattus rattus", "species", "Rattus")
    assert first["basisOfRecord"] == "MaterialSample"
    assert first["taxonID"] == "ASV:" + hashlib.md5(letters_of(0).encode()).hexdigest()
    assert (first["decimalLatitude"], first["decimalLongitude"], first["eventDate"]) == (
        "-60.5", "-123.4", "2024-05-01",
    )  # fmt: skip
    latitudes = [(r["decimalLatitude"], r["verbatimLatitude"]) for r in by_id.values() if r["datasetName"] == "lake"]
    assert latitudes == [("-60.5", ""), ("-60.5", ""), ("", "north"), ("", ""), ("12", ""), ("", "95")]
    dates = [(r["eventDate"], r["verbatimEventDate"]) for r in by_id.values() if r["datasetName"] == "lake"]
    assert dates[1:] == [
        ("", "1/5/2024"), ("2024", ""), ("", ""), ("2024-05-01T10:00:00Z", ""), ("2024-05-01/2024-05-03", ""),
    ]  # fmt: skip
    unnamed = by_id["lake:S1:a-1"]
    assert (unnamed["scientificName"], unnamed["taxonRank"]) == ("incertae sedis", "")
    # A record without a number of reads has no quantity, and its sample has no size.
    silent = by_id["sea:S0:b-0"]
    assert (silent["organismQuantity"], silent["organismQuantityType"], silent["sampleSizeValue"]) == ("", "", "")
    assert dna[0]["http://rs.gbif.org/terms/dna_sequence"] == letters_of(0)
    assert dna[0]["https://w3id.org/mixs/0001107"] == "S0"
    assert dna[0]["https://w3id.org/mixs/0000044"] == "12S"
    assert "1 of 9 occurrences do not state their number of reads" in done.notes


def test_the_size_of_a_sample_includes_records_not_selected(workspace, tmp_path):
    export(opened(workspace), tmp_path / "x.zip", "dwc", choice=Choice(where=f"lineage = '{RAT}'"))
    core, _ = archive(tmp_path / "x.zip")
    (row,) = core
    assert row["http://rs.tdwg.org/dwc/terms/sampleSizeValue"] == "5"
    assert row["http://rs.tdwg.org/dwc/terms/eventID"] == "lake:S0"


def test_an_occurrence_has_the_same_id_in_every_export(collection, tmp_path):
    export(collection, tmp_path / "all.zip", "dwc")
    all_ids = {row["id"] for row in archive(tmp_path / "all.zip")[0]}
    for dataset in ("lake", "sea"):
        export(collection, tmp_path / "one.zip", "dwc", choice=Choice(datasets=(dataset,)))
        dataset_ids = {row["id"] for row in archive(tmp_path / "one.zip")[0]}
        assert dataset_ids == {id for id in all_ids if id.startswith(f"{dataset}:")} != set()


@pytest.mark.parametrize(
    ("date", "is_valid"),
    [("2023-05-01", True), ("2023", True), ("2023-05", True), ("2023-05-01T10:00Z", True), ("2023-05-01/2023-06", True),
     ("2023-99-99", False), ("2023-05-01 10:00", False), ("2023-02-30", False), ("1/5/2023", False),
     ("2023-13", False), ("2023-05-01T25:00Z", False), ("2023/2024/2025", False), ("2023-05-01T10:00:00+01:00", True)],
)  # fmt: skip
def test_invalid_dates_are_verbatim(tmp_path, date, is_valid):
    run = add_run(tmp_path, "d", "r", [0], columns={"eventDate": [date], "depth_m": ["558"]})
    export(DataManager(tmp_path).loose_runs([run.folder]), tmp_path / "x.zip", "dwc")
    (row,) = archive(tmp_path / "x.zip")[0]
    terms = "http://rs.tdwg.org/dwc/terms/"
    assert (row[terms + "eventDate"], row[terms + "verbatimEventDate"]) == ((date, "") if is_valid else ("", date))
    assert (row[terms + "minimumDepthInMeters"], row[terms + "maximumDepthInMeters"]) == ("558", "558")


# -- Krona -------------------------------------------------------------------------------------------------------------


def test_krona(collection, tmp_path):
    done = export(collection, tmp_path / "k.txt", "krona")
    lines = [line.split("\t") for line in (tmp_path / "k.txt").read_text(encoding="utf-8").splitlines()]
    assert sum(int(line[0]) for line in lines) == done.reads == 34
    found = {tuple(line[1:]): int(line[0]) for line in lines}
    assert found[tuple(RAT.split(";"))] == 7
    assert found["Animalia", "Chordata", "no class", "Rodentia", "Muridae"] == 3
    assert found["Unassigned",] == 2 + 6 + 7
    # Krona writes names into its page without escaping them.
    assert not set('<>&"') & set((tmp_path / "k.txt").read_text(encoding="utf-8"))


def test_krona_by_sample(tmp_path):
    samples = ["A", "a", "nul", "../../x", "Å/1", None, "con."]
    run = add_run(tmp_path, "d", "r", range(7), columns={"sample": samples, "lineage": [RAT] * 7})
    collection = DataManager(tmp_path).loose_runs([run.folder])
    done = export(collection, tmp_path / "k", "krona", per_sample=True)
    about = json.loads((tmp_path / "k" / "export.json").read_text(encoding="utf-8"))
    assert sorted(about["samples"].values()) == sorted(["A", "a", "nul", "../../x", "Å/1", "no_sample", "con."])
    assert len({name.lower() for name in about["samples"]}) == 7
    assert all(re.fullmatch(r"sample_[A-Za-z0-9._-]+\.txt|sample_\.txt", name) for name in about["samples"])
    total = 0
    for name in about["samples"]:
        total += sum(int(line.split("\t")[0]) for line in (tmp_path / "k" / name).read_text().splitlines())
    assert total == done.reads == 28
    # With fewer samples, the files of the other samples are removed, and foreign files stay.
    (tmp_path / "k" / "mine.html").write_text("x")
    done = export(collection, tmp_path / "k", "krona", per_sample=True, choice=Choice(where="sample = 'A'"))
    assert sorted(p.name for p in (tmp_path / "k").iterdir()) == ["export.json", "mine.html", "sample_A.txt"]
    assert done.files == ("export.json", "sample_A.txt")


# -- assignments -------------------------------------------------------------------------------------------------------

HEAD = "id\tstatus\trank\tlineage\tconfidence\n"


def test_assignments_name_unlabelled_records(collection, tmp_path):
    file = tmp_path / "taxa.tsv"
    seven = digest(letters_of(6).encode())
    file.write_text(
        HEAD + f"a-0\tassigned\tgenus\tX;;;;;Mus;\t0.9\na-1\tnot_in_reference\tfamily\t{FAMILY}\t0.81239\n"
        f"a-5\trejected\t\t\t\n{seven}\tunclassified\t\t\t\nnobody\tassigned\tspecies\t{RAT}\t1\n"
    )
    done = export(collection, tmp_path / "q", "qiime2", biom=False, assignments=file)
    lines = [line.split("\t") for line in (tmp_path / "q" / "taxonomy.tsv").read_text().splitlines()]
    assert lines[0] == ["Feature ID", "Taxon", "Confidence"]
    assert lines[1][1].endswith("s__Rattus rattus") and lines[1][2] == ""
    assert lines[2][1:] == ["k__Animalia; p__Chordata; c__; o__Rodentia; f__Muridae", "0.8123"]
    assert lines[6][1:] == lines[7][1:] == ["Unassigned", ""]
    # In addition to the named ones, the two records of sea that have the bases of a-0.
    assert f"3 records get their names from {file}; the assignments of 2 more have no name" in done.notes
    assert "1 records that also have an assignment keep their own lineage" in done.notes
    export(collection, tmp_path / "x.zip", "dwc", assignments=file)
    core, dna = archive(tmp_path / "x.zip")
    remarks = [row["http://rs.tdwg.org/dwc/terms/identificationRemarks"] for row in core]
    assert "ednabed classify: not in reference, confidence 0.8123" in remarks
    assert Counter(row["https://w3id.org/mixs/0000086"] for row in dna)["ednabed classify"] == 3
    export(collection, tmp_path / "x.parquet", "parquet", assignments=file)
    rows = {row["id"]: row for row in pq.read_table(tmp_path / "x.parquet").to_pylist()}
    absent = rows["a-1"]
    assert (absent["family"], absent["confidence"], absent["status"]) == ("Muridae", 0.81239, "not_in_reference")
    assert (rows["a-0"]["genus"], rows["a-0"]["confidence"]) == ("Rattus", None)


@pytest.mark.parametrize("name", ["assignments.tsv", "assignments.jsonl"])
def test_files_of_earlier_versions_can_be_read(name):
    found = names_by_id(Path(__file__).resolve().parents[1] / "kept" / "assignments_1" / name)
    assert {id: (one.status, one.rank, one.name, one.confidence) for id, one in found.items()} == {
        "q1": ("assigned", "species", "Salmo trutta", 0.99),
        "q2": ("not_in_reference", "family", "Salmonidae", 0.9),
        "q3": ("unclassified", "", "", None),
        "q4": ("rejected", "", "", None),
    }


@pytest.mark.parametrize("format", ["tsv", "jsonl"])
def test_guesses_that_were_not_assigned_are_not_names(tmp_path, format):
    names = tuple(RAT.split(";"))
    with AssignmentWriter(tmp_path / "a", format) as writer:
        writer.write(Assignment("q", "unclassified", names=names, confidences=(0.7,) * 7, withheld="confidence"))
        writer.write(Assignment("r", "not_in_reference", lineage=(*names[:5], "", ""), names=names,
                                confidences=(0.9,) * 7, novel_rank="genus", novel_p=0.001, novel_q=0.01))  # fmt: skip
    found = names_by_id(tmp_path / "a")
    assert [(one.name, one.status) for one in found.values()] == [("", "unclassified"), (names[4], "not_in_reference")]


def test_an_assignment_with_an_ambiguous_id_is_refused(tmp_path):
    """ASV1 of one study and ASV1 of another study are different sequences."""
    runs = [
        add_run(tmp_path, name, "r", [number], columns={"id": ["ASV1"]}).folder for name, number in (("a", 0), ("b", 1))
    ]
    collection = DataManager(tmp_path).loose_runs(runs)
    names = tmp_path / "taxonomy.tsv"
    names.write_text(f"id\tstatus\tlineage\tconfidence\nASV1\tassigned\t{RAT}\t0.99\n")
    for format in ("tsv", "krona", "qiime2"):
        with pytest.raises(InputError, match="id 'ASV1' belongs to several sequences here"):
            export(collection, tmp_path / f"x_{format}", format, assignments=names)
    one = export(collection, tmp_path / "one.tsv", "tsv", assignments=names, choice=Choice(datasets=("a",)))
    assert one.records == 1 and "Rattus" in (tmp_path / "one.tsv").read_text()
    # The digests, which the FASTA export uses if ids collide, identify each sequence.
    names.write_text(
        "id\tstatus\tlineage\tconfidence\n"
        f"{digest(letters_of(0).encode())}\tassigned\t{RAT}\t0.99\n"
        f"{digest(letters_of(1).encode())}\tunclassified\t\t\n"
    )
    export(collection, tmp_path / "both.tsv", "tsv", assignments=names)
    lines = (tmp_path / "both.tsv").read_text().splitlines()[1:]
    assert sorted("Rattus" in line for line in lines) == [False, True]


def test_a_classified_fasta_export_names_each_sequence(tmp_path):
    """This also holds if an id belongs to several sequences, which then get number suffixes."""
    runs = [
        add_run(tmp_path, name, "r", numbers, columns={"id": ids}).folder
        for name, numbers, ids in (("a", [0, 1], ["ASV1", "ASV2"]), ("b", [2, 1], ["ASV1", "ASV3"]),
                                   ("c", [1, 3, 4], ["x y", "ASV2", "x_y"]))
    ]  # fmt: skip
    collection = DataManager(tmp_path).loose_runs(runs)
    export(collection, tmp_path / "x.fasta", "fasta")
    lines = (tmp_path / "x.fasta").read_text().splitlines()
    ids = [line[1:].partition(";")[0] for line in lines[::2]]
    assert ids == ["ASV1_1", "ASV2_1", "ASV1_2", "ASV2_2", "x_y_1"]
    species = {letters: f"A;B;C;D;E;F;F {n}" for n, letters in enumerate(lines[1::2])}
    names = tmp_path / "taxonomy.tsv"
    names.write_text(
        "id\tstatus\tlineage\tconfidence\n"
        + "".join(f"{id}\tassigned\t{species[letters]}\t0.9\n" for id, letters in zip(ids, lines[1::2], strict=True))
    )
    export(collection, tmp_path / "x.tsv", "tsv", assignments=names)
    rows = tsv(tmp_path / "x.tsv")
    assert len(rows) == 7
    assert all(row["lineage"] == species[row["sequence"]] for row in rows)


def test_assignments_of_another_study_are_refused(collection, tmp_path):
    names = tmp_path / "taxonomy.tsv"
    names.write_text(f"id\tstatus\tlineage\tconfidence\nzz\tassigned\t{RAT}\t0.99\n")
    with pytest.raises(InputError, match="none of its ids matches a record to export"):
        export(collection, tmp_path / "x.txt", "krona", assignments=names)
    assert not (tmp_path / "x.txt").exists()


def test_assignments_as_json_lines(workspace, tmp_path):
    file = tmp_path / "taxa.jsonl"
    line = {"id": "a-1", "status": "assigned", "lineage": RAT, "confidence": 0.5, "note": ""}
    file.write_text(json.dumps(line) + "\n\n" + json.dumps({**line, "id": "a-5", "status": "rejected", "lineage": None,
                                                           "confidence": None}) + "\n")  # fmt: skip
    export(opened(workspace), tmp_path / "k.txt", "krona", assignments=file)
    found = (tmp_path / "k.txt").read_text().splitlines()
    assert "\t".join(["9", *RAT.split(";")]) in found


def test_one_assignment_names_all_records_of_a_sequence(tmp_path):
    run = add_run(tmp_path, "d", "r", [1, 2, 1, 2])
    collection = DataManager(tmp_path).loose_runs([run.folder])
    second = digest(letters_of(2).encode())
    (tmp_path / "a.tsv").write_text(
        HEAD + f"r-0\tassigned\tspecies\t{RAT}\t0.99999\n{second}\tassigned\t\t{FAMILY}\t\n"
    )
    export(collection, tmp_path / "x.tsv", "tsv", assignments=tmp_path / "a.tsv")
    assert [row["lineage"] for row in tsv(tmp_path / "x.tsv")] == [RAT, RAT, FAMILY, FAMILY]
    export(collection, tmp_path / "q", "qiime2", biom=False, assignments=tmp_path / "a.tsv")
    # Truncated, not rounded: only certainty appears as 1.
    assert [line.split("\t")[2] for line in (tmp_path / "q" / "taxonomy.tsv").read_text().splitlines()[1:]] == [
        "0.9999",
        "",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Feature ID\tTaxon\tConfidence\nx\ty\t1\n", "has no column 'id'"),
        (HEAD + "a\tsure\tgenus\t;;;;;;\t1\n", "status 'sure'"),
        (HEAD + "a\tassigned\tgenus\tX;;;;;;\t1.5\n", "confidence '1.5'"),
        (HEAD + "a\tassigned\tgenus\tX;;;;;;\tnan\n", "confidence 'nan'"),
        (HEAD + "a\tassigned\tkingdom\tX;;;;;;\t1\na\tassigned\tkingdom\tY;;;;;;\t1\n", "contradicts an earlier"),
        ('{"id": 1}\n', "line 1 is not an assignment"),
        ("{]\n", "line 1 is not an assignment"),
        ("", "is empty"),
    ],
)  # fmt: skip
def test_wrong_assignments(workspace, tmp_path, text, message):
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(InputError, match=re.escape(message)):
        export(opened(workspace), tmp_path / "x", "krona", assignments=tmp_path / "a.tsv")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tsv"]


# -- choices -----------------------------------------------------------------------------------------------------------


def test_choices(workspace, tmp_path):
    reference = opened(workspace)

    def ids(**more):
        export(reference, tmp_path / "x.parquet", "parquet", **more)
        return pq.read_table(tmp_path / "x.parquet").column("id").to_pylist()

    assert ids(choice=Choice(datasets=("sea",))) == ["b-0", "b-2", "b-1"]
    assert ids(choice=Choice(runs=("lake/a",), where="abundance > 4")) == ["a-4", "a-5"]
    assert ids(choice=Choice(exclude_runs=("lake/a",)), rows=np.array([0])) == ["b-0", "b-2"]
    assert ids(rows=np.array([6, 1])) == ["a-1", "b-1"]
    with pytest.raises(StoreError, match="no dataset 'x'; it has lake, sea"):
        ids(choice=Choice(datasets=("x",)))
    with pytest.raises(StoreError, match="no run 'lake/x'"):
        ids(choice=Choice(runs=("lake/x",)))
    with pytest.raises(UsageError, match="7 distinct sequences, numbered from 0; got 7"):
        ids(rows=np.array([1, 7]))
    with pytest.raises(UsageError, match="got -1"):
        ids(rows=np.array([-1]))


def test_the_size_of_pieces_does_not_matter(workspace, tmp_path, monkeypatch):
    reference = opened(workspace)
    for format in ("fasta", "tsv", "krona"):
        export(reference, tmp_path / f"one.{format}", format)
    monkeypatch.setattr("ednabed.export.selection._PIECE_RECORDS", 2)
    monkeypatch.setattr("ednabed.export.record_columns._BATCH_FEATURES", 2)
    for format in ("fasta", "tsv", "krona"):
        export(reference, tmp_path / f"two.{format}", format)
        assert (tmp_path / f"one.{format}").read_bytes() == (tmp_path / f"two.{format}").read_bytes()


@pytest.mark.parametrize("format", FORMATS)
def test_an_empty_selection_writes_nothing(workspace, tmp_path, format):
    with pytest.raises(StoreError, match="nothing to export; select more records"):
        export(opened(workspace), tmp_path / "x", format, choice=Choice(where="abundance > 1000"))
    with pytest.raises(StoreError, match="nothing to export"):
        export(opened(workspace), tmp_path / "x", format, rows=np.zeros(0, np.int64))
    assert list(tmp_path.iterdir()) == []


def test_contradicting_records_are_reported(tmp_path):
    run = add_run(tmp_path, "d", "r", [1, 1, 1, 2], columns={"lineage": [FAMILY, RAT, RAT, None]})
    done = export(DataManager(tmp_path).loose_runs([run.folder]), tmp_path / "k.txt", "krona")
    assert (tmp_path / "k.txt").read_text() == "6\t" + RAT.replace(";", "\t") + "\n4\tUnassigned\n"
    assert any(note.startswith("1 sequences have records of different lineages") for note in done.notes)


def test_several_runs_of_a_dataset_are_reported(tmp_path):
    for name in ("r1", "r2"):
        add_run(tmp_path, "d", name, [1, 2])
    collection = DataManager(tmp_path).loose_runs(["d/r1", "d/r2", "d/r2"])
    done = export(collection, tmp_path / "k.txt", "krona")
    assert done.reads == 6
    assert any(note.startswith("dataset d has 2 runs, whose reads are summed") for note in done.notes)


# -- runs of older tools -----------------------------------------------------------------------------------------------


def test_vectors_of_an_older_tool(tmp_path):
    add_run(tmp_path, "d", "r", [1])
    folder = legacy(tmp_path / "consolidated_data" / "runs" / "old" / "x", np.stack([vector_of(n) for n in (7, 8)]))
    data = DataManager(tmp_path)
    with pytest.raises(StoreError, match="so the model is unknown"):
        data.loose_runs(["old/x"])
    register(tmp_path, "v1", SPEC)
    tag_run(tmp_path, Run.open(folder), "v1", assume=True)
    both, old = data.loose_runs(["d/r", "old/x"]), data.loose_runs(["old/x"])
    refused = {
        "fasta": "no bases of these sequences", "mdt": "no record names its sample",
        "faire": "no record names its sample", "sintax": "no sequence has both a name and bases",
        "dada2": "no sequence has both a name and bases",
    }  # fmt: skip
    for format in POSSIBLE:
        if format not in ("sintax", "dada2"):
            export(both, tmp_path / f"{format}.out", format)
        if format in refused:
            with pytest.raises(StoreError, match=refused[format]):
                export(old, tmp_path / "old.out", format)
            assert not (tmp_path / "old.out").exists()
        else:
            export(old, tmp_path / f"old.{format}", format)
    assert (tmp_path / "fasta.out").read_text() == f">r-0;size=1\n{letters_of(1)}\n"
    if "qiime2" not in POSSIBLE:
        return
    assert not (tmp_path / "old.qiime2" / "sequences.fasta").exists()
    taxa = (tmp_path / "qiime2.out" / "taxonomy.tsv").read_text().splitlines()
    assert len(taxa) == 4 and sum(line.startswith("key.") for line in taxa) == 2


# -- complete or absent ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", POSSIBLE)
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_export_keeps_existing_files(workspace, tmp_path, monkeypatch, format, error):
    reference = opened(workspace)
    target = tmp_path / "x"
    export(reference, target, format, rows=np.array([0]))
    before = {p.name: p.read_bytes() for p in (target.iterdir() if target.is_dir() else [target])}
    monkeypatch.setattr("ednabed.export.selection._PIECE_ROWS", 1)
    take, calls = type(reference).take_records, []

    def failing(self, positions, columns):
        calls.append(1)
        if len(calls) > 3:
            raise error
        return take(self, positions, columns)

    monkeypatch.setattr(type(reference), "take_records", failing)
    for place in (target, tmp_path / "new"):
        calls.clear()
        with pytest.raises(type(error)):
            export(reference, place, format)
    assert {p.name: p.read_bytes() for p in (target.iterdir() if target.is_dir() else [target])} == before
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


KILLED = """
import sys, time
from pathlib import Path
from ednabed.workflows.exports import export_records
from ednabed.api.manager import DataManager
from ednabed.workflows.names import AssignmentSource
from ednabed.export import selection
selection._PIECE_ROWS = 1
take = selection.Selection._piece
def slow(*arguments):
    time.sleep(0.3)
    return take(*arguments)
selection.Selection._piece = slow
export_records(DataManager(sys.argv[1]).open_reference(), Path(sys.argv[2]), sys.argv[3])
"""


@pytest.mark.parametrize("format", [format for format in ("parquet", "qiime2", "dwc") if format in POSSIBLE])
def test_a_killed_export_leaves_no_output_file(workspace, tmp_path, format):
    target = tmp_path / "x"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(workspace), str(target), format])
    deadline = time.monotonic() + 60
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    names = [path.name for path in tmp_path.iterdir()]
    assert names and all(name.startswith(".") for name in names)
    export(opened(workspace), target, format)
    assert target.exists()


def test_foreign_files_are_not_replaced(workspace, tmp_path):
    reference = opened(workspace)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "taxonomy.tsv").write_text("mine")
    with pytest.raises(UsageError, match="is not empty and not an export as qiime2"):
        export(reference, tmp_path / "mine", "qiime2", biom=False)
    assert (tmp_path / "mine" / "taxonomy.tsv").read_text() == "mine"
    with pytest.raises(UsageError, match="is a folder, expected a file"):
        export(reference, tmp_path / "mine", "tsv")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file, expected a folder"):
        export(reference, tmp_path / "file", "qiime2", biom=False)
    inside = reference.build
    for format in FORMATS:
        with pytest.raises(UsageError, match="is inside the reference"):
            export(reference, inside / "x", format)
        with pytest.raises(UsageError, match="is inside the run"):
            export(reference, workspace / "consolidated_data" / "runs" / "lake" / "a" / "x", format)


def test_options_of_other_formats(workspace, tmp_path):
    reference = opened(workspace)
    with pytest.raises(UsageError, match="export format 'xlsx' is unknown"):
        export(reference, tmp_path / "x", "xlsx")
    for format, more in (
        ("krona", {"occurrences": True}), ("tsv", {"obsm": True}), ("dwc", {"biom": False}),
        ("qiime2", {"per_sample": True}), ("fasta", {"assignments": tmp_path / "a"}),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=f"not for {format}; omit it"):
            export(reference, tmp_path / "x", format, **more)
    with pytest.raises(UsageError, match="given twice"):
        export(reference, tmp_path / "a", "tsv", assignments=tmp_path / "a")
    assert set(BY_RECORD) < set(FORMATS)


# -- any names ---------------------------------------------------------------------------------------------------------

NASTY = st.text(st.sampled_from("a=+-@\t\r\n\x00\x1b\"'<>&;,|#/\\ \u2028\u202eé﷽"), max_size=6)


@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(NASTY, NASTY, NASTY, NASTY), min_size=3, max_size=3))
def test_no_name_breaks_a_file(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("nasty")
    columns = {
        "id": [id or "x" for id, _, _, _ in names],
        "sample": [sample for _, sample, _, _ in names],
        "lineage": [f"A;{name.replace(';', ',')};;;;;" for _, _, name, _ in names],
        "locality": [place for _, _, _, place in names],
    }
    run = write_run(folder / "run", range(3), columns=columns)
    collection = DataManager(folder).loose_runs([run.folder])
    for format in POSSIBLE:
        export(collection, folder / format, format)
    rows = tsv(folder / "tsv")
    assert len(rows) == 3
    assert not any(re.match(r"\s*[=+\-@]\s*[^\s0-9.]", cell) for row in rows for cell in row.values())
    assert pq.read_table(folder / "parquet").column("locality").to_pylist() == columns["locality"]
    fasta = (folder / "fasta").read_bytes().decode().split("\n")
    assert fasta[1::2] == [letters_of(n) for n in range(3)]
    core, dna = archive(folder / "dwc")
    assert len({row["id"] for row in core}) == len(core) == len(dna) == 3
    krona = (folder / "krona").read_text(encoding="utf-8").splitlines()
    assert sum(int(line.split("\t")[0]) for line in krona) == 6
    if "qiime2" in POSSIBLE:
        pandas = importlib.import_module("pandas")
        table = biom.load_table(str(folder / "qiime2" / "feature-table.biom"))
        assert table.sum() == 6
        taxa = pandas.read_csv(folder / "qiime2" / "taxonomy.tsv", sep="\t", header=0, dtype=object)
        assert taxa["Feature ID"].tolist() == list(table.ids("observation"))
        assert [taxon.startswith("k__A") for taxon in taxa["Taxon"]] == [True] * 3
    if "h5ad" in POSSIBLE:
        assert importlib.import_module("anndata").read_h5ad(folder / "h5ad").shape == (3, 8)
