"""Tests of exports for networks and other classifiers, read back by the rules of their own readers."""

from __future__ import annotations

import csv
import io
import subprocess
import uuid
import zipfile
from pathlib import Path
from shutil import which

import biom
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ednabed.api.manager import DataManager
from ednabed.engine.open import open_embedder
from ednabed.errors import InputError, StoreError, UsageError
from ednabed.export.about import read_about
from ednabed.export.eml import eml
from ednabed.export.faire import COLUMNS
from ednabed.export.target_genes import target_gene
from ednabed.export.taxon_terms import specific_epithet, taxon_id_terms
from ednabed.models.spec import Policy
from ednabed.sequences import open_records
from ednabed.sequences.counts import read_count_table
from ednabed.sequences.labels import read_labels
from ednabed.store.run_writer import RunRequest, embed_to_run
from ednabed.workflows.exports import ExportOptions, export_records
from ednabed.workflows.names import AssignmentSource
from reference_support import add_run, letters_of, vector_of

RAT = "Animalia;Chordata;Mammalia;Rodentia;Muridae;Rattus;Rattus rattus"
FAMILY = "Animalia;Chordata;;Rodentia;Muridae;;"
ODD = "Animalia;Chordata;Mammalia;Rodentia;Muridae;Mus;Mus sp. 1"
WORMS = "urn:lsid:marinespecies.org:taxname:7"


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """Four sequences in two samples and a control: labelled, one without a name, which a file of assignments names."""
    folder = tmp_path_factory.mktemp("ws")
    add_run(
        folder, "lake", "r", [0, 1, 2, 3, 0],
        columns={
            "id": ["a", "b", "c", "d", "a"],
            "lineage": [RAT, FAMILY, ODD, None, RAT],
            "sample": ["S1", "S1", "S2", "S2", "blank"],
            "abundance": pa.array([10, 20, 30, 40, 5], pa.int64()),
            "decimalLatitude": ["59.5", "59.5", "-60", "-60", None],
            "decimalLongitude": ["10.25"] * 4 + [None],
            "eventDate": ["2024-05-01"] * 4 + [None],
            "depth": ["12.5", "12.5", "shallow", "shallow", None],
            "marker": ["12S rRNA"] * 5,
            "seq_meth": ["Illumina MiSeq"] * 5,
            "env_medium": ['sea "water"', 'sea "water"', "fresh water", "fresh water", None],
            "AphiaID": [7, None, None, None, 7],
            "samp_category": ["sample"] * 4 + ["negative control"],
            "seq_run_id": ["run 1"] * 5,
        },
    )  # fmt: skip
    return DataManager(folder).loose_runs(["lake/r"])


@pytest.fixture
def assigned(tmp_path) -> AssignmentSource:
    text = "id\tstatus\tlineage\tconfidence\tnearest_id\tnearest_lineage\tnearest_taxon_id\tidentity\tcoverage\n"
    text += f"d\tassigned\t{RAT}\t0.93456\tAB1\t{RAT}\tNCBI:txid10117\t98.765\t100\n"
    (tmp_path / "taxa.tsv").write_text(text)
    return AssignmentSource(file=tmp_path / "taxa.tsv")


def export(collection, target: Path, format: str, assigned: AssignmentSource | None = None, **more):
    return export_records(collection, target, format, assigned=assigned, options=ExportOptions(**more))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


# -- Metabarcoding Data Toolkit ----------------------------------------------------------------------------------------


