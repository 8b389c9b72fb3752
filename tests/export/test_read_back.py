"""Exports are read back by ednabed: the same lineages, reads and samples, for any names."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ednabed.api.manager import DataManager
from ednabed.export.spreadsheet import safe_cell
from ednabed.sequences import open_records
from ednabed.sequences.counts import read_count_table
from ednabed.sequences.labels import read_labels
from ednabed.workflows.exports import ExportOptions, export_records
from reference_support import letters_of, write_run

KINGDOMS = ("Animalia", "Fungi", "Plantae", "Chromista", "Bacteria", "")
NAMES = st.sampled_from(
    [
        "", "Chordata", "Ascomycota", "Élevée", "Müllerella", "Incirrata (sub)", "Clade [A]", "R-7 group", "Ж-порядок",
        'Group "B"', "Dothideomycetes'", "Candidatus Bar", "BOLD:AAA1234", "OLI11007", "10-12 clade",
    ]
)  # fmt: skip
GENERA = st.sampled_from(["", "Rattus", "Øysteria", "Ångstroemia", "Candidatus Phytoplasma", "Salix"])
EPITHETS = st.sampled_from(
    [
        "rattus", "sp. 1", "sp. SH1234.10FU", "cf. riparius", "aff. mus", "× rubens", "nova-zelandiae", "var. alba",
        "alba subsp. minor", "naïvus", "sp. BOLD:AAA1234", 'sp. "north"', "[x] major", "(Sub) minor", "d'urvillei",
        "x-album", "sp. 'A' 2", "coli K-12",
    ]
)  # fmt: skip


@st.composite
def lineages(draw) -> str | None:
    if draw(st.integers(0, 4)) == 0:
        return None
    genus = draw(GENERA)
    species = f"{genus} {draw(EPITHETS)}" if genus and draw(st.booleans()) else ""
    names = [draw(st.sampled_from(KINGDOMS)), *(draw(NAMES) for _ in range(4)), genus, species]
    return ";".join(names) if any(names) else None


RECORDS = st.lists(
    st.tuples(
        st.integers(0, 3), lineages(), st.sampled_from(["S1", "S 2", "Ø3", "a/b", "x'y"]), st.integers(1, 9_000)
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda record: (record[0], record[2]),
)  # fmt: skip


class Study:
    """Build a run of generated records in which each sequence has one lineage."""

    def __init__(self, folder: Path, records) -> None:
        first: dict[int, str | None] = {}
        self.records = [(n, first.setdefault(n, lineage), sample, reads) for n, lineage, sample, reads in records]
        self.lineage = {letters_of(n): first[n] for n in first}
        numbers = [n for n, *_ in self.records]
        self.ids = {letters_of(n): f"ASV{n}" for n in numbers}
        columns = {
            "id": [f"ASV{n}" for n in numbers],
            "lineage": pa.array([lineage for _, lineage, *_ in self.records], pa.string()),
            "sample": [sample for _, _, sample, _ in self.records],
            "abundance": pa.array([reads for *_, reads in self.records], pa.int64()),
        }
        run = write_run(folder / "run", numbers, columns=columns)
        self.collection = DataManager(folder).loose_runs([run.folder])
        self.folder = folder

    def export(self, format: str, name: str, **more) -> Path:
        export_records(self.collection, self.folder / name, format, options=ExportOptions(**more))
        return self.folder / name

    @property
    def reads(self) -> dict[tuple[str, str], int]:
        """Return the reads by bases and sample."""
        return {(letters_of(n), sample): reads for n, _, sample, reads in self.records}


def back(path: Path) -> tuple[dict[str, str | None], dict[tuple[str, str], int]]:
    """Return the lineages by bases, and the reads by bases and sample."""
    with open_records(path) as batches:
        rows = pa.Table.from_batches(list(batches)).select(["sequence", "lineage", "sample", "abundance"]).to_pylist()
    lineage = {row["sequence"].decode(): row["lineage"] for row in rows}
    reads = Counter()
    for row in rows:
        reads[row["sequence"].decode(), row["sample"]] += row["abundance"]
    return lineage, dict(reads)


SETTINGS = settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@SETTINGS
@given(RECORDS)
def test_tables_can_be_read_back(tmp_path_factory, records):
    study = Study(tmp_path_factory.mktemp("back"), records)
    assert back(study.export("parquet", "x.parquet")) == (study.lineage, study.reads)
    found, reads = back(study.export("tsv", "x.tsv"))
    assert reads == study.reads
    for bases, lineage in study.lineage.items():
        # Cells that a spreadsheet would execute have an apostrophe in front; use Parquet to read data back.
        if lineage is None or all(safe_cell(name) == name for name in lineage.split(";")):
            assert found[bases] == lineage


@SETTINGS
@given(RECORDS)
def test_an_archive_can_be_read_back(tmp_path_factory, records):
    study = Study(tmp_path_factory.mktemp("back"), records)
    assert back(study.export("dwc", "x.zip")) == (study.lineage, study.reads)


@SETTINGS
@given(RECORDS)
def test_qiime2_can_be_read_back(tmp_path_factory, records):
    study = Study(tmp_path_factory.mktemp("back"), records)
    folder = study.export("qiime2", "q")
    labels = read_labels(folder / "taxonomy.tsv")
    assert {bases: labels.get(id) for bases, id in study.ids.items()} == study.lineage
    for name in ("feature-table.tsv", "feature-table.biom"):
        counts = read_count_table(folder / name)
        found = {
            (bases, counts.samples[place]): count
            for bases, id in study.ids.items()
            for place, count in counts.counts_of(id).items()
        }
        assert found == study.reads
    with open_records(folder / "sequences.fasta", labels=labels) as batches:
        rows = pa.Table.from_batches(list(batches)).to_pylist()
    assert {row["sequence"].decode(): row["lineage"] for row in rows} == study.lineage


def test_a_feature_of_a_fasta_can_be_read_back(tmp_path):
    study = Study(tmp_path, [(0, None, "S1", 3), (0, None, "S2", 4), (1, None, "S1", 5)])
    text = study.export("fasta", "x.fasta").read_text()
    assert re.findall(r">(\S+)", text) == ["ASV0;size=7", "ASV1;size=5"]
    with open_records(tmp_path / "x.fasta") as batches:
        rows = pa.Table.from_batches(list(batches)).to_pylist()
    assert [(row["id"], row["abundance"]) for row in rows] == [("ASV0", 7), ("ASV1", 5)]


@pytest.mark.parametrize("format", ["tsv", "parquet"])
def test_distinct_tables_can_be_read_back(tmp_path, format):
    study = Study(tmp_path, [(0, "Animalia;;;;;Rattus;Rattus sp. 1", "S1", 3), (1, None, "S1", 5)])
    lineage, _ = back(study.export(format, f"x.{format}"))
    assert lineage == study.lineage
