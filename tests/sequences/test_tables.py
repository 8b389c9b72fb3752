import datetime
import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ednabed.errors import InputError
from ednabed.sequences import open_records


def rows(path):
    with open_records(path) as records:
        return [row for batch in records for row in batch.to_pylist()]


def table(tmp_path, text, name="t.tsv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def first(tmp_path, header, cells):
    """Read a table of one row; empty columns are omitted."""
    row = rows(table(tmp_path, "\t".join(header) + "\n" + "\t".join(cells) + "\n"))[0]
    row["sequence"] = row["sequence"].decode()
    return {k: v for k, v in row.items() if v is not None and k not in ("source", "record")}


SEQUENCE_NAMES = "sequence,DNA Sequence,dna_sequence,Nucleotides,nucraw,NUC,Seq,dna,sequences"
ID_NAMES = "ID,sequence_id,SeqID,Accession,processid,Feature ID,feature-id,Feature.ID,OTU,#OTU ID,asv,ASV_ID,name,#NAME"


@pytest.mark.parametrize("name", SEQUENCE_NAMES.split(","))
def test_names_of_the_sequence(name, tmp_path):
    assert first(tmp_path, ["id", name], ["a", "ACGT"]) == {"id": "a", "sequence": "ACGT"}


@pytest.mark.parametrize("name", ID_NAMES.split(","))
def test_names_of_the_id(name, tmp_path):
    assert first(tmp_path, [name, "seq"], ["a", "ACGT"]) == {"id": "a", "sequence": "ACGT"}


@pytest.mark.parametrize("name", ["abundance", "Size", "count", "counts", "reads", "n_reads", "Total Reads"])
@pytest.mark.parametrize(("cell", "expected"), [("12", 12), ("12.0", 12), (" 7 ", 7), ("0", 0)])
def test_names_of_the_abundance(name, cell, expected, tmp_path):
    assert first(tmp_path, ["id", "seq", name], ["a", "A", cell])["abundance"] == expected


def test_unknown_abundance_and_sample(tmp_path):
    path = table(tmp_path, "id\tseq\treads\tSample-ID\na\tA\t\t\nb\tA\tNA\tS1\nc\tA\t3\t S2 \n")
    assert [(r["abundance"], r["sample"]) for r in rows(path)] == [(None, None), (None, "S1"), (3, "S2")]


def test_invalid_abundance_names_the_row(tmp_path):
    path = table(tmp_path, "id,seq,reads\na,A,1\nb,A,0.35\n", "t.csv")
    with pytest.raises(InputError, match=r"t\.csv: row 2: reads is '0.35', not a whole number.*rename the column"):
        rows(path)


SOURCE_RECORD_NAMES = "n_records,N Records,n-records,source_records,Source Records,source-records"


@pytest.mark.parametrize("name", SOURCE_RECORD_NAMES.split(","))
@pytest.mark.parametrize(("cell", "expected"), [("3", 3), ("3.0", 3), (" 1,200 ", 1_200), ("1e3", 1_000)])
def test_source_records_are_not_reads(name, cell, expected, tmp_path):
    row = first(tmp_path, ["id", "seq", name], ["a", "A", cell])
    assert row == {"id": "a", "sequence": "A", "source_records": expected}


def test_source_records_in_each_form_of_table(tmp_path):
    header, cells = (
        ["id", "seq", "reads", "n_records"],
        [["a", "A", "7", "3"], ["b", "C", "", ""], ["c", "G", "", "NA"]],
    )
    written = {}
    for name, separator in (("t.tsv", "\t"), ("t.csv", ",")):
        text = "".join(separator.join(row) + "\n" for row in (header, *cells))
        written[name] = table(tmp_path, text, name)
        written[name + ".gz"] = table(tmp_path, gzip.compress(text.encode()), name + ".gz")
    common = {"id": ["a", "b", "c"], "seq": ["A", "C", "G"], "reads": [7, None, None]}
    typed = {
        "int": pa.array([3, None, None], pa.int32()),
        "float": pa.array([3.0, None, float("nan")]),
        "text": pa.array(["3", "", None]),
        "large": pa.array(["3", "", None], pa.large_string()),
    }
    for kind, values in typed.items():
        written[kind] = tmp_path / f"{kind}.parquet"
        pq.write_table(pa.table({**common, "n_records": values}), written[kind])
    for path in written.values():
        with open_records(path) as records:
            batches = list(records)
        assert all(batch.schema.field("source_records").type == pa.int64() for batch in batches)
        found = [(row["abundance"], row["source_records"]) for batch in batches for row in batch.to_pylist()]
        assert found == [(7, 3), (None, None), (None, None)], path
        assert batches[0].schema.names[8:] == ["source_records"], path


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("0", "n_records is 0, expected a number of source records from 1 to 10.12; correct it, leave it empty"),
        ("2000000000000", "n_records is 2000000000000, expected a number of source records from 1"),
        ("-1", "n_records is '-1', not a whole number of source records; correct it, or rename the column"),
        ("1.5", "n_records is '1.5', not a whole number of source records"),
        ("many", "n_records is 'many', not a whole number of source records"),
    ],
)
def test_an_invalid_number_of_source_records_names_the_row(tmp_path, cell, message):
    path = table(tmp_path, f"id,seq,n_records\na,A,1\nb,A,{cell}\n", "t.csv")
    with pytest.raises(InputError, match=rf"t\.csv: row 2: {message}"):
        rows(path)


