import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.sequences.header_columns import HeaderColumns
from ednabed.sequences.headers import Header, parse_header
from ednabed.sequences.lineage import tidy_lineage
from ednabed.sequences.lineage_fields import UNREAD


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("abc", Header("abc")),
        ("", Header("")),
        ("  abc  some fish  ", Header("abc", description="some fish")),
        ("abc\tsome fish", Header("abc", description="some fish")),
        ("abc;size=12", Header("abc", 12)),
        ("abc;size=12;", Header("abc", 12)),
        ("abc size=12;", Header("abc", 12)),
        ("abc;size=12;sample=S1;", Header("abc", 12, "S1")),
        ("abc;sample=S-1;size=12 rest here", Header("abc", 12, "S-1", None, "rest here")),
        ("abc;barcodelabel=S1;size=3;", Header("abc", 3, "S1")),
        ("abc;ee=0.1;size=2;length=300", Header("abc", 2, None, None, "ee=0.1;length=300")),
        ("abc;size=many", Header("abc", None, None, None, "size=many")),
        ("abc;size=" + "9" * 30, Header("abc", None, None, None, "size=" + "9" * 30)),
        ("resize=3", Header("resize=3")),
        ("gi|1;x;y", Header("gi|1;x;y")),
        ("a tax=d:Bacteria,p:Firmicutes;", Header("a", lineage="Bacteria;Firmicutes;;;;;")),
        ("a;tax=k:Animalia,s:Homo sapiens;size=3;", Header("a", 3, None, "Animalia;;;;;;Homo sapiens")),
        ("a k__Fungi; p__Ascomycota", Header("a", lineage="Fungi;Ascomycota;;;;;")),
        ("a d__Bacteria;p__;s__", Header("a", lineage="Bacteria;;;;;;")),
        ("a k__;p__", Header("a")),
        ("a Eukaryota;Chordata;Mammalia", Header("a", lineage="Eukaryota;Chordata;Mammalia;;;;")),
        ("abc;size=1e3", Header("abc", 1000)),
        ("abc;size=1,200;", Header("abc", 1200)),
        ("abc;size=1.5;", Header("abc", None, None, None, "size=1.5")),
        ("barcodelabel=S1;read1", Header("read1", None, "S1")),
        ("r2;sample=lake 1;size=3", Header("r2", 3, "lake 1")),
        ("a;tax=k:Fungi;p:Ascomycota;s:Mucor mucedo", Header("a", lineage="Fungi;Ascomycota;;;;;Mucor mucedo")),
        ("a;tax=sk:Bacteria,sf:Xinae,g:Bacillus,s:subtilis,t:168;",
         Header("a", lineage="Bacteria;;;;;Bacillus;Bacillus subtilis")),
        ("A|COI-5P|Canada|Animalia,Arthropoda,Insecta,Coleoptera,Carabidae,,,Amara,Amara aenea",
         Header("A", None, None, "Animalia;Arthropoda;Insecta;Coleoptera;Carabidae;Amara;Amara aenea", "Canada",
                "COI-5P")),
        ("A-09|Bos taurus|COI-5P|EF6", Header("A-09", None, None, ";;;;;;Bos taurus", "EF6", "COI-5P")),
        ("A-09|COI-5P|Bos taurus", Header("A-09", None, None, ";;;;;;Bos taurus", None, "COI-5P")),
        ("A-09|Lepidoptera|COI-5P", Header("A-09", None, None, None, "Lepidoptera", "COI-5P")),
        ("Bacteria;Firmicutes;Bacilli;Bacillales;", Header("", lineage="Bacteria;Firmicutes;Bacilli;Bacillales;;;")),
        ("Bacteria;Firm;Bac;Bal;Bae;Bacillus;Bacillus subtilis(GB_GCA_1.1)",
         Header("GB_GCA_1.1", lineage="Bacteria;Firm;Bac;Bal;Bae;Bacillus;Bacillus subtilis")),
        ("RS_1~X d__Bacteria;g__Bacillus;s__Bacillus subtilis [location=1..9] [ssu_len=9]",
         Header("RS_1~X", None, None, "Bacteria;;;;;Bacillus;Bacillus subtilis", "[location=1..9] [ssu_len=9]")),
        ("S1 uncultured bacterium; Y\tLineage=Root;rootrank;Archaea;domain;Crenarchaeota;phylum",
         Header("S1", None, None, "Archaea;Crenarchaeota;;;;;", "uncultured bacterium; Y")),
        ("AB1|S1\tRoot;Bacteria;Firmicutes", Header("AB1|S1", lineage="Bacteria;Firmicutes;;;;;")),
        ("AB1.1.9_U|18S_rRNA|plastid|st 1|Eukaryota|TSAR|Rhizaria|Cercozoa|Imbricatea|Ord|Fam|Gen|Gen_spec",
         Header("AB1.1.9_U", None, None, "TSAR;Rhizaria;Imbricatea;Ord;Fam;Gen;Gen spec", "st 1", "18S_rRNA",
                "plastid")),
        ('s {"count":22,"merged_sample":{"a":12,"b":10},"genus_name":"Capra"} wild',
         Header("s", 22, None, ";;;;;Capra;", "wild", by_sample=(("a", 12), ("b", 10)))),
        ("s count=3; merged_sample={'a': 2, 'b': 1}; taxid=9; genus_name=Capra; species_name=None;",
         Header("s", 3, None, ";;;;;Capra;", "taxid=9", by_sample=(("a", 2), ("b", 1)))),
        ("s count=3; merged_sample={'a': 2, 'b': 1}; taxid=9; Capra ibex mitochondrion",
         Header("s", 3, None, None, "Capra ibex mitochondrion taxid=9", by_sample=(("a", 2), ("b", 1)))),
        ("H:1 COUNT=12; MERGED_sample={'a': 5, 'b': 7}; SCIENTIFIC_NAME=Gadus morhua; TAXID=8049",
         Header("H:1", 12, None, ";;;;;;Gadus morhua", "scientific_name=Gadus morhua; taxid=8049",
                by_sample=(("a", 5), ("b", 7)))),
        ('s {"count":1,"taxid":"taxon:8049 [Gadus]@genus"}',
         Header("s", 1, None, ";;;;;Gadus;", "taxid=taxon:8049 [Gadus]@genus")),
        ("AB1;Eukaryota;Chordata;Mammalia", Header("AB1", lineage="Eukaryota;Chordata;Mammalia;;;;")),
        ("EUK1;k__Fungi;p__Ascomycota", Header("EUK1", lineage="Fungi;Ascomycota;;;;;")),
        ("gb|AP002923|Gadus morhua", Header("gb|AP002923", lineage=";;;;;;Gadus morhua")),
        ("gb|AP002923|some text here", Header("gb|AP002923|some", description="text here")),
        ("a;count=4;", Header("a", 4)),
        ("a;SIZE=3", Header("a", 3)),
        ('r;sample="x y";', Header("r", None, "x y")),
        ('s {"count":3.0,"merged_sample":{"a":3.0}}', Header("s", 3, by_sample=(("a", 3),))),
        ("s count=3; merged_sample={broken; taxid=9;",
         Header("s", 3, None, None, "merged_sample={broken; taxid=9;")),
        ("A1|Animalia|Chordata|Actinopteri|Gadiformes|Gadidae|Gadus|Gadus morhua",
         Header("A1", lineage="Animalia;Chordata;Actinopteri;Gadiformes;Gadidae;Gadus;Gadus morhua")),
        ("A1 Animalia|Chordata|Actinopteri|Gadiformes|Gadidae|Gadus|Gadus morhua",
         Header("A1", lineage="Animalia;Chordata;Actinopteri;Gadiformes;Gadidae;Gadus;Gadus morhua")),
        ("x two free; words; of; text", Header("x", None, None, None, "two free; words; of; text")),
        ("Ab_su|MT1|refs|k__Fungi;p__Asco;s__Ab_su", Header("Ab_su|MT1|refs", lineage="Fungi;Asco;;;;;Ab su")),
        ("Ab|MT1|k__Fungi;p__Asco|SH2", Header("Ab|MT1", lineage="Fungi;Asco;;;;;", description="SH2")),
        ("K1.<1.>9###root_1;Eukaryota_2759;Chordata_7711", Header("K1.<1.>9", lineage="Eukaryota;Chordata;;;;;")),
        (
            "K1###root_1;Eukaryota_2759;A_1;B_2;C_3;D_4;E_5;E f_6",
            Header("K1", lineage="Eukaryota;A;B;C;D;E;E f"),
        ),
        ("K1\troot_1;Eukaryota_2759;A_1", Header("K1", lineage="Eukaryota;A;;;;;")),
    ],
)  # fmt: skip
def test_forms(text, expected):
    found = parse_header(text)
    if found.lineage is not None:
        is_text = found.lineage.startswith(UNREAD)
        found = found._replace(lineage=None if is_text else tidy_lineage(found.lineage))
    assert found == expected


