"""Taxon ids of a reference, from its table through ``consolidate`` and ``classify`` to exports."""

from __future__ import annotations

import csv
import random
import zipfile
from pathlib import Path

from cli_support import call_in

BASES = ["".join(random.Random(n).choices("ACGT", k=240)) for n in range(4)]
NAMES = "Animalia;Arthropoda;Insecta;Diptera;Muscidae;Musca;Musca domestica"
OTHER = "Animalia;Arthropoda;Insecta;Diptera;Muscidae;Musca;Musca autumnalis"
COD = "Animalia;Chordata;Teleostei;Gadiformes;Gadidae;Gadus;Gadus morhua"
# BCDM of BOLD: coordinates in one cell, a collection date, a BIN, and a taxid that is not from NCBI.
BCDM = (
    "processid\tnuc\tmarker_code\tbin_uri\ttaxid\tkingdom\tphylum\tclass\torder\tfamily\tgenus\tspecies\tcoord\t"
    "collection_date_start\n"
)


def ednabed_(capsys, workspace, *arguments) -> str:
    code, out, err = call_in(capsys, workspace, *arguments)
    assert not code, err
    return out


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def classified(capsys, folder: Path, reference: str) -> dict[str, str]:
    """Embed a reference and a sample of two of its sequences; return the assignment of the first."""
    (folder / "reference.tsv").write_text(reference)
    (folder / "pond.fa").write_text(f">q;size=3;sample=P\n{BASES[0]}\n")
    ednabed_(capsys, folder, "embed", folder / "reference.tsv", "--output", folder / "labelled/x", "--model", "kmer6")
    ednabed_(capsys, folder, "consolidate", "--runs-root", "labelled", "--output", "data/x", "--no-calibrate")
    ednabed_(capsys, folder, "embed", folder / "pond.fa", "--dataset", "pond", "--model", "kmer6")
    ednabed_(capsys, folder, "classify", "--run", "pond", "--reference", "data/x")
    ednabed_(capsys, folder, "classify", folder / "pond.fa", "--reference", "data/x", "--output", folder / "taxa.tsv")
    (row,) = rows(folder / "taxa.tsv")
    return row


def test_the_id_in_worms_reaches_the_archive(capsys, tmp_path):
    lines = [f"r{n}\t{BASES[n]}\t{COD}\t{126436 + n}\t8049\n" for n in range(2)]
    found = classified(capsys, tmp_path, "id\tsequence\tlineage\tAphiaID\ttaxid\n" + "".join(lines))
    assert found["species"] == "Gadus morhua"
    assert found["nearest_taxon_id"] == "urn:lsid:marinespecies.org:taxname:126436"
    ednabed_(capsys, tmp_path, "export", "--run", "pond", "--format", "dwc", "--output", tmp_path / "x.zip")
    with zipfile.ZipFile(tmp_path / "x.zip") as file:
        head, line = (one.split("\t") for one in file.read("occurrence.txt").decode().splitlines())
    assert dict(zip(head, line, strict=True))["scientificNameID"] == "urn:lsid:marinespecies.org:taxname:126436"
    ednabed_(capsys, tmp_path, "export", "--run", "pond", "--format", "faire", "--output", tmp_path / "faire")
    (taxon,) = rows(tmp_path / "faire" / "taxaFinal_pond.tsv")
    assert (taxon["accession_id"], taxon["percent_match"], taxon["taxonID_db"]) == ("r0", "100.00", "WoRMS")
    assert taxon["accession_id_ref_db"].startswith("data/x, build ")


def test_a_bin_of_several_species_is_noted(capsys, tmp_path):
    lines = [
        f"P{n}\t{BASES[n]}\tCOI-5P\tBOLD:AAA1234\t99\t{name.replace(';', chr(9))}\t(59.91, 10.75)\t2024-05-01\n"
        for n, name in enumerate((NAMES, OTHER))
    ]
    found = classified(capsys, tmp_path, BCDM + "".join(lines))
    assert found["nearest_taxon_id"] == "BOLD:AAA1234"
    assert found["note"] == "conflict: records of BOLD:AAA1234 are of 2 species: Musca autumnalis, Musca domestica"
    ednabed_(capsys, tmp_path, "export", "--run", "labelled/x", "--format", "dwc", "--output", tmp_path / "x.zip")
    with zipfile.ZipFile(tmp_path / "x.zip") as file:
        head, line, _ = (one.split("\t") for one in file.read("occurrence.txt").decode().splitlines())
    cells = dict(zip(head, line, strict=True))
    terms = ("decimalLatitude", "decimalLongitude", "eventDate", "taxonConceptID", "scientificName")
    assert [cells[term] for term in terms] == ["59.91", "10.75", "2024-05-01", "BOLD:AAA1234", "Musca domestica"]


def test_an_about_file_makes_the_archive_complete(capsys, tmp_path):
    (tmp_path / "pond.fa").write_text(f">q;size=3;sample=P\n{BASES[0]}\n")
    ednabed_(capsys, tmp_path, "embed", tmp_path / "pond.fa", "--dataset", "pond", "--model", "kmer6")
    (tmp_path / "about.toml").write_text(
        'title = "Pond"\nabstract = "One sample."\nlicense = "CC0"\npublished = 2026-11-30\n'
        '[contact]\norganization = "Lab"\n'
    )
    target = tmp_path / "x.zip"
    ednabed_(
        capsys, tmp_path, "export", "--run", "pond", "--format", "dwc", "--about", tmp_path / "about.toml",
        "--output", target,
    )  # fmt: skip
    with zipfile.ZipFile(target) as file:
        assert "eml.xml" in file.namelist() and b'metadata="eml.xml"' in file.read("meta.xml")
    code, _, err = call_in(
        capsys, tmp_path, "export", "--run", "pond", "--format", "mdt", "--about", "about.toml",
        "--output", tmp_path / "mdt",
    )  # fmt: skip
    assert code == 2
    assert "a file about the data set is an option for dwc, not for mdt; omit it" in err