@pytest.mark.parametrize(
    ("value", "message"),
    [(0, "is 0, expected a number of source records"), (-2, "is -2, not a number of source records; correct it")],
)
def test_an_invalid_number_of_source_records_in_parquet(tmp_path, value, message):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"id": ["a", "b"], "seq": ["A", "A"], "n_records": [1, value]}), path)
    with pytest.raises(InputError, match=rf"t\.parquet: row 2: n_records {message}"):
        rows(path)


def test_other_columns_of_records_are_kept_as_they_are(tmp_path):
    assert first(tmp_path, ["id", "seq", "records"], ["a", "A", "AB1, AB2"])["records"] == "AB1, AB2"
    header = ["id", "seq", "source_records", "n_records", "record_count"]
    row = first(tmp_path, header, ["a", "A", "3", "x", "0"])
    assert row == {"id": "a", "sequence": "A", "source_records": 3, "n_records": "x", "record_count": "0"}
    with pytest.raises(InputError, match=r"columns 'N Records' and 'N-Records' could each be the number of source rec"):
        first(tmp_path, ["id", "seq", "N Records", "N-Records"], ["a", "A", "3", "4"])


def test_ranks_by_column(tmp_path):
    header = ["id", "seq", "Domain", "Kingdom", "phylum", "class", "order", "family", "genus", "species"]
    cells = ["a", "A", "Eukaryota", "Animalia", "Chordata; Vertebrata", "NA", "", "unassigned", "Homo", "sapiens"]
    row = first(tmp_path, header, cells)
    assert row["lineage"] == "Animalia;Chordata, Vertebrata;;;;Homo;Homo sapiens"
    assert row["Domain"] == "Eukaryota"


@pytest.mark.parametrize(
    ("header", "cells", "lineage", "kept"),
    [
        (["taxonomy"], ["k__Fungi; p__X"], "Fungi;X;;;;;", {}),
        (["Taxon"], ["Unassigned"], None, {}),
        (["superkingdom", "genus"], ["Bacteria", "Vibrio"], "Bacteria;;;;;Vibrio;", {}),
        (["taxonomy", "species"], ["Animalia;Chordata", "x"], "Animalia;Chordata;;;;;", {"species": "x"}),
        (["taxonomy", "genus", "species"], ["x", "Homo", "sapiens"], ";;;;;Homo;Homo sapiens", {"taxonomy": "x"}),
        (["scientificName"], ["Homo sapiens"], ";;;;;;Homo sapiens", {"scientificName": "Homo sapiens"}),
        (["scientificName"], ["Hominidae"], None, {"scientificName": "Hominidae"}),
        (["scientificName", "species"], ["A b", "Homo sapiens"], ";;;;;;Homo sapiens", {"scientificName": "A b"}),
    ],
)  # fmt: skip
def test_where_the_lineage_comes_from(header, cells, lineage, kept, tmp_path):
    expected = {"id": "a", "sequence": "A", **({"lineage": lineage} if lineage else {}), **kept}
    assert first(tmp_path, ["id", "seq", *header], ["a", "A", *cells]) == expected