def test_mdt_has_what_the_toolkit_requires(collection, tmp_path, assigned):
    done = export(collection, tmp_path / "mdt", "mdt", assigned)
    assert done.files == ("OTU_table.tsv", "Samples.tsv", "Study.tsv", "Taxonomy.tsv", "export.json")
    table = (tmp_path / "mdt" / "OTU_table.tsv").read_text().splitlines()
    assert [line.split("\t") for line in table] == [
        ["", "S1", "S2", "blank"],
        ["a", "10", "0", "5"], ["b", "20", "0", "0"], ["c", "0", "30", "0"], ["d", "0", "40", "0"],
    ]  # fmt: skip
    taxa = {row["id"]: row for row in rows(tmp_path / "mdt" / "Taxonomy.tsv")}
    assert list(taxa) == ["a", "b", "c", "d"]
    assert taxa["a"]["DNA_sequence"] == letters_of(0)
    assert [taxa["a"][c] for c in ("scientificName", "specificEpithet", "taxonRank", "scientificNameID")] == [
        "Rattus rattus", "rattus", "species", WORMS,
    ]  # fmt: skip
    assert [taxa["b"][c] for c in ("scientificName", "class", "family", "genus")] == ["Muridae", "", "Muridae", ""]
    assert (taxa["c"]["scientificName"], taxa["c"]["specificEpithet"]) == ("Mus sp. 1", "")
    assert taxa["d"]["taxonConceptID"] == "NCBI:txid10117"
    assert taxa["d"]["identificationRemarks"] == "ednabed classify: assigned, confidence 0.9345"
    samples = {row["id"]: row for row in rows(tmp_path / "mdt" / "Samples.tsv")}
    # The control is not a sample, so the toolkit omits it.
    assert list(samples) == ["S1", "S2"]
    assert [samples["S1"][c] for c in ("eventDate", "decimalLatitude", "decimalLongitude", "target_gene")] == [
        "2024-05-01", "59.5", "10.25", "12S",
    ]  # fmt: skip
    assert [samples[s]["minimumDepthInMeters"] for s in samples] == ["12.5", ""]
    assert [samples[s]["verbatimDepth"] for s in samples] == ["", "shallow"]
    # The toolkit's reader takes a quote for the beginning of a quoted cell.
    assert samples["S1"]["env_medium"] == "sea 'water'"
    study = {row["term"]: row["value"] for row in rows(tmp_path / "mdt" / "Study.tsv")}
    assert study == {"target_gene": "12S", "seq_meth": "Illumina MiSeq"}
    assert any(note.startswith("1 controls (samp_category) are in OTU_table") for note in done.notes)


def test_mdt_as_a_workbook_is_read_by_another_reader(collection, tmp_path):
    pytest.importorskip("xlsxwriter")
    openpyxl = pytest.importorskip("openpyxl")
    export(collection, tmp_path / "mdt", "mdt")
    first = (export(collection, tmp_path / "x.xlsx", "mdt"), (tmp_path / "x.xlsx").read_bytes())[1]
    book = openpyxl.load_workbook(tmp_path / "x.xlsx")
    assert book.sheetnames == ["OTU_table", "Taxonomy", "Samples", "Study"]
    for sheet in book:
        text = (tmp_path / "mdt" / f"{sheet.title}.tsv").read_text().splitlines()
        found = [["" if cell is None else str(cell) for cell in row] for row in sheet.iter_rows(values_only=True)]
        assert found == [line.split("\t") for line in text]
    assert book["OTU_table"]["B2"].value == 10
    assert book["Samples"]["C2"].data_type == "s"
    export(collection, tmp_path / "x.xlsx", "mdt")
    assert (tmp_path / "x.xlsx").read_bytes() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mdt", "x.xlsx"]


def test_mdt_contains_no_formulas(tmp_path):
    pytest.importorskip("xlsxwriter")
    openpyxl = pytest.importorskip("openpyxl")
    run = add_run(tmp_path, "d", "r", [0], columns={"locality": ["=1+1"], "lineage": ["http://x.y;;;;;;"]})
    collection = DataManager(tmp_path).loose_runs([run.folder])
    export(collection, tmp_path / "x.xlsx", "mdt")
    cells = [cell for sheet in openpyxl.load_workbook(tmp_path / "x.xlsx") for row in sheet for cell in row]
    assert {cell.data_type for cell in cells if cell.value in ("=1+1", "http://x.y")} == {"s"}
    assert not any(cell.hyperlink for cell in cells)


