import gzip
import io

import pytest

from ednabed.errors import InputError
from ednabed.sequences import open_records, read_labels

EXPECTED = {"a": "Animalia;Chordata;;;;;", "b": "Fungi;;;;;;"}


@pytest.mark.parametrize(
    "text",
    [
        "Feature ID\tTaxon\tConfidence\na\tk__Animalia; p__Chordata\t0.99\nb\tk__Fungi\t1\n",
        "id\tkingdom\tphylum\na\tAnimalia\tChordata\nb\tFungi\tNA\n",
        "id,lineage\na,Animalia;Chordata\nb,Fungi\n",
        "ID;Taxonomy\na;k__Animalia,p__Chordata\nb;k__Fungi\n".replace(
            "k__Animalia,p__Chordata", '"Animalia;Chordata"'
        ),
        "a\tAnimalia;Chordata\nb\tFungi\n",
        "\ufeffa\tk__Animalia; p__Chordata\r\nb\tk__Fungi\r\n",
        "id\ttaxon\n a \tAnimalia;Chordata\na\tk__Animalia;p__Chordata\nb\tFungi\nc\tUnassigned\n\tFungi\n",
    ],
)
def test_notations(text, tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(gzip.compress(text.encode()))
    labels = read_labels(path)
    assert dict(labels) == EXPECTED
    assert labels["b"] == "Fungi;;;;;;"
    assert len(labels) == 2
    assert dict(read_labels("-", stdin=io.BytesIO(text.encode()))) == EXPECTED


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "id\ttaxon\na\tFungi\na\tPlantae\n",
            "id 'a' has two lineages, 'Fungi;;;;;;' and 'Plantae;;;;;;'; keep the correct one",
        ),
        ("id\tsite\na\tBrest\n", "no lineage column among 'id', 'site'; labels need ranks"),
        ("site\ttaxon\na\tFungi\n", "no id column among 'site', 'taxon'; labels need a column 'id'"),
        ("a\tBrest\nb\tRoscoff\n", "no id column among 'a', 'Brest'"),
        ("id\ttaxon\n", "has a header line but no rows"),
        (">a\nACGT\n", "contains sequences, not labels; give a TSV or CSV"),
        ("id\ttaxon\na\t" + ";".join("abcdefghij"), "1 row has no lineage, because the ranks of the names"),
        ("id\ttaxon\na\n", "row 1 .below the header. has 1 cells"),
    ],
)
def test_refusals(text, message, tmp_path):
    path = tmp_path / "labels.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"labels\.tsv: {message}"):
        read_labels(path)


def test_ids_with_a_lineage_for_each_marker(tmp_path):
    path = tmp_path / "labels.tsv"
    path.write_text(
        "processid\tmarkercode\tgenus\nA\tCOI-5P\tGadus\nA\tCYTB\tSalmo\nB\tCOI-5P\tGadus\nB\tCYTB\tGadus\n"
    )
    labels = read_labels(path)
    assert dict(labels) == {"B": ";;;;;Gadus;"}
    records = tmp_path / "r.tsv"
    records.write_text("id\tmarker\tseq\nA\tCYTB\tACGT\nA\tCOI-5P\tACGT\nA\t16S\tAC\nB\t16S\tAC\n")
    with open_records(records, labels=labels) as opened:
        found = [text for batch in opened for text in batch.column("lineage").to_pylist()]
    assert found == [";;;;;Salmo;", ";;;;;Gadus;", None, ";;;;;Gadus;"]


def test_labels_of_sequences(tmp_path):
    """R writes DADA2's taxa with the sequences as row names."""
    sequence = "ACGTACGTACGTACGTACGTAC"
    path = tmp_path / "taxa.csv"
    path.write_text(f'"","Kingdom","Genus","Species"\n"{sequence}","Animalia","Gadus","morhua"\n"asv2","Fungi",NA,NA\n')
    labels = read_labels(path)
    fasta = tmp_path / "a.fasta"
    fasta.write_text(f">x\n{sequence.lower()}\n>asv2\nACGT\n>y\nAC\n")
    with open_records(fasta, labels=labels) as opened:
        found = [text for batch in opened for text in batch.column("lineage").to_pylist()]
    assert found == ["Animalia;;;;;Gadus;Gadus morhua", "Fungi;;;;;;", None]


@pytest.mark.parametrize(
    "text",
    [
        "a\tAnimalia\tChordata\tX\t\t\tGadus\tmorhua\n",
        "a\tEukaryota\tAnimalia\tChordata\tX\t\t\tGadus\tmorhua\n",
        "a\tk:Animalia(1.00),p:Chordata(1.00),c:X(0.9),g:Gadus(0.9),s:Gadus_morhua(0.9)\t+\n",
        "a\tk:Animalia(1.00),s:Other(0.1)\t+\tk:Animalia,p:Chordata,c:X,g:Gadus,s:Gadus morhua\n",
    ],
)
def test_labels_without_a_header_line(text, tmp_path):
    path = tmp_path / "labels.tsv"
    path.write_text(text)
    assert dict(read_labels(path)) == {"a": "Animalia;Chordata;X;;;Gadus;Gadus morhua"}
