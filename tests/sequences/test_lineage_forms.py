"""The rank form of plain lineages is that of their file; placeholders are unknown; the rest is reported once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.sequences import open_records, read_labels
from ednabed.sequences.lineage import read_lineages, split_lineage

GADUS = ["Metazoa", "Chordata", "Actinopteri", "Gadiformes", "Gadidae", "Gadus", "Gadus morhua"]
PR2 = "Eukaryota;TSAR;Alveolata;Dinoflagellata;Dinophyceae;Peridiniales;Protoperidiniaceae;Protoperidinium"
SILVA = (
    "Eukaryota;Amorphea;Obazoa;Opisthokonta;Holozoa;Metazoa;Animalia;Bilateria;Arthropoda;Calanus;Calanus finmarchicus"
)


def read(*texts: str | None, **options: bool) -> tuple[list[str | None], str]:
    found = read_lineages(list(texts), "f", **options)
    return found.values, "\n".join(found.notes)


@pytest.mark.parametrize("depth", range(3, 8))
@pytest.mark.parametrize("separator", [";", "; ", "|", ",", " > "])
def test_a_shorter_row_has_the_form_of_its_file(depth, separator):
    whole, part = GADUS, GADUS[:depth]
    values, notes = read(separator.join(whole), separator.join(part))
    assert values == [";".join(whole), ";".join([*part, *[""] * (7 - depth)])]
    values, notes = read(separator.join(["Eukaryota", *whole]), separator.join(["Eukaryota", *part]))
    assert values == [";".join(whole), ";".join([*part, *[""] * (7 - depth)])]
    assert not notes


@pytest.mark.parametrize("end", ["", ";"])
@pytest.mark.parametrize("genera", [True, False])
def test_empty_fields_at_the_end_count(end, genera):
    """If no row has a species, eight ranks are recognised by the empty field or by the position of families."""
    rows = ["Eukaryota;Sar;Ochrophyta;Bacillariophyceae;Naviculales;Naviculaceae;Navicula;" + end]
    rows += ["Eukaryota;Sar;Ochrophyta;Bacillariophyceae;Naviculales;Naviculaceae;;" + end] if not genera else []
    values, _ = read(*rows)
    assert values[0] == "Sar;Ochrophyta;Bacillariophyceae;Naviculales;Naviculaceae;Navicula;"
    assert values[-1].split(";")[4] == "Naviculaceae"


def test_pr2_of_any_length_in_one_cell_and_in_columns(tmp_path):
    rows = [f"{PR2};Protoperidinium_bipes;", f"{PR2};", PR2.rsplit(";", 2)[0], "Eukaryota;TSAR"]
    values, notes = read(*rows)
    assert values == [
        "TSAR;Alveolata;Dinophyceae;Peridiniales;Protoperidiniaceae;Protoperidinium;Protoperidinium bipes",
        "TSAR;Alveolata;Dinophyceae;Peridiniales;Protoperidiniaceae;Protoperidinium;",
        "TSAR;Alveolata;Dinophyceae;Peridiniales;;;",
        "TSAR;;;;;;",
    ]
    assert not notes
    header = "id\tdomain\tsupergroup\tdivision\tsubdivision\tclass\torder\tfamily\tgenus\tspecies\n"
    lines = "".join(
        f"r{i}\t" + "\t".join([*row.strip(";").split(";"), *[""] * 9][:9]) + "\n" for i, row in enumerate(rows)
    )
    path = tmp_path / "pr2.tsv"
    path.write_text(header + lines)
    assert list(read_labels(path).values()) == values


def test_organelles_go_to_a_column(tmp_path):
    path = tmp_path / "pr2.tsv"
    marked = ";".join(f"{name}:plas" for name in PR2.split(";"))
    path.write_text(
        f"id\tseq\ttaxonomy\na\tACGT\t{PR2};\nb\tACGT\t{marked};\nc\tAC\t{marked};Protoperidinium_bipes:plas\n"
    )
    with open_records(path) as records:
        (batch,) = records
    assert batch.column("organelle").to_pylist() == [None, "plastid", "plastid"]
    assert batch.column("lineage").to_pylist()[2].endswith("Protoperidinium bipes")
    assert ":plas" not in "".join(batch.column("lineage").to_pylist())


def test_a_mixture_is_reported_with_its_records():
    eight, nine = ";".join(["Eukaryota", *GADUS]), f"{PR2};Protoperidinium_bipes"
    seven = ";".join(["Animalia", *GADUS[1:]])
    values, notes = read(seven, eight, nine)
    assert values[:2] == [seven, ";".join(GADUS)]
    assert "seven ranks (row 1), eight ranks with a domain (row 2), PR2's nine ranks (row 3)" in notes


def test_lineages_of_any_number_of_ranks_give_kingdom_genus_and_species():
    values, notes = read(SILVA, "Eukaryota;Amorphea;Amoebozoa;Incertae Sedis;Caryedon pallidus", "Bacteria;Firmicutes")
    assert values == ["Metazoa;;;;;Calanus;Calanus finmarchicus", "Eukaryota;;;;;Caryedon;Caryedon pallidus",
                      "Bacteria;Firmicutes;;;;;"]  # fmt: skip
    assert "2 rows have a lineage with any number of ranks" in notes


@pytest.mark.parametrize(
    ("texts", "lineages"),
    [
        # Genera of several words, as in the training sets of SILVA and RDP, are not species.
        (["Bacteria;Firmicutes;Clostridia;Clostridiales;Clostridiaceae;Clostridium sensu stricto 1;",
          "Bacteria;Firmicutes;Clostridia;Lachnospirales;Lachnospiraceae;[Eubacterium] hallii group"],
         ["Bacteria;Firmicutes;Clostridia;Clostridiales;Clostridiaceae;Clostridium sensu stricto 1;",
          "Bacteria;Firmicutes;Clostridia;Lachnospirales;Lachnospiraceae;[Eubacterium] hallii group;"]),
        # Neither are hosts of chloroplasts, which SILVA names at any depth.
        (["Bacteria;Cyanobacteria;Cyanobacteriia;Chloroplast;Zea mays",
          "Bacteria;Firmicutes;Bacilli;Lactobacillales;Lactobacillaceae;Lactobacillus;uncultured bacterium"],
         ["Bacteria;Cyanobacteria;Cyanobacteriia;Chloroplast;;;",
          "Bacteria;Firmicutes;Bacilli;Lactobacillales;Lactobacillaceae;Lactobacillus;"]),
        # Support in mothur's files.
        (["Eukaryota(100);Metazoa(100);Chordata(100);X(100);Y(99);Gadidae(99);Gadus(98);Gadus_morhua(95);"],
         ["Metazoa;Chordata;X;Y;Gadidae;Gadus;Gadus morhua"]),
        (["Root [100%]; Bacteria [100%]; Firmicutes [98.5%]"], ["Bacteria;Firmicutes;;;;;"]),
        (["root;cellular organisms;Bacteria;Pseudomonadota", "root"], ["Bacteria;Pseudomonadota;;;;;", None]),
        # All levels of SILVA.
        (["D_0__Eukaryota;D_1__SAR;D_2__Alveolata;D_3__Dinoflagellata;D_4__A;D_5__B;D_6__C;D_7__Gymnodinium catenatum"],
         ["Eukaryota;;;;;Gymnodinium;Gymnodinium catenatum"]),
        (["Eukaryota;SAR;Rhizaria;Cercozoa;Thecofilosea;Cryomonadida;Protaspa;Protaspa grandis"],
         ["Eukaryota;;;;;Protaspa;Protaspa grandis"]),
        # Bacteria of PR2.
        ([f"{PR2};", "Bacteria;Bacteria_X;Cyanobacteria;Cyanobacteria_X;A;B;C;Synechococcus;Synechococcus_sp._WH8102"],
         ["TSAR;Alveolata;Dinophyceae;Peridiniales;Protoperidiniaceae;Protoperidinium;",
          "Bacteria;Cyanobacteria;A;B;C;Synechococcus;Synechococcus sp. WH8102"]),
        (["tax=k:Eukaryota,d:Alveolata,p:Dinoflagellata"], ["Alveolata;Dinoflagellata;;;;;"]),
        (["Actinopterygii;Gadus morhua", "Chordata;Actinopteri"], [None, None]),
        (["Chordata;Actinopteri;Gadiformes;Gadidae", "Chordata;Actinopteri"],
         [";Chordata;Actinopteri;Gadiformes;Gadidae;;", ";Chordata;Actinopteri;;;;"]),
        (["No blast hit", "Multiple taxa", "Low confidence", "Invertebrate environmental sample"], [None] * 4),
    ],
)  # fmt: skip
def test_forms_of_databases(texts, lineages):
    assert read(*texts)[0] == lineages


@pytest.mark.parametrize(
    ("text", "lineage"),
    [
        (
            "d__Bacteria;g__Escherichia_710834;s__Escherichia coli_E",
            "Bacteria;;;;;Escherichia_710834;Escherichia coli_E",
        ),
        ("k__Fungi;g__Abrothallus;s__Abrothallus_subhalei_SH12.10FU", "Fungi;;;;;Abrothallus;Abrothallus subhalei"),
        ('Bacteria;"Firmicutes";"Clostridia";;;;', "Bacteria;Firmicutes;Clostridia;;;;"),
        ("Fungi;Fungi_phy_Incertae_sedis;Fungi_cls_Incertae_sedis;o;f;g;Fungi_sp", "Fungi;;;o;f;g;"),
        ("Animalia;Chordata;uncultured;Gadiformes;Gadidae;Gadus;Gadus morhua", "Animalia;Chordata;;;;;"),
        ("Animalia;Chordata;incertae sedis;Gadiformes;Gadidae;Gadus;", "Animalia;Chordata;;Gadiformes;Gadidae;Gadus;"),
        ("Bacteria;Firmicutes;Firmicutes_unclassified;;;;", "Bacteria;Firmicutes;;;;;"),
        ("Bacteria;unknown phylum;x;;;;", "Bacteria;;;;;;"),
        ("Bacteria;marine metagenome;x;;;;", "Bacteria;;;;;;"),
        ("Bacteria;environmental sample;x;;;;", "Bacteria;;;;;;"),
        ("k__Animalia;p__;g__Chironomus;s__Chironomus_sp._1", "Animalia;;;;;Chironomus;Chironomus sp. 1"),
        ("k__Animalia;g__Chironomus;s__cf. riparius", "Animalia;;;;;Chironomus;Chironomus cf. riparius"),
        ("k__Animalia;g__Chironomus;s__BOLD:AAA1234", "Animalia;;;;;Chironomus;Chironomus BOLD:AAA1234"),
        ("k__Fungi;g__Aspergillus;s__sp. SH1234.10FU", "Fungi;;;;;Aspergillus;Aspergillus sp. SH1234.10FU"),
        ("k__Fungi;g__Aspergillus;s__Aspergillus sp.", "Fungi;;;;;Aspergillus;"),
        ("d__Bacteria;g__Bacillus;s__Bacillus bacterium", "Bacteria;;;;;Bacillus;"),
        ("d__Bacteria;g__Lactobacillus;s__Lactobacillus NA", "Bacteria;;;;;Lactobacillus;"),
        ("k__Fungi;g__Aspergillus;s__unknown sp.", "Fungi;;;;;Aspergillus;"),
        ("k__Plantae;g__Salix;s__×capreola", "Plantae;;;;;Salix;Salix ×capreola"),
        ("k__Plantae;g__Rosa;s__canina var. dumetorum", "Plantae;;;;;Rosa;Rosa canina var. dumetorum"),
        ("d__Bacteria;g__Escherichia;s__coli K-12", "Bacteria;;;;;Escherichia;Escherichia coli K-12"),
        ("d__Bacteria;g__Bacillus_A;s__Bacillus_A subtilis", "Bacteria;;;;;Bacillus_A;Bacillus_A subtilis"),
        ("k__Fungi;g__Epichloë;s__amarillans", "Fungi;;;;;Epichloë;Epichloë amarillans"),
        ("k__Animalia;g__Gadus;s__G. morhua", "Animalia;;;;;Gadus;Gadus morhua"),
        ("k__Animalia;g__Gadus;s__Gadus morhua Linnaeus, 1758", "Animalia;;;;;Gadus;Gadus morhua"),
        ("k__Animalia;g__Gadus;s__morhua (Linnaeus, 1758)", "Animalia;;;;;Gadus;Gadus morhua"),
        ("k__Animalia;g__Gadus;s__Gadus", "Animalia;;;;;Gadus;"),
    ],
)
def test_names(text, lineage):
    (value,), notes = read(text)
    assert value == lineage
    dropped = [
        n for n in ("sedis", "uncultured", "unclassified", "unknown", "metagenome", "environmental") if n in text
    ]
    dropped += [text] if text.endswith(("sp.", "bacterium", " NA")) else []
    assert ("1 row has a placeholder" in notes) == bool(dropped)


def test_placeholders_can_be_kept():
    (value,), notes = read("Bacteria;Firmicutes;uncultured;;;;uncultured bacterium", keep_placeholders=True)
    assert value == "Bacteria;Firmicutes;uncultured;;;;uncultured bacterium" and not notes


@pytest.mark.parametrize(
    "text", ["Gadidae", "Chordata|Gadidae", "Actinopteri, Gadidae", "strain 7 > clone 3", "1;2;3;4;5;6;7;8;9;0"]
)
def test_names_that_are_not_understood_are_not_kingdoms_and_reported_once(text):
    values, notes = read(text, text, None, "")
    assert values == [None] * 4
    assert notes.count("no lineage") == 1 and "2 rows have no lineage" in notes and f"(first row 1: {text!r})" in notes


@pytest.mark.parametrize(
    ("name", "lineage"),
    [("Bacteria", "Bacteria;;;;;;"), ("Gadus morhua Linnaeus, 1758", ";;;;;;Gadus morhua"), ("Incertae sedis", None),
     ("Gadus sp. 1", ";;;;;;Gadus sp. 1"), ("Unassigned", None)],
)  # fmt: skip
def test_a_single_name(name, lineage):
    assert read(name)[0] == [lineage]


NAMES = st.text("abcdefghijklmnopqrstuvwxyzäöüß", min_size=3, max_size=9).filter(
    lambda name: not name.startswith(("un", "sp", "env", "indet", "ambig", "nan", "non", "nul"))
)


@given(st.lists(st.tuples(*[NAMES.map(str.capitalize)] * 6, NAMES, st.integers(0, 7)), min_size=1, max_size=8),
       st.sampled_from([";", "; "]), st.booleans(), st.booleans())  # fmt: skip
def test_a_file_of_one_form_reads_as_it_was_written(rows, separator, padded, has_domain):
    """Whatever the depth of its rows, one complete row in a file determines the rank of every name."""
    wanted, texts = [], []
    for number, (*names, epithet, depth) in enumerate(rows):
        depth = 7 if number == 0 else depth
        whole = ["Metazoa", *names[1:], f"{names[5]} {epithet}"][:depth]
        cells = [*whole, *[""] * (7 - depth if padded else 0)]
        texts.append(separator.join([*(["Eukaryota"] if has_domain and whole else []), *cells]) if whole else None)
        wanted.append([*whole, *[""] * (7 - depth)] if whole else None)
    found, _ = read(*texts)
    assert [None if text is None else list(split_lineage(text)) for text in found] == wanted


def test_the_whole_file_is_used_not_only_its_beginning(tmp_path):
    """The first row with a species comes late; the rows before it have the same form."""
    path = tmp_path / "late.fasta"
    short = "Eukaryota;Sar;Ochrophyta;Bacillariophyceae;Naviculales"
    with path.open("w") as file:
        for i in range(20_000):
            file.write(f">r{i} {short}\nACGTACGTACGTACGT\n")
        file.write(f">last {short};Naviculaceae;Navicula;Navicula radiosa\nACGTACGTACGTACGT\n")
    with open_records(path) as records:
        lineages = {text for batch in records for text in batch.column("lineage").to_pylist()}
    assert lineages == {
        "Sar;Ochrophyta;Bacillariophyceae;Naviculales;;;",
        "Sar;Ochrophyta;Bacillariophyceae;Naviculales;Naviculaceae;Navicula;Navicula radiosa",
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", "id\tseq\ttaxonomy\na\tAC\tk__Plantae;g__Navicula:plas\n"),
        ("a.tsv", "id\tseq\tkingdom\tgenus\na\tAC\tPlantae\tNavicula:plas\n"),
        ("a.fa", ">x\nAC\n" * 40_000 + ">a k__Plantae;g__Navicula:plas\nAC\n"),
        ("a.fa", ">x\nAC\n" * 40_000 + f">a {PR2};Protoperidinium_bipes:plas\nAC\n"),
        ("a.fa", f">a|18S_rRNA|plastid||{PR2.replace(';', '|')}|Protoperidinium_bipes\nAC\n"),
    ],
    ids=["prefixes", "columns", "late prefix", "late plain", "PR2 header"],
)
def test_an_organelle_is_in_its_column_whatever_the_format(name, text, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    with open_records(path) as records:
        rows = [row for batch in records for row in batch.to_pylist()]
    assert rows[-1]["organelle"] == "plastid"
    assert {row.get("organelle") for row in rows[:-1]} <= {None}


def test_labels_keep_the_organelles_of_other_records(tmp_path):
    path, labels = tmp_path / "a.fa", tmp_path / "labels.tsv"
    piped = PR2.replace(";", "|")
    path.write_text(f">a|18S_rRNA|plastid||{piped}|Protoperidinium_bipes\nAC\n>b\nAC\n>c\nAC\n")
    labels.write_text(f"id\ttaxonomy\nb\t{PR2};Protoperidinium_bipes:mito\nc\t{PR2};Protoperidinium_bipes\n")
    with open_records(path, labels=read_labels(labels)) as records:
        organelles = [name for batch in records for name in batch.column("organelle").to_pylist()]
    assert organelles == ["plastid", "mitochondrion", None]