def test_a_workbook_too_large_for_excel_is_refused(collection, tmp_path, monkeypatch):
    pytest.importorskip("xlsxwriter")
    monkeypatch.setattr("ednabed.export.workbook._ROWS", 3)
    with pytest.raises(StoreError, match=r"OTU_table: row 4 .* export to a folder"):
        export(collection, tmp_path / "x.xlsx", "mdt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"marker": ["12S", "COI"]}, r"of 2 markers \(12S, COI\), expected one"),
        ({"sample": pa.nulls(2, pa.string())}, "no record names its sample"),
    ],
)
def test_data_that_the_toolkit_does_not_accept_are_refused(tmp_path, columns, message):
    run = add_run(tmp_path, "d", "r", [0, 1], columns=columns)
    with pytest.raises(StoreError, match=message):
        export(DataManager(tmp_path).loose_runs([run.folder]), tmp_path / "out", "mdt")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("marker", "gene"),
    [("COI-5P", "COI"), ("cox1", "COI"), ("12S rRNA", "12S"), ("18S V9", "18S"), ("ITS2", "ITS2"), ("ITS", "ITS"),
     ("rbcL", "rbcL"), ("CO1", "COI"), ("5S", "5S"), ("COIII", "COIII"), ("12SX", "12SX")],
)  # fmt: skip
def test_markers_are_named_in_the_vocabulary_of_the_toolkit(marker, gene):
    assert target_gene(marker) == gene


@pytest.mark.parametrize(
    ("genus", "species", "epithet"),
    [("Rattus", "Rattus rattus", "rattus"), ("", "Rattus rattus", "rattus"), ("Rattus", "Rattus sp. 1", ""),
     ("Mus", "Rattus rattus", ""), ("Salix", "Salix × rubens", ""), ("Salix", "", ""),
     ("Aster", "Aster novae-angliae", "novae-angliae")],
)  # fmt: skip
def test_epithets(genus, species, epithet):
    assert specific_epithet(genus, species) == epithet


def test_a_number_without_a_database_is_not_an_id():
    assert taxon_id_terms("8049") == taxon_id_terms("") == {}
    assert taxon_id_terms("SH1508347.08FU") == {"taxonConceptID": "SH1508347.08FU"}


# -- FAIRe -------------------------------------------------------------------------------------------------------------


def test_faire(collection, tmp_path, assigned):
    done = export(collection, tmp_path / "faire", "faire", assigned)
    ending = "_lake_12S_run-1.tsv"
    assert done.files == ("export.json", f"otuFinal{ending}", f"taxaFinal{ending}")
    taxa = rows(tmp_path / "faire" / f"taxaFinal{ending}")
    assert tuple(taxa[0]) == COLUMNS
    by_id = {row["seq_id"]: row for row in taxa}
    assert (by_id["a"]["taxonID"], by_id["a"]["taxonID_db"]) == (WORMS, "WoRMS")
    assert [by_id["d"][c] for c in COLUMNS if c.startswith(("percent", "conf", "acc", "taxonID"))] == [
        "NCBI:txid10117", "NCBI", "AB1", "", "98.77", "100.00", "0.9345",
    ]  # fmt: skip
    table = rows(tmp_path / "faire" / f"otuFinal{ending}")
    # Curated FAIRe tables do not contain controls.
    assert [list(row.values()) for row in table] == [
        ["a", "10", "0"],
        ["b", "20", "0"],
        ["c", "0", "30"],
        ["d", "0", "40"],
    ]
    assert [row["seq_id"] for row in table] == list(by_id)
    assert any("1 controls" in note for note in done.notes)
    assert any(note.startswith("1 records get their names") for note in done.notes)


def test_ednabed_reads_faire_tables_back(collection, tmp_path):
    export(collection, tmp_path / "faire", "faire")
    taxa, table = (tmp_path / "faire" / f"{name}_lake_12S_run-1.tsv" for name in ("taxaFinal", "otuFinal"))
    assert read_labels(taxa)["a"] == RAT
    counts = read_count_table(table)
    assert {counts.samples[place]: n for place, n in counts.counts_of("d").items() if n} == {"S2": 40}


