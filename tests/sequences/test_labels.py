import gzip
import io

import pytest

from ednabed.errors import InputError
from ednabed.sequences import read_labels

WANTED = {"a": "Animalia;Chordata;;;;;", "b": "Fungi;;;;;;"}


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
def test_ways_of_writing(text, tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(gzip.compress(text.encode()))
    labels = read_labels(path)
    assert dict(labels) == WANTED
    assert labels["b"] == "Fungi;;;;;;"
    assert len(labels) == 2
    assert dict(read_labels("-", stdin=io.BytesIO(text.encode()))) == WANTED


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "id\ttaxon\na\tFungi\na\tPlantae\n",
            "id 'a' has two lineages, 'Fungi;;;;;;' and 'Plantae;;;;;;'; keep the one",
        ),
        ("id\tsite\na\tBrest\n", "no lineage column among 'id', 'site'; labels need ranks"),
        ("site\ttaxon\na\tFungi\n", "no id column among 'site', 'taxon'; labels need a column 'id'"),
        ("a\tBrest\nb\tRoscoff\n", "no id column among 'a', 'Brest'"),
        ("id\ttaxon\n", "has a header line but no row"),
        (">a\nACGT\n", "holds sequences, not labels; give a TSV or CSV"),
        ("id\ttaxon\na\t" + ";".join("abcdefghij"), "1 row has no lineage, because the ranks of what is"),
        ("id\ttaxon\na\n", "row 1 .below the header. has 1 cells"),
    ],
)
def test_refusals(text, message, tmp_path):
    path = tmp_path / "labels.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"labels\.tsv: {message}"):
        read_labels(path)