def test_a_lineage_that_is_not_understood_is_reported_once_and_is_not_a_kingdom(tmp_path):
    path = table(tmp_path, "id\tseq\ttaxonomy\na\tA\tX\nb\tA\t1;2;3;4;5;6;7;8;9;10\nc\tA\tAnimalia;Chordata\n")
    with open_records(path) as records:
        lineages = [row for batch in records for row in batch.column("lineage").to_pylist()]
        (note,) = records.notes
    assert lineages == [None, None, "Animalia;Chordata;;;;;"]
    assert note.startswith(f"{path}: 2 records have no lineage, because") and "(first record 1: 'X')" in note


def test_names_that_are_taken_get_a_suffix(tmp_path):
    header = ["id", "seq", "length", "digest", "source", "source_input", "description", "lineage_x", "n_ambiguous"]
    row = first(tmp_path, header, ["a", "A", *"1234567"])
    assert row == {
        **{"id": "a", "sequence": "A", "length_input": "1", "digest_input": "2", "source_input_input": "3"},
        **{"source_input": "4", "description_input": "5", "lineage_x": "6", "n_ambiguous_input": "7"},
    }


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (["site", "seq"], "no id column among 'site', 'seq'; name that column 'id'"),
        (["id", "site"], "no sequence column among 'id', 'site'; name that column 'sequence' .or one of dna_sequence"),
        (["OTU", "ASV", "seq"], "columns 'OTU' and 'ASV' could each be the id; rename the right one to 'id'"),
        (["id", "Seq", "DNA"], "columns 'Seq' and 'DNA' could each be the sequence; rename"),
        (["id", "seq", "x", "x"], "two columns are named 'x'; rename one"),
    ],
)
def test_missing_or_ambiguous_columns(header, message, tmp_path):
    path = table(tmp_path, "\t".join(header) + "\n" + "\t".join("A" for _ in header) + "\n")
    with pytest.raises(InputError, match=rf"t\.tsv: {message}"):
        open_records(path)


def test_an_exact_name_wins(tmp_path):
    row = first(tmp_path, ["processid", "SeqID", "nuc", "seq", "Name"], ["a", "b", "AC", "GT", "n"])
    assert row == {"id": "a", "sequence": "AC", "SeqID": "b", "seq": "GT", "Name": "n"}


@pytest.mark.parametrize(
    "text",
    [
        "id,sequence,note\na,ACGT,\"x, \"\"y\"\"\"\n",
        "id;sequence;note\r\na;ACGT;\"x, \"\"y\"\"\"\r\n\r\n\r\n",
        "\ufeffid\tsequence\tnote\na\tACGT\tx, \"y\"",
        "# Constructed from biom file, of somebody\n\n#OTU ID\tsequence\tnote\na\tACGT\tx, \"y\"\n",
        "\"id\"\t\"sequence\"\t\"note\"\n\"a\"\t\"ACGT\"\t\"x, \"\"y\"\"\"\n",
        "id\tsequence\tnote\n#q2:types\tcategorical\tcategorical\na\tACGT\tx, \"y\"\n",
    ],
)  # fmt: skip
def test_dialects(text, tmp_path):
    (row,) = rows(table(tmp_path, text, "x.txt"))
    assert (row["id"], row["sequence"], row["note"], row["record"]) == ("a", b"ACGT", 'x, "y"', 1)