# -- QIIME 2 -----------------------------------------------------------------------------------------------------------


def artifact(path: Path) -> tuple[str, dict[str, bytes]]:
    """Read an artifact by the rules of qiime2's archiver: one folder named by a UUID4, VERSION, metadata.yaml."""
    yaml = pytest.importorskip("yaml")
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        files = {name: file.read(name) for name in file.namelist()}
    (root,) = {name.split("/")[0] for name in files}
    assert str(uuid.UUID(hex=root, version=4)) == root
    header, version, framework, end = files[f"{root}/VERSION"].decode().split("\n")
    assert (header, version, framework.split(":")[0], end) == ("QIIME 2", "archive: 0", "framework", "")
    metadata = yaml.safe_load(files[f"{root}/metadata.yaml"])
    assert metadata["uuid"] == root
    data = {name.removeprefix(f"{root}/data/"): text for name, text in files.items() if f"{root}/data/" in name}
    return f"{metadata['type']} {metadata['format']}", data


def test_qza(collection, tmp_path, assigned):
    pandas = pytest.importorskip("pandas")
    done = export(collection, tmp_path / "q", "qza", assigned)
    assert done.files == ("export.json", "rep-seqs.qza", "table.qza", "taxonomy.qza")
    kind, data = artifact(tmp_path / "q" / "taxonomy.qza")
    assert kind == "FeatureData[Taxonomy] TSVTaxonomyDirectoryFormat"
    taxa = pandas.read_csv(io.BytesIO(data["taxonomy.tsv"]), sep="\t", dtype=object)
    assert taxa["Feature ID"].tolist() == ["a", "b", "c", "d"]
    kind, data = artifact(tmp_path / "q" / "table.qza")
    assert kind == "FeatureTable[Frequency] BIOMV210DirFmt"
    (tmp_path / "t.biom").write_bytes(data["feature-table.biom"])
    assert biom.load_table(str(tmp_path / "t.biom")).sum() == done.reads == 105
    kind, data = artifact(tmp_path / "q" / "rep-seqs.qza")
    assert kind == "FeatureData[Sequence] DNASequencesDirectoryFormat"
    assert data["dna-sequences.fasta"].decode().split() == [
        x for n, i in enumerate("abcd") for x in (f">{i}", letters_of(n))
    ]
    assert any("has no provenance" in note for note in done.notes)
    first = (tmp_path / "q" / "rep-seqs.qza").read_bytes()
    export(collection, tmp_path / "q", "qza", assigned)
    assert (tmp_path / "q" / "rep-seqs.qza").read_bytes() == first


def test_qza_can_be_embedded_again(collection, tmp_path):
    export(collection, tmp_path / "q", "qza")
    labels = read_labels(tmp_path / "q" / "taxonomy.qza")
    counts = read_count_table(tmp_path / "q" / "table.qza")
    with open_records(tmp_path / "q" / "rep-seqs.qza", labels=labels) as batches:
        found = {row["id"]: row["lineage"] for row in pa.Table.from_batches(list(batches)).to_pylist()}
    assert found == {"a": RAT, "b": FAMILY, "c": ODD, "d": None}
    assert {counts.samples[place]: n for place, n in counts.counts_of("a").items()} == {"S1": 10, "blank": 5}


# -- references of other classifiers -----------------------------------------------------------------------------------


def test_sintax_has_all_known_names(collection, tmp_path):
    done = export(collection, tmp_path / "x.fasta", "sintax")
    lines = (tmp_path / "x.fasta").read_text().splitlines()
    assert lines[0] == ">a;tax=d:Animalia,p:Chordata,c:Mammalia,o:Rodentia,f:Muridae,g:Rattus,s:Rattus_rattus;"
    assert lines[2] == ">b;tax=d:Animalia,p:Chordata,o:Rodentia,f:Muridae;"
    assert lines[1::2] == [letters_of(n) for n in range(3)]
    assert any(note.startswith("1 sequences are omitted") for note in done.notes)


