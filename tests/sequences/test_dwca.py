"""Darwin Core Archives as input: joined tables, constants, quotes, and archives that cannot be trusted."""

from __future__ import annotations

import zipfile

import pytest

from ednabed.errors import InputError
from ednabed.sequences import open_records

DWC, GBIF, MIXS = "http://rs.tdwg.org/dwc/terms/", "http://rs.gbif.org/terms/", "https://w3id.org/mixs/"


def meta(core, extension=None, *, delimiter="\\t", quote="", row_type="Occurrence", lines="1"):
    def table(tag, key, location, kind, fields):
        written = "".join(
            f'<field {"index" if isinstance(at, int) else "default"}="{at}" term="{term}"/>' for at, term in fields
        )
        return (
            f'<{tag} encoding="UTF-8" fieldsTerminatedBy="{delimiter}" linesTerminatedBy="\\n" '
            f"fieldsEnclosedBy='{quote}' "
            f'ignoreHeaderLines="{lines}" rowType="{kind}"><files><location>{location}</location></files>'
            f'<{key} index="0"/>{written}</{tag}>'
        )

    text = table("core", "id", "occurrence.txt", DWC + row_type, core)
    if extension is not None:
        text += table("extension", "coreid", "dna.txt", GBIF + "1.0/DNADerivedData", extension)
    return f'<archive xmlns="http://rs.tdwg.org/dwc/text/">{text}</archive>'


CORE = [(0, DWC + "occurrenceID"), (1, DWC + "eventID"), (2, DWC + "scientificName"), (3, DWC + "organismQuantity"),
        ("DNA sequence reads", DWC + "organismQuantityType"), ("Animalia", DWC + "kingdom")]  # fmt: skip
DNA = [(1, GBIF + "dna_sequence"), (2, MIXS + "0001107"), (3, MIXS + "0000044")]
OCCURRENCES = (
    "occurrenceID\teventID\tscientificName\torganismQuantity\no1\td:e1\tGadus morhua L.\t12\no2\td:e2\tGadidae\t3\n"
)
SEQUENCES = "id\tseq\tsamp\tgene\no2\tACGT\t\t12S\no1\tGGCC\tS1\t12S\n"


def archive(path, **members):
    with zipfile.ZipFile(path, "w") as file:
        for name, text in members.items():
            file.writestr(name.replace("__", "."), text)
    return path


def rows(path):
    with open_records(path) as records:
        return [row for batch in records for row in batch.to_pylist()]


def test_an_occurrence_with_its_sequence(tmp_path):
    path = archive(tmp_path / "a.zip", meta__xml=meta(CORE, DNA), occurrence__txt=OCCURRENCES, dna__txt=SEQUENCES)
    found = [(r["id"], r["sequence"], r["sample"], r["abundance"], r["lineage"], r["target_gene"]) for r in rows(path)]
    assert found == [
        ("o2", b"ACGT", "d:e2", 3, "Animalia;;;;;;", "12S"),
        ("o1", b"GGCC", "S1", 12, "Animalia;;;;;;Gadus morhua", "12S"),
    ]


def test_sequences_in_the_core_with_quotes_and_commas(tmp_path):
    core = [*CORE[:4], (4, GBIF + "DNA_sequence"), (5, DWC + "organismQuantityType")]
    text = 'o1,e1,"Gadus morhua Linnaeus, 1758","7","ACGT",reads\n'
    path = archive(tmp_path / "a.zip", meta__xml=meta(core, delimiter=",", quote='"', lines="0"), occurrence__txt=text)
    (row,) = rows(path)
    assert (row["id"], row["sample"], row["abundance"], row["lineage"]) == ("o1", "e1", 7, ";;;;;;Gadus morhua")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"meta__xml": meta(CORE), "occurrence__txt": OCCURRENCES}, "no table of the archive has a column DNA"),
        ({"meta__xml": meta(CORE, DNA), "occurrence__txt": OCCURRENCES}, "the archive has no dna.txt"),
        ({"meta__xml": meta(CORE, DNA, row_type="Event"), "occurrence__txt": OCCURRENCES, "dna__txt": SEQUENCES},
         "the core of the archive is Event, expected Occurrence"),
        ({"meta__xml": meta(CORE, DNA), "occurrence__txt": OCCURRENCES, "dna__txt": SEQUENCES + "o9\tAC\t\t\n"},
         "1 sequences of the archive do not belong to an occurrence, such as 'o9'"),
        ({"meta__xml": meta(CORE, DNA), "occurrence__txt": OCCURRENCES, "dna__txt": SEQUENCES + "o9\n"},
         r"dna.txt cannot be read as meta.xml describes it"),
        ({"meta__xml": "<archive/>"}, "meta.xml does not describe a Darwin Core Archive .it has no core."),
        ({"meta__xml": "<archive"}, "meta.xml does not describe a Darwin Core Archive"),
        ({"meta__xml": '<!DOCTYPE a [<!ENTITY b "c">]><archive/>'}, "meta.xml does not .* .it has a document type"),
        ({"meta__xml": '<!DOCTYPE a [<!ENTITY b "c">]><archive/>'.encode("utf-16")}, "meta.xml .*it has a document"),
        ({"meta__xml": meta(CORE, delimiter="||")}, "meta.xml does not .* .a table has an invalid separator"),
        ({"meta__xml": meta(CORE, quote='""')}, "meta.xml does not .* .a table has an invalid separator"),
        ({"meta__xml": meta(CORE, lines="9" * 30)}, "meta.xml does not .* .a table has an invalid separator"),
        ({"meta__xml": meta([*CORE, (4, DWC + "eventID")])}, "meta.xml does not .* .a table has two columns for one"),
        ({"meta__xml": '<?xml version="1.0" encoding="x-none"?><archive/>'}, "meta.xml does not describe"),
        ({"meta__xml": meta([(10**9, DWC + "eventID")])}, "meta.xml .*impossible number"),
    ],
)  # fmt: skip
def test_refusals(members, message, tmp_path):
    path = archive(tmp_path / "a.zip", **members)
    with pytest.raises(InputError, match=rf"a\.zip: {message}"):
        rows(path)


def test_a_damaged_archive_and_other_zips(tmp_path):
    whole = archive(tmp_path / "a.zip", meta__xml=meta(CORE, DNA), occurrence__txt=OCCURRENCES, dna__txt=SEQUENCES)
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"a\.zip: is a zip archive"):
        rows(whole)
    whole.write_bytes(data.replace(b"d:e1", b"d:e9"))
    with pytest.raises(InputError, match=r"a\.zip: the archive is truncated, damaged or encrypted"):
        rows(whole)
    with pytest.raises(InputError, match=r"b\.zip: is a zip archive"):
        rows(archive(tmp_path / "b.zip", readme__txt="x"))