def test_fully_quoted_cells_in_tsv(tmp_path):
    """Cells are quoted as by pandas and QIIME 2; other quotes are characters, and no quote swallows a row."""
    cells = {
        '"a ""b"" c"': 'a "b" c', '"x"': "x", '""': "", '"': '"', '"open': '"open', 'in"side': 'in"side',
        '"x" and "y"': '"x" and "y"', '5"': '5"', '"""q"""': '"q"',
    }  # fmt: skip
    text = "id\tsequence\tnote\n" + "".join(f"r{i}\tACGT\t{cell}\n" for i, cell in enumerate(cells))
    found = rows(table(tmp_path, text))
    assert [row["note"] for row in found] == list(cells.values())
    assert [row["id"] for row in found] == [f"r{i}" for i in range(len(cells))]
    with pytest.raises(InputError, match=r"row 1 .*has 4 cells"):
        rows(table(tmp_path, 'id\tsequence\tnote\na\tACGT\t"x\ty"\n'))
    assert rows(table(tmp_path, 'id\tsequence\t"say ""note"""\nx\tACGT\t1\n'))[0]['say "note"'] == "1"


def test_latin_1_and_index_columns(tmp_path):
    (a, b) = rows(table(tmp_path, b",id,sequence,site\n0,\xe9t\xe9,AC,Besan\xe7on\n1,\xc3\xa9,AC,x\n"))
    assert (a["id"], a["site"], a["unnamed_1"], b["id"]) == ("été", "Besançon", "0", "é")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id\tseq\na\tAC\nb\n", r"row 2 \(below the header\) has 1 cells, the header has 2; check that row"),
        ("id\tseq\n1\ta\tAC\n2\tb\tAC\n", r"row 1 .* has 3 cells, the header has 2; if R wrote it.*row.names = FALSE"),
        ("id,seq\n\na,AC\nb,AC,x\n", r"row 2 .* has 3 cells"),
        ('id,seq,note\na,AC,"x\nb,AC,y\nc,AC,z\n', r"row 1 .* line break in column 'note', or a quote that is never"),
        ('id,seq,note\na,AC,"x\n y"\n', r"row 1 .* line break in column 'note'.*remove the line break"),
        ("id\tseq\n", "has a header but no records; give a file with at least one sequence"),
    ],
)
def test_malformed(text, message, tmp_path):
    with pytest.raises(InputError, match=rf"t\.csv: {message}"):
        rows(table(tmp_path, text, "t.csv"))


@pytest.mark.parametrize("block", [1, 7, 100])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_rows_whatever_the_blocks(block, end, tmp_path, monkeypatch):
    monkeypatch.setattr("ednabed.sequences.delimited.BLOCK_BYTES", block)
    long = "A" * 300
    path = table(tmp_path, end.join(["id,seq,note", "a,AC,x", "", f"b,{long},", '"c ""1""",GT,"y,z"', "", ""]), "t.csv")
    found = [(row["id"], row["sequence"].decode(), row["note"], row["record"]) for row in rows(path)]
    assert found == [("a", "AC", "x", 1), ("b", long, "", 2), ('c "1"', "GT", "y,z", 3)]
    path = table(tmp_path, end.join(["id,seq,note", "a,AC,x", "", f"b,{long},", "c,GT", ""]), "t.csv")
    with pytest.raises(InputError, match=r"t\.csv: row 3 .below the header. has 2 cells"):
        rows(path)


def test_record_too_long_to_handle(tmp_path, monkeypatch):
    monkeypatch.setattr("ednabed.sequences.delimited.BLOCK_BYTES", 100)
    for module in ("delimited", "fasta", "fastq"):
        monkeypatch.setattr(f"ednabed.sequences.{module}.MAX_LENGTH", 250)
    monkeypatch.setattr("ednabed.sequences.fasta.read_fasta.__defaults__", (100,))
    monkeypatch.setattr("ednabed.sequences.fastq.BATCH_BASES", 250)
    for text in ("id\tseq\na\t{}\n", ">a\n{}\n", "@a\n{0}\n+\n{0}\n"):
        with pytest.raises(InputError, match=r"t\.x: .* more than 250 (bases|characters)"):
            rows(table(tmp_path, text.format("A" * 400), "t.x"))