@pytest.mark.skipif(which("vsearch") is None, reason="needs vsearch")
def test_vsearch_classifies_against_the_export(tmp_path):
    rng = np.random.default_rng(1)
    sequences = ["".join(rng.choice(list("ACGT"), 200)) for _ in range(6)]
    names = [f"Animalia;Chordata;;Order {i % 2};Family{i};Genus{i};Genus{i} species" for i in range(6)]
    text = "id\tsequence\tlineage\n" + "".join(
        f"r{i}\t{s}\t{n}\n" for i, (s, n) in enumerate(zip(sequences, names, strict=True))
    )
    (tmp_path / "ref.tsv").write_text(text)
    request = RunRequest(inputs=[tmp_path / "ref.tsv"], workspace=tmp_path, dataset="ref")
    embed_to_run(request, open_embedder("kmer6", Policy()), show_progress=False)
    export(DataManager(tmp_path).loose_runs(["ref"]), tmp_path / "ref.fasta", "sintax")
    (tmp_path / "q.fasta").write_text(f">q\n{sequences[3]}\n")
    command = [
        "vsearch",
        "--sintax",
        "q.fasta",
        "--db",
        "ref.fasta",
        "--tabbedout",
        "out.tsv",
        "--sintax_cutoff",
        "0.8",
    ]
    subprocess.run([*command, "--threads", "1"], cwd=tmp_path, check=True, capture_output=True)
    given_ = (tmp_path / "out.tsv").read_text().rstrip("\n").split("\t")[3]
    assert given_ == "d:Animalia,p:Chordata,o:Order_1,f:Family3,g:Genus3,s:Genus3_species"


def test_dada2(collection, tmp_path):
    done = export(collection, tmp_path / "d", "dada2")
    assert done.files == ("addSpecies.fasta", "assignTaxonomy.fasta", "export.json")
    levels = (tmp_path / "d" / "assignTaxonomy.fasta").read_text().splitlines()
    assert levels[::2] == [
        ">Animalia;Chordata;Mammalia;Rodentia;Muridae;Rattus;Rattus rattus;",
        # Levels are identified by position, so an unknown class also has one.
        ">Animalia;Chordata;Chordata_X;Rodentia;Muridae;",
        ">Animalia;Chordata;Mammalia;Rodentia;Muridae;Mus;Mus sp. 1;",
    ]
    assert levels[1::2] == [letters_of(n) for n in range(3)]
    assert (tmp_path / "d" / "addSpecies.fasta").read_text() == f">a Rattus rattus\n{letters_of(0)}\n"
    assert any("2 sequences have no binomial" in note for note in done.notes)


NAMES = st.text(st.sampled_from("Aab ;,|'\"é.\t_-"), max_size=8).map(str.strip)


