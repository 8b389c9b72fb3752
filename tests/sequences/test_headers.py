import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.sequences.headers import Header, header_columns, parse_header


@pytest.mark.parametrize(
    ("text", "wanted"),
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
        ("a k__;p__", Header("a", description="k__;p__")),
        ("a Eukaryota;Chordata;Mammalia", Header("a", description="Eukaryota;Chordata;Mammalia")),
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
def test_forms(text, wanted):
    assert parse_header(text) == wanted


words = st.text(st.characters(exclude_categories=["Z", "C"], exclude_characters=";="), min_size=1, max_size=5)
lines = st.lists(st.one_of(words, st.just(""), st.tuples(words, words).map(" ".join), st.text(" ab\t;=_", max_size=6)))


@given(lines.filter(bool))
def test_all_at_once_is_the_same_as_one_by_one(headers):
    columns = header_columns("\n".join(headers).encode(), pa.nulls(len(headers), pa.binary()), "f", 5)
    ids, _, sizes, samples, lineages, descriptions, sources, records = (column.to_pylist() for column in columns)
    rows = list(zip(ids, sizes, samples, lineages, descriptions, strict=True))
    assert rows == [tuple(parse_header(header)) for header in headers]
    assert records == list(range(5, 5 + len(headers)))
    assert set(sources) == {"f"}
    for column in columns:
        column.validate(full=True)
