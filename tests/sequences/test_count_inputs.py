"""Which inputs contain counts by sample: no count table is read as one read each, and no reference is asked about."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ednabed.sequences.counts import find_counts
from ednabed.sequences.counts.sample_columns import Column, hold_counts

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SEQUENCE = "GATTACAGATTACAGATTACAGATTACA"
RANKS = "Kingdom\tPhylum\tClass\tOrder\tFamily\tGenus\tSpecies"
NAMES = "Animalia\tChordata\tActinopteri\tGadiformes\tGadidae\tGadus\tmorhua"


def found(folder: Path, head: str, *rows: str) -> str | None:
    """Inspect a table; ``SEQ`` is replaced by a sequence."""
    path = folder / "input.tsv"
    path.write_text("".join(f"{line}\n".replace("SEQ", SEQUENCE) for line in (head, *rows)))
    return find_counts(path)


@pytest.mark.parametrize(
    ("head", "rows"),
    [
        (f"ASV_ID\t{RANKS}\tconfidence\tsequence\tS1\tS2", [f"a\t{NAMES}\t0.98\tSEQ\t5\t7"]),
        (f"ASV_ID\tsequence\t{RANKS}\tSpecies_exact\tlake\tsea", [f"a\tSEQ\t{NAMES}\tNA\t5\t0"]),
        ("id\tdefinition\tcount\tsample:S1\tsample:S2\tsequence", ["a\tx\t12\t5\t7\tSEQ"]),
        ("id\tcount\tMERGED_sample:S1\tsample\tsequence", ["a\t12\t12\tx\tSEQ"]),
        ("id\tsequence\tS1\tS2", ["a\tSEQ\t5\t7"]),
        ("id\tsequence\tS1", ["a\tSEQ\t5"]),
        ("id\tsequence\ttotal", ["a\tSEQ\t5"]),
        ("id\tsequence\tDay_1\tDay_2", ["a\tSEQ\t5\t6"]),
        ("id\tsequence\tnorth\tsouth", ["a\tSEQ\t1,200\t1e3"]),
        ("id\tsequence\tbest_hit\tpident\tevalue\tlength\tnorth\tsouth", ["a\tSEQ\tGadus\t99.1\t1e-50\t28\t3\t2"]),
        ("id\tsequence\tshannon\tnorth\tsouth", ["a\tSEQ\t1.25\t3\t2", "b\tSEQ\t0.25\t0\t2"]),
        ("OTU\ttotal\tcloud\tamplicon\tlength\tabundance\tchimera\tspread\tquality\tsequence\tidentity\ttaxonomy\tS1\tS2",
         ["1\t12\t3\tabc\t28\t9\tN\t2\t0.001\tSEQ\t99.0\tk__A\t5\t7"]),
        ("OTU ID\tsequence\tEX01_01W\tEX01_02W\tremarks", ["x\tSEQ\t0\t3\t", "y\tSEQ\t0\t3\t"]),
    ],
)  # fmt: skip
def test_tables_of_counts(tmp_path, head, rows):
    assert found(tmp_path, head, *rows) == "sequences and counts"


@pytest.mark.parametrize(
    ("head", "rows"),
    [
        ("id\tsequence\tlength\ttaxid\tyear\tlatitude\tlongitude", ["a\tSEQ\t28\t8049\t2020\t60\t10"]),
        ("id\tsequence\tlength\ttaxid\tyear\tlatitude\tlongitude", ["a\tSEQ\t28\t8049\t2020\t59.9\t-10.5"]),
        ("id\tsequence\tlocus\tcollected\tpublished", [f"{i}\tSEQ\t12S\t{1990 + i}\t{2000 + i}" for i in range(5)]),
        (f"id\tsequence\t{RANKS}\tn_records\tis_type\tvoucher_no", [f"a\tSEQ\t{NAMES}\t3\t0\t71"]),
        *((f"id\tsequence\t{name}", ["a\tSEQ\t3"]) for name in ("n_records", "Source records", "record-count")),
        ("id\tsequence\tsource_records\tn_records", ["a\tSEQ\t3\t4", "b\tSEQ\t1\t0"]),
        ("processid\tsampleid\trecordID\tphylum_taxID\tphylum_name\tlat\tlon\telev\tnucleotides",
         ["X1\tS1\t12\t20\tChordata\t60\t10\t5\tSEQ"]),
        ("id\trecordID\tphylum_taxID\tphylum_name\tclass_taxID\tclass_name\tlat\tlon\telev\tdepth\tnucleotides",
         ["X1\t12\t20\tChordata\t3\tAves\t60\t10\t5\t0\tSEQ"]),
        ("pr2_accession\tid\tdomain\tspecies\tstart\tend\tsequence_length\tambiguities\tgb_year\tpr2_version\tsequence",
         ["X1\tx\tEukaryota\tNavicula_sp\t1\t900\t900\t0\t2001\t5\tSEQ"]),
        ("gbifID\toccurrenceID\tscientificName\tindividualCount\tcoordinateUncertaintyInMeters\ttaxonKey\tspeciesKey\t"
         "day\tmonth\tyear\tminimumDepthInMeters\tDNA_sequence",
         ["7\to\tGadus morhua\t1\t100\t5\t6\t1\t2\t2020\t0\tSEQ"]),
        ("id\tsequence\tdigest\tlength\tabundance\trecords\tsamples\tdatasets\tlineage\tkingdom",
         ["a\tSEQ\tx\t28\t12\t3\t2\to\tAnimalia;;;;;;\tAnimalia"]),
        ("id\tdataset\trun_id\tseq_idx\tsequence\tlength\tabundance\tsample\trecord\tn_ambiguous",
         ["a\to\tr\t0\tSEQ\t28\t12\tS1\t1\t0"]),
        ("id\tsample\tcount\tsequence", ["a\tS1\t3\tSEQ"]),
        ("id\tsequence\tsize\tS1", ["a\tSEQ\t3\t3"]),
        ("id\tsequence\tpident\tqlen\tn_refs", ["a\tSEQ\t99.1\t28\t0"]),
        ("id\tsequence\telev\thaul", ["a\tSEQ\t3\t3", "b\tSEQ\t\t"]),
        ("id\tsequence", ["a\tSEQ"]),
    ],
)  # fmt: skip
def test_references_and_records(tmp_path, head, rows):
    assert found(tmp_path, head, *rows) is None


def test_labelled_files_of_the_project(shared):
    paths = [EXAMPLES / "fish_12s.tsv.gz", *(shared / "data").glob("*.tsv.gz")]
    names = ["18g_pr2_lineages_ok.tsv", "19_bold_v4.tsv", "21_gbif.tsv", "21c_dwc.csv", "24_crabs_v1.txt",
             "40_ncbitax2lin.csv", "44_shift.tsv", "45_taxon_name.csv", "63_sp1.csv"]  # fmt: skip
    for path in (*paths, *(shared / "field" / name for name in names)):
        assert find_counts(path) is None, path


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.lists(st.integers(0, 10**6), min_size=3, max_size=3), min_size=1, max_size=5), st.booleans())
def test_three_samples_are_always_asked_about(tmp_path, rows, with_rank):
    head = "id\tsequence\tS1\tS2\tlake 3" + ("\tspecies" if with_rank else "")
    lines = [
        "\t".join([f"f{i}", "SEQ", *map(str, row), *(["Gadus morhua"] if with_rank else [])])
        for i, row in enumerate(rows)
    ]
    assert found(tmp_path, head, *lines) == "sequences and counts"


def test_a_few_rows_of_counts_may_look_like_years():
    years = ["1990", "2001", "2020"]
    assert not hold_counts([Column("collected", years), Column("published", years)], has_reads=False)
    assert hold_counts(
        [Column("a", years), Column("b", ["1", "0", "7"]), Column("c", ["0", "0", "7"])], has_reads=False
    )