@settings(
    max_examples=30, deadline=None, phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(st.lists(NAMES, min_size=7, max_size=7))
def test_no_name_shifts_a_level(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("levels")
    lineage = ";".join(name.replace(";", ",") for name in names)
    known = [name for name in lineage.split(";") if name]
    run = add_run(folder, "d", "r", [0], columns={"lineage": [lineage]})
    collection = DataManager(folder).loose_runs([run.folder])
    if not known:
        with pytest.raises(StoreError, match="no sequence has both a name and bases"):
            export(collection, folder / "x", "sintax")
        return
    export(collection, folder / "x", "sintax")
    header, bases = (folder / "x").read_text(encoding="utf-8").splitlines()
    assert bases == letters_of(0) and " " not in header and header.count(";") == 2
    assert len(header.split("tax=")[1].rstrip(";").split(",")) == len(known)
    export(collection, folder / "d", "dada2")
    header = (folder / "d" / "assignTaxonomy.fasta").read_text(encoding="utf-8").splitlines()[0]
    depth = max(place for place, name in enumerate(lineage.split(";"), 1) if name)
    levels = header[1:].removesuffix(";").split(";")
    assert len(levels) == depth and all(levels)


# -- AnnData -----------------------------------------------------------------------------------------------------------


def test_h5ad_by_sample(collection, tmp_path):
    anndata = pytest.importorskip("anndata")
    done = export(collection, tmp_path / "x.h5ad", "h5ad", by_sample=True)
    data = anndata.read_h5ad(tmp_path / "x.h5ad")
    assert (list(data.obs_names), list(data.var_names)) == (["S1", "S2", "blank"], ["a", "b", "c", "d"])
    np.testing.assert_array_equal(data.X.toarray(), [[10, 20, 0, 0], [0, 0, 30, 40], [5, 0, 0, 0]])
    np.testing.assert_array_equal(data.varm["X_ednabed"], np.stack([vector_of(n) for n in range(4)]))
    assert data.obs["reads"].tolist() == [30, 70, 5]
    assert data.obs["control"].tolist() == [False, False, True]
    np.testing.assert_array_equal(data.obs["decimalLatitude"], [59.5, -60, np.nan])
    assert data.obs["eventDate"].tolist() == ["2024-05-01", "2024-05-01", ""]
    assert data.var["species"].tolist()[0] == "Rattus rattus"
    assert data.var["taxon_id"].tolist() == [WORMS, "", "", ""]
    assert (done.sequences, done.samples, done.reads) == (4, 3, 105)
    with pytest.raises(UsageError, match="omit one of them"):
        export(collection, tmp_path / "y.h5ad", "h5ad", by_sample=True, obsm=True)


# -- Darwin Core -------------------------------------------------------------------------------------------------------

ABOUT = """
title = "Fish & <chips>"
abstract = "Two samples."
license = "CC-BY"
published = 2026-11-30

[contact]
given_name = "Kari"
surname = "Nordmann"
organization = "Institute of Lakes"
email = "kari@example.org"
orcid = "0000-0002-1825-0097"

[[creator]]
organization = "The lake group"
"""


def occurrences(path: Path) -> dict[str, dict[str, str]]:
    with zipfile.ZipFile(path) as file:
        lines = [line.split("\t") for line in file.read("occurrence.txt").decode().splitlines()]
    return {row[0]: dict(zip(lines[0], row, strict=True)) for row in lines[1:]}


def test_an_archive_has_taxon_ids_and_depths(collection, tmp_path, assigned):
    done = export(collection, tmp_path / "x.zip", "dwc", assigned)
    found = occurrences(tmp_path / "x.zip")
    assert found["lake:S1:a"]["scientificNameID"] == WORMS
    assert found["lake:S2:d"]["taxonConceptID"] == "NCBI:txid10117"
    assert found["lake:S1:b"]["scientificNameID"] == found["lake:S1:b"]["taxonConceptID"] == ""
    depths = ("minimumDepthInMeters", "maximumDepthInMeters", "verbatimDepth")
    assert [found["lake:S1:a"][term] for term in depths] == ["12.5", "12.5", ""]
    assert [found["lake:S2:c"][term] for term in depths] == ["", "", "shallow"]
    assert any(note.startswith("3 of 5 occurrences have no scientificNameID") for note in done.notes)
    assert any(note.startswith("the archive has no eml.xml") for note in done.notes)


def test_an_archive_with_eml_is_read_by_another_reader(collection, tmp_path):
    reader = pytest.importorskip("dwca.read")
    (tmp_path / "about.toml").write_text(ABOUT, encoding="utf-8")
    done = export(collection, tmp_path / "x.zip", "dwc", dataset=tmp_path / "about.toml")
    assert not any("eml" in note for note in done.notes)
    with reader.DwCAReader(str(tmp_path / "x.zip")) as archive:
        assert archive.metadata.find("./dataset/title").text == "Fish & <chips>"
        assert archive.metadata.find("./dataset/creator/organizationName").text == "The lake group"
        assert archive.metadata.find("./dataset/contact/electronicMailAddress").text == "kari@example.org"
        taxa = "http://rs.tdwg.org/dwc/terms/scientificName"
        assert next(row.data[taxa] for row in archive) == "Rattus rattus"


def test_eml_is_in_the_order_of_the_profile(tmp_path):
    from xml.etree import ElementTree

    (tmp_path / "about.toml").write_text(ABOUT, encoding="utf-8")
    root = ElementTree.fromstring(eml(read_about(tmp_path / "about.toml")))
    assert root.tag == "{https://eml.ecoinformatics.org/eml-2.2.0}eml"
    assert [part.tag for part in root.find("dataset")] == [
        "title", "creator", "metadataProvider", "pubDate", "language", "abstract", "intellectualRights", "contact",
    ]  # fmt: skip
    assert root.find(".//ulink").get("url") == "https://creativecommons.org/licenses/by/4.0/legalcode"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('title = "Fish & <chips>"', ""), "title is '', expected text"),
        (('"CC-BY"', '"MIT"'), "license is 'MIT', expected one of CC0, CC-BY, CC-BY-NC"),
        (("[contact]", "[contacts]"), "has the unknown key 'contacts', expected keys from title"),
        (('abstract = "Two samples."', ""), "abstract is '', expected text"),
        (("published = 2026-11-30", ""), "published is None, expected a date"),
        (("2026-11-30", '"soon"'), "published is 'soon', expected a date"),
        (('email =', "e-mail ="), "contact has the unknown key 'e-mail'"),
        (("0000-0002-1825-0097", "1"), "contact has the orcid '1'"),
        (('organization = "The lake group"', ""), "creator has neither surname nor organization"),
        (("[[creator]]", "[creator]"), "creator is not a list of tables"),
        (("title =", "title"), "cannot be read as TOML"),
    ],
)  # fmt: skip
def test_errors_in_an_about_file_are_named(collection, tmp_path, change, message):
    (tmp_path / "about.toml").write_text(ABOUT.replace(*change), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        export(collection, tmp_path / "x.zip", "dwc", dataset=tmp_path / "about.toml")
    assert not (tmp_path / "x.zip").exists()


# -- tables ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("occurrences_", [True, False])
def test_tables_have_the_taxon_id_of_the_name(collection, tmp_path, assigned, occurrences_):
    export(collection, tmp_path / "x.tsv", "tsv", assigned, occurrences=occurrences_)
    found = {row["id"]: row["taxon_id"] for row in rows(tmp_path / "x.tsv")}
    assert found == {"a": WORMS, "b": "", "c": "", "d": "NCBI:txid10117"}


def test_a_genus_does_not_get_the_id_of_the_nearest_species(collection, tmp_path):
    text = "id\tstatus\tlineage\tconfidence\tnearest_id\tnearest_lineage\tnearest_taxon_id\tidentity\tcoverage\n"
    genus = RAT.rsplit(";", 1)[0] + ";"
    (tmp_path / "taxa.tsv").write_text(text + f"d\tassigned\t{genus}\t0.9\tAB1\t{RAT}\tNCBI:txid10117\t98\t100\n")
    export(collection, tmp_path / "x.zip", "dwc", AssignmentSource(file=tmp_path / "taxa.tsv"))
    assert occurrences(tmp_path / "x.zip")["lake:S2:d"]["taxonConceptID"] == ""


@pytest.mark.parametrize("identity", ["x", "101", "-1", "nan"])
def test_an_invalid_identity_is_refused(collection, tmp_path, identity):
    text = f"id\tstatus\tlineage\tconfidence\tidentity\nd\tassigned\t{RAT}\t0.9\t{identity}\n"
    (tmp_path / "taxa.tsv").write_text(text)
    with pytest.raises(InputError, match="expected a number from 0 to 100"):
        export(collection, tmp_path / "x.tsv", "tsv", AssignmentSource(file=tmp_path / "taxa.tsv"))