def test_parquet_types(tmp_path):
    path = tmp_path / "t.parquet"
    columns = {
        "id": pa.array([1, None, 3]),
        "dna": pa.array(["AC", None, "GT"]).dictionary_encode(),
        "count": pa.array([1.0, None, 3.0]),
        "sample": pa.array(["S", None, ""], pa.large_string()),
        "depth": pa.array([1.5, None, 2]),
        "n": pa.array([1, 2, None], pa.int16()),
        "ok": pa.array([True, None, False]),
        "day": pa.array([datetime.date(2024, 2, 1), None, None]),
        "raw": pa.array([b"x", b"\xe9", None]),
    }
    pq.write_table(pa.table(columns), path)
    found = rows(path)
    assert [(r["id"], r["sequence"], r["abundance"], r["sample"]) for r in found] == [
        ("1", b"AC", 1, "S"),
        ("", None, None, None),
        ("3", b"GT", 3, None),
    ]
    assert [r["depth"] for r in found] == [1.5, None, 2]
    assert [r["n"] for r in found] == [1, 2, None]
    assert [r["ok"] for r in found] == [True, None, False]
    assert [r["day"] for r in found] == ["2024-02-01", None, None]
    assert [r["raw"] for r in found] == ["x", "é", None]


def test_parquet_refusals(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"id": ["a"], "seq": ["AC"], "vector": [[1.0]]}), path)
    with pytest.raises(
        InputError, match=r"t\.parquet: column 'vector' has type list.*write the file without that column"
    ):
        rows(path)
    pq.write_table(pa.table({"id": pa.array([], pa.string()), "seq": pa.array([], pa.string())}), path)
    with pytest.raises(InputError, match=r"t\.parquet: has a header but no records"):
        rows(path)
    pq.write_table(pa.table({"id": ["a"], "seq": ["AC"]}), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(
        InputError, match=r"t\.parquet: the Parquet data are truncated or damaged .*; write the file again"
    ):
        rows(path)


def test_specimens_of_bold(tmp_path):
    """BOLD's common data model: coordinates in one cell, the date and the BIN kept."""
    header = ["processid", "sampleid", "bin_uri", "kingdom", "genus", "species", "coord", "collection_date_start"]
    cells = ["A-09", "S1", "BOLD:AAA1", "Animalia", "Amara", "Amara aenea", "(59.91, -10.75)", "2020-05-01"]
    row = first(tmp_path, [*header, "nuc", "marker_code"], [*cells, "ACGT", "COI-5P"])
    assert (row["id"], row["sample"], row["latitude"], row["longitude"]) == ("A-09", "S1", 59.91, -10.75)
    assert (row["bin_uri"], row["collection_date_start"], row["marker_code"]) == ("BOLD:AAA1", "2020-05-01", "COI-5P")
    assert row["lineage"] == "Animalia;;;;;Amara;Amara aenea"
    row = first(tmp_path, ["id", "seq", "coord", "lat", "lon"], ["a", "A", "(1, 2)", "3", "4"])
    assert "latitude" not in row and row["lat"] == "3"
    row = first(tmp_path, ["id", "seq", "coord"], ["a", "A", "unknown"])
    assert "latitude" not in row and row["coord"] == "unknown"


@pytest.mark.parametrize(
    ("header", "cells", "found"),
    [
        (["gbifID", "occurrenceID"], ["1", "o1"], {"id": "o1", "gbifID": "1"}),
        (["gbifID"], ["1"], {"id": "1"}),
        (["id", "occurrenceID"], ["1", "o1"], {"id": "o1", "id_input": "1"}),
        (["occurrenceID", "eventID", "materialSampleID"], ["o", "e", "m"],
         {"id": "o", "sample": "e", "materialSampleID": "m"}),
        (["occurrenceID", "materialSampleID", "samp_name"], ["o", "m", "s"],
         {"id": "o", "sample": "m", "samp_name": "s"}),
        (["materialSampleID"], ["m"], {"id": "m"}),
        (["occurrenceID", "organismQuantity", "organismQuantityType"], ["o", "7", "DNA sequence reads"],
         {"id": "o", "abundance": 7, "organismQuantity": "7", "organismQuantityType": "DNA sequence reads"}),
        (["occurrenceID", "organismQuantity", "organismQuantityType"], ["o", "7.5", "% biomass"],
         {"id": "o", "organismQuantity": "7.5", "organismQuantityType": "% biomass"}),
        (["occurrenceID", "organismQuantity"], ["o", "7"], {"id": "o", "organismQuantity": "7"}),
        (["id", "reads"], ["a", "1e3"], {"id": "a", "abundance": 1000}),
        (["id", "reads"], ["a", "1,200"], {"id": "a", "abundance": 1200}),
    ],
)  # fmt: skip
def test_ids_samples_and_reads_of_darwin_core(header, cells, found, tmp_path):
    assert first(tmp_path, [*header, "DNA_sequence"], [*cells, "ACGT"]) == {**found, "sequence": "ACGT"}


@pytest.mark.parametrize(
    ("name", "rank", "species"),
    [
        ("Gadus morhua Linnaeus, 1758", "species", "Gadus morhua"),
        ("Gadus morhua Linnaeus, 1758", "", "Gadus morhua"),
        ("Gadus morhua callarias", "subspecies", "Gadus morhua"),
        ("Gadus (Gadus) morhua", "SPECIES", "Gadus morhua"),
        ("Rosa canina var. dumetorum (Thuill.) Poir.", "variety", "Rosa canina"),
        ("Salix × capreola J.Kern. ex Andersson", "species", "Salix × capreola"),
        ("×Triticosecale rimpaui", "species", "Triticosecale rimpaui"),
        ("Epichloë amarillans J.F. White", "species", "Epichloë amarillans"),
        ("Salmo trutta x Salvelinus fontinalis", "species", "Salmo trutta x Salvelinus fontinalis"),
        ("Chironomus sp. 1", "species", "Chironomus sp. 1"),
        ("Chironomus cf. riparius Meigen", "species", "Chironomus cf. riparius"),
        ("Chironomus sp.", "species", ""),
        ("Gadus Linnaeus, 1758", "genus", ""),
        ("Gadus Linnaeus, 1758", "", ""),
        ("Gadus de Buen", "", ""),
        ("incertae sedis", "", ""),
        ("BOLD:AAA1111", "SPECIES", ""),
        ("Gadus morhua", "genus", ""),
    ],
)
def test_species_of_scientific_names(name, rank, species, tmp_path):
    row = first(tmp_path, ["id", "seq", "scientificName", "taxonRank"], ["a", "A", name, rank])
    assert row.get("lineage") == (f";;;;;;{species}" if species else None)


def test_genus_and_epithet(tmp_path):
    row = first(tmp_path, ["id", "seq", "genus", "specificEpithet"], ["a", "A", "Gadus", "morhua"])
    assert row["lineage"] == ";;;;;Gadus;Gadus morhua"


@pytest.mark.parametrize(
    ("line", "lineage"),
    [
        ("AB1\tGadus x\t8049\tEukaryota\tChordata\tActinopteri\tNA\tGadidae\tGadus\tNA\t" + "ACGT" * 9,
         "Eukaryota;Chordata;Actinopteri;;Gadidae;Gadus;"),
        ("AB1\t8049\tEukaryota\tChordata\tActinopteri\tGadiformes\tGadidae\tGadus\tGadus_morhua\t" + "ACGT" * 9,
         "Eukaryota;Chordata;Actinopteri;Gadiformes;Gadidae;Gadus;Gadus morhua"),
        ("AB1\t" + "ACGT" * 9, None),
    ],
)  # fmt: skip
def test_tables_without_a_header_line(line, lineage, tmp_path):
    (row,) = rows(table(tmp_path, line + "\n"))
    assert (row["id"], row["sequence"], row["lineage"]) == ("AB1", b"ACGT" * 9, lineage)
    with pytest.raises(
        InputError, match=r"t\.tsv: its first line contains a sequence .*; put a line with the names of its 4"
    ):
        rows(table(tmp_path, "a\tb\tc\t" + "ACGT" * 9 + "\n"))
