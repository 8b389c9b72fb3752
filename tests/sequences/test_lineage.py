import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.errors import InputError
from ednabed.sequences import RANKS, format_lineage, parse_lineage, tidy_lineage
from ednabed.sequences.lineage import tidy_ranks

HUMAN = "Animalia;Chordata;Mammalia;Primates;Hominidae;Homo;Homo sapiens"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HUMAN, HUMAN),
        (HUMAN + ";", HUMAN),
        ("Animalia; Chordata ;Mammalia", "Animalia;Chordata;Mammalia;;;;"),
        ("Animalia;Chordata;Mammalia;Primates;Hominidae;Homo;sapiens", HUMAN),
        # QIIME 2, Greengenes, UNITE, SILVA.
        ("k__Animalia; p__Chordata; c__Mammalia; o__Primates; f__Hominidae; g__Homo; s__sapiens", HUMAN),
        ("k__Animalia;p__Chordata;c__Mammalia;o__Primates;f__Hominidae;g__Homo;s__Homo_sapiens", HUMAN),
        ("d__Bacteria; p__; c__; o__; f__; g__Bacillus_A; s__", "Bacteria;;;;;Bacillus_A;"),
        ("d__Eukaryota;k__Fungi;p__Ascomycota", "Fungi;Ascomycota;;;;;"),
        ("k__Fungi;d__Eukaryota", "Fungi;;;;;;"),
        ("sk__Eukaryota;g__Homo;t__strain", "Eukaryota;;;;;Homo;"),
        ("D_0__Bacteria;D_1__A;D_5__Bacillus;D_6__Bacillus_cereus;D_7__x", "Bacteria;;;;;Bacillus;Bacillus cereus"),
        ("k__Fungi;p__Ascomycota;c__unidentified;s__unidentified", "Fungi;Ascomycota;;;;;"),
        # SINTAX.
        ("tax=d:Eukaryota,p:Chordata,g:Homo,s:Homo_sapiens;", "Eukaryota;Chordata;;;;Homo;Homo sapiens"),
        ("d:Bacteria(1.00),k:Fungi(0.98)", "Fungi;;;;;;"),
        # MIDORI, PR2, NCBI, mothur.
        (
            "root_1;Eukaryota_2759;Discosea_555280;Flabellinia_1485085;order_Vannellidae_95227;Vannellidae_95227;"
            "Clydonella_218657;Clydonella sawyeri_2201168",
            "Eukaryota;Discosea;Flabellinia;;Vannellidae;Clydonella;Clydonella sawyeri",
        ),
        (
            "root;Eukaryota;Chordata;Mammalia;Primates;Hominidae;Homo;Homo sapiens",
            HUMAN.replace("Animalia", "Eukaryota"),
        ),
        ("root_1;Eukaryota_2759", "Eukaryota;;;;;;"),
        (
            "Eukaryota;Metazoa;Chordata;Mammalia;Primates;Hominidae;Homo;Homo_sapiens",
            HUMAN.replace("Animalia", "Metazoa"),
        ),
        (
            "Eukaryota;Archaeplastida;Chlorophyta;Chlorophyta_X;Mamiellophyceae;Mamiellales;Bathycoccaceae;Ostreococcus;"
            "Ostreococcus_tauri",
            "Archaeplastida;Chlorophyta;Mamiellophyceae;Mamiellales;Bathycoccaceae;Ostreococcus;Ostreococcus tauri",
        ),
        (HUMAN + ";Homo sapiens neanderthalensis", HUMAN),
        ("Bacteria(100);Firmicutes(99.5);unclassified(98);", "Bacteria;Firmicutes;;;;;"),
        # Nothing is known.
        ("", None),
        (" ", None),
        ("NA", None),
        ("Unassigned", None),
        ("k__;p__;c__;o__;f__;g__;s__", None),
        ("Animalia;NA;unclassified Chordata;nan;n/a;Unknown;unidentified", "Animalia;;;;;;"),
    ],
)  # fmt: skip
def test_notations(text, expected):
    assert tidy_lineage(text) == expected
    ranks = parse_lineage(text)
    assert (ranks is None) == (expected is None)
    if ranks is not None:
        assert len(ranks) == len(RANKS) == 7
        assert tidy_lineage(format_lineage(ranks)) == expected


def test_too_many_fields_are_refused():
    with pytest.raises(InputError, match=r"the ranks of lineage 'a;b;c;d.*cannot be determined; write seven"):
        parse_lineage(";".join("abcdefghij"))


@pytest.mark.parametrize("ranks", [["a"], ["a"] * 8, ["a;b", *"cdefgh"]])
def test_only_seven_names_without_semicolons_are_joined(ranks):
    with pytest.raises(InputError, match="seven names"):
        format_lineage(ranks)


names = st.sampled_from(["", "Animalia", "Chordata", "Clade_X", "Escherichia-Shigella", "Xé"])


@given(st.tuples(*[names] * 6, st.sampled_from(["", "Homo sapiens", "Homo sp. BOLD:AAA1"])))
def test_the_standard_form_is_unchanged(ranks):
    assert parse_lineage(format_lineage(ranks)) == (ranks if any(ranks) else None)


@given(st.text(max_size=40))
def test_any_text_gives_seven_names_none_or_an_input_error(text):
    try:
        ranks = parse_lineage(text)
    except InputError:
        return
    assert ranks is None or (len(ranks) == 7 and len(format_lineage(ranks).split(";")) == 7)


@pytest.mark.parametrize(
    ("cells", "lineage"),
    [
        (["Life", "Chordata", "Aves", "", "", "", ""], ";Chordata;Aves;;;;"),
        (["Eukaryota", "Chordata", "", "", "", "Gadus", "morhua"], "Eukaryota;Chordata;;;;Gadus;Gadus morhua"),
        (
            ["k__Animalia", "p__Chordata", "", "", "", "g__Gadus", "s__morhua"],
            "Animalia;Chordata;;;;Gadus;Gadus morhua",
        ),
        (["", "d:odd", "NA", "", "", "", ""], ";d:odd;;;;;"),
        (["", "", "", "", "", "", "NA"], None),
    ],
)
def test_a_rank_column_keeps_its_rank_whatever_it_contains(cells, lineage):
    assert tidy_ranks(";".join(cells)) == lineage
