import os
from pathlib import Path

import pytest

from ednabed.sequences import normalise, open_records, read_labels

SHARED = Path(os.environ.get("EDNABED_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
SAMPLES = SHARED / "data" / "samples"

pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the real samples are not here (EDNABED_SHARED)")


def tally(name, **options):
    accepted = rejected = reads = 0
    with open_records(SAMPLES / name, **options) as records:
        for batch in records:
            good, bad = normalise(batch)
            accepted += good.num_rows
            rejected += bad.num_rows
            reads += sum(filter(None, good["abundance"].to_pylist()))
        return accepted, rejected, reads, records.labelled


def test_asvs_with_their_reads():
    assert tally("okex2301_12s_asv.fasta.gz") == (438, 0, 4_730_689, 0)
    assert tally("okex2301_18sv9_asv.fasta.gz") == (10_998, 0, 20_841_001, 0)


def test_labels_of_the_authors():
    labels = read_labels(SAMPLES / "okex2301_12s_author_assignments.tsv.gz")
    assert tally("okex2301_12s_asv.fasta.gz", labels=labels)[3] == len(labels) == labels.matched
    assert labels["67ff5be1871ce74f53578eccadcbc170"].endswith(";Anoplopoma;Anoplopoma fimbria")


@pytest.mark.parametrize(
    ("name", "accepted", "rejected"),
    [
        ("canopy_coi_T4_merged.fastq.gz", 3_664, 0),
        ("demo_coi_2000.fasta.gz", 2_000, 0),
        ("demo_12s_1000.fasta.gz", 1_000, 0),
        ("mifish_12s_DRR126155_R1.fastq.gz", 6_713, 1),
        ("wolf_diet_12s_F.fastq.gz", 45_276, 0),
    ],
)
def test_counts(name, accepted, rejected):
    assert tally(name)[:2] == (accepted, rejected)


def test_table_keeps_its_columns_and_lineages():
    with open_records(SHARED / "data" / "its.tsv.gz") as records:
        batches = list(records)
    assert sum(batch.num_rows for batch in batches) == 15_575
    assert batches[0].schema.names[8:] == ["source_records", "marker", "source_input", "licence"]
    genera = [lineage.split(";")[5] for batch in batches for lineage in batch["lineage"].to_pylist()]
    assert all(genera)
    assert len(set(genera)) == 1_539