def test_headers_that_are_lineages_of_other_kingdoms_are_recognised_from_the_file():
    text = ">Arthropoda;Insecta;Diptera;Culicidae;Aedes;Aedes aegypti\nACGT\n"
    text += ">Arthropoda;Insecta;Diptera;Culicidae;Culex;\nACGT\n"
    written = "\n".join(line[1:] for line in text.splitlines() if line.startswith(">")).encode()
    batch = HeaderColumns(text.encode()).batch(written, pa.nulls(2, pa.binary()), "f.fa", 1)
    assert batch.column("id").to_pylist() == ["f_1", "f_2"] and batch.column("lineage").null_count == 0
    other = HeaderColumns(b">a1;x;y;z;w;v\nAC\n>a2 b\nAC\n").batch(
        b"a1;x;y;z;w;v\na2 b", pa.nulls(2, pa.binary()), "f", 1
    )
    assert other.column("id").to_pylist() == ["a1;x;y;z;w;v", "a2"]


def test_columns_of_some_headers_exist_from_the_first_such_header_onwards():
    columns = HeaderColumns(b">a\n")
    names = [
        columns.batch(text.encode(), pa.nulls(1, pa.binary()), "f", 1).schema.names[8:]
        for text in ("a", "B|Gadus morhua|COI-5P|X", "c", 'd {"merged_sample":{"s":1}}', "e|x")
    ]
    assert names == [[], ["marker"], ["marker"], ["marker", "by_sample"], ["marker", "by_sample"]]


words = st.text(st.characters(exclude_categories=["Z", "C"], exclude_characters=";="), min_size=1, max_size=5)
lines = st.lists(st.one_of(words, st.just(""), st.tuples(words, words).map(" ".join), st.text(" ab\t;=_", max_size=6)))


@given(lines.filter(bool))
def test_all_at_once_is_the_same_as_one_by_one(headers):
    columns = (
        HeaderColumns().batch("\n".join(headers).encode(), pa.nulls(len(headers), pa.binary()), "f", 5).columns[:8]
    )
    ids, _, sizes, samples, lineages, descriptions, sources, records = (column.to_pylist() for column in columns)
    rows = list(zip(ids, sizes, samples, lineages, descriptions, strict=True))
    assert rows == [tuple(parse_header(header))[:5] for header in headers]
    assert records == list(range(5, 5 + len(headers)))
    assert set(sources) == {"f"}
    for column in columns:
        column.validate(full=True)
