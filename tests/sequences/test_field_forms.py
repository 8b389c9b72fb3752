"""The file formats of the field: each input next to its expected result, both read from the shared folder."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from ednabed.sequences import open_records, read_labels
from ednabed.sequences.counts import read_count_table
from ednabed.sequences.lineage import split_lineage
from support import SHARED

FIELD = SHARED / "field"
pytestmark = pytest.mark.skipif(not FIELD.is_dir(), reason="the shared folder with files of the field is not here")


def records(name: str, **options: bool) -> list[dict]:
    with open_records(FIELD / name, **options) as opened:
        return [row for batch in opened for row in batch.to_pylist()]


def notes(name: str) -> str:
    with open_records(FIELD / name) as opened:
        for _ in opened:
            pass
        return "\n".join(opened.notes)


def expected(name: str) -> list[dict[str, str]]:
    """Return the rows of an expected result; text in brackets is only for human readers."""
    with (FIELD / f"{name}.expected.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [{key: re.sub(r"\s*\(.*\)$", "", value or "") for key, value in row.items() if key} for row in rows]


def lineages(name: str) -> dict[str, str | None]:
    return {row["id"]: row["lineage"] for row in records(name)}


@pytest.mark.parametrize(
    "name",
    [
        "21_gbif.tsv", "21c_dwc.csv", "40_ncbitax2lin.csv", "44_shift.tsv", "46_sintax_t.fasta",
        "62_barcodelabel_first.fasta",
    ],
)  # fmt: skip
def test_records_are_as_expected(name):
    found = {row["id"]: row for row in records(name)}
    rows = expected(name.split(".")[0])
    assert rows
    for row in rows:
        for column, value in row.items():
            assert str(found[row["id"]][column] or "") == value, (row["id"], column)


def test_bold_keeps_both_markers_of_a_specimen():
    found = [(r["id"], r["marker"], split_lineage(r["lineage"])[6]) for r in records("01_bold_fasta.fasta")]
    assert found == [(row["id"], row["marker"], row["species"]) for row in expected("01_bold_fasta")]


def test_headers_that_are_lineages_get_generated_ids():
    lineages: list[str] = []
    for row in expected("07_dada2_train"):
        text = next(value for key, value in row.items() if key.startswith("lineage"))
        lineages.append(lineages[-1] if text == "same" else text)
    found = records("07_dada2_train.fasta")
    assert [row["lineage"] for row in found] == lineages
    assert len({row["id"] for row in found}) == len(found) == 6
    assert notes("07_dada2_train.fasta").endswith("(07_dada2_train_1, …): 5")


def test_obitools_gives_reads_and_samples():
    rows = expected("12_obitools2")
    whole = {row["id"]: row["abundance"] for row in records("12_obitools2.fasta")}
    assert whole == {row["id"]: int(row["abundance"]) for row in rows}
    by_sample: dict[str, list[str]] = {}
    for row in records("12_obitools2.fasta", by_sample=True):
        by_sample.setdefault(row["id"], []).append(f"{row['sample']}={row['abundance']}")
    assert {name: ";".join(pairs) for name, pairs in by_sample.items()} == {r["id"]: r["samples"] for r in rows}


def test_a_single_name_is_a_species_or_unknown():
    (first, _) = expected("45_taxon_name")
    found = lineages("45_taxon_name.csv")
    assert found == {first["id"]: first["lineage"], "a2": None}
    assert "'Gadidae'" in notes("45_taxon_name.csv")


def test_labels_of_pr2_with_an_organelle():
    first, second = expected("58_pr2_plas")
    labels = read_labels(FIELD / "58_pr2_plas.tsv")
    assert labels[first["id"]] == first["lineage"]
    assert labels[second["id"]] == "TSAR;Stramenopiles;Bacillariophyceae;;Naviculales;Navicula;"
    assert any("organelle" in note for note in labels.notes)


PERIDINIUM = "TSAR;Alveolata;Dinophyceae;Peridiniales;Protoperidiniaceae;Protoperidinium;Protoperidinium bipes"


@pytest.mark.parametrize(
    ("name", "lineages"),
    [
        ("03_midori2.fasta", [
            "Eukaryota;Chordata;;Crocodylia;Crocodylidae;Crocodylus;Crocodylus intermedius",
            "Eukaryota;Chordata;Actinopteri;Perciformes;Serranidae;Epinephelus;Epinephelus coioides",
            "Eukaryota;Chordata;Actinopteri;Gadiformes;Gadidae;Gadus;Gadus morhua",
            "Eukaryota;Discosea;;;Vannellidae;Paravannella;Paravannella minima",
            "Eukaryota;Arthropoda;Insecta;Diptera;Chironomidae;Chironomus;Chironomus sp. BOLD:AAA1234"]),
        ("04_silva.fasta", [
            "Eukaryota;;;;;Monoraphidium;Monoraphidium minutum",
            "Bacteria;Firmicutes;Clostridia;Peptostreptococcales-Tissierellales;Gracilibacteraceae;Lutispora;"
            "Lutispora thermophila",
            "Eukaryota;;;;;Caryedon;Caryedon pallidus"]),
        ("05_unite.fasta", [
            "Fungi;Ascomycota;Sordariomycetes;Hypocreales;Clavicipitaceae;Neotyphodium;Neotyphodium ×siegelii",
            "Fungi;Glomeromycota;Glomeromycetes;Glomerales;Glomeraceae;;",
            "Fungi;Ascomycota;Dothideomycetes;Abrothallales;Abrothallaceae;Abrothallus;Abrothallus subhalei",
            "Fungi;;;;;;",
            "Fungi;Ascomycota;Sordariomycetes;Hypocreales;Clavicipitaceae;Epichloë;Epichloë amarillans"]),
        ("09_pr2.fasta", [PERIDINIUM] * 3),
        ("10_rdp.fasta", [
            "Archaea;Crenarchaeota;Thermoprotei;Thermoproteales;;;",
            "Bacteria;Proteobacteria;Gammaproteobacteria;Pseudomonadales;Pseudomonadaceae;Pseudomonas;",
            "Eukaryota;Chordata;Actinopteri;Gadiformes;Gadidae;Gadus;Gadus morhua"]),
        ("18g_pr2_lineages_ok.tsv", [
            PERIDINIUM,
            PERIDINIUM.replace("TSAR;Alveolata", "Alveolata;Dinoflagellata"),
            "Obazoa;Opisthokonta;Arthropoda;Crustacea;Maxillopoda;Calanus;Calanus finmarchicus"]),
        ("19_bold_v4.tsv", [
            *[";Chordata;Actinopterygii;Salmoniformes;Salmonidae;Salmo;Salmo trutta"] * 2,
            ";Chordata;Actinopterygii;Salmoniformes;Salmonidae;Salmo;Salmo sp. 1",
            ";Chordata;Actinopterygii;Salmoniformes;Salmonidae;Salmo;Salmo cf. trutta",
            ";Chordata;Actinopterygii;Salmoniformes;Salmonidae;Salmo;",
            ";Chordata;Actinopterygii;Salmoniformes;Salmonidae;Salmo;Salmo trutta x Salvelinus fontinalis"]),
        ("24_crabs_v1.txt", [
            "Eukaryota;Chordata;Actinopteri;Gadiformes;Gadidae;Gadus;Gadus morhua",
            "Eukaryota;Chordata;Actinopteri;;Gadidae;Gadus;"]),
    ],
)  # fmt: skip
def test_lineages_of_references(name, lineages):
    assert [row["lineage"] for row in records(name)] == lineages


def test_epithets_are_names_within_their_genus():
    found = lineages("63_sp1.csv")
    species = [split_lineage(text)[6] for text in found.values()]
    assert species[:2] == ["Chironomus sp. 1", "Tanytarsus sp. 1"]
    genera = {split_lineage(text)[5] for text in found.values()}
    assert all(any(name.startswith(f"{genus} ") for genus in genera) for name in species)


def test_placeholders_of_unite_are_unknown_and_counted():
    found = records("43_unite_placeholders.fasta")
    written = (FIELD / "43_unite_placeholders.fasta").read_text(encoding="utf-8")
    names = {name for row in found for name in split_lineage(row["lineage"]) if name}
    assert not [
        n for n in names if re.search(r"(?i)incertae|uncultured|unclassified|unidentified|unknown|[ _]sp\.?$", n)
    ]
    count = sum(
        bool(re.search(r"(?i)__[^;]*(?:incertae|uncultured|unclassified|unidentified|unknown|_sp\b)", line))
        for line in written.splitlines()
        if line.startswith(">")
    )
    assert f"{count:,} records have a placeholder" in notes("43_unite_placeholders.fasta")
    kept = records("43_unite_placeholders.fasta", keep_placeholders=True)
    assert split_lineage(kept[0]["lineage"])[6] == "Myxotrichum sp"


def test_labels_of_qiime2():
    labels = read_labels(FIELD / "13_qiime2_taxonomy.tsv")
    with open_records(FIELD / "13_qiime2.fasta", labels=labels) as opened:
        assert sum(len(batch) for batch in opened) == 7
    assert labels.matched == 6
    assert dict(labels) == {
        "d1": "Bacteria;Proteobacteria;Gammaproteobacteria;Enterobacterales;Enterobacteriaceae;Escherichia-Shigella;"
        "Escherichia coli",
        "d2": "Bacteria;Firmicutes;Bacilli;Lactobacillales;Lactobacillaceae;Lactobacillus;Lactobacillus casei",
        "d3": "Alveolata;Dinoflagellata;Dinophyceae;Gymnodiniales;Gymnodiniaceae;Gymnodinium;",
        "d5": ";Arthropoda;Insecta;Archaeognatha;Machilidae;Pedetontus;Pedetontus saltator",
        "d6": "Bacteria;Firmicutes;Clostridia;Clostridiales;Ruminococcaceae;[Ruminococcus];[Ruminococcus] gnavus",
        "d7": "Bacteria;Firmicutes;Clostridia;Clostridia_UCG-014;;;",
    }


def test_counts_of_mothur_are_as_expected():
    (row,) = expected("32_mothur")
    table = read_count_table(FIELD / "32_mothur.count_table")
    assert ",".join(table.samples) == row["samples"]
    assert int(table.counts.sum()) == int(row["reads"])


def test_every_file_of_the_field_is_in_a_test():
    tests = Path(__file__).parents[1]
    texts = "".join(path.read_text(encoding="utf-8") for path in tests.rglob("test_*.py"))
    names = [path.name for path in FIELD.iterdir() if path.name != "README.md" and ".expected." not in path.name]
    assert len(names) > 25
    for name in names:
        assert f'"{name}"' in texts, name
