"""Source records of tables: in runs, in references however they are built, and in exports; never as reads."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ednabed.reference.build import BuildRequest, build_reference
from ednabed.reference.loose import LooseRuns
from ednabed.reference.opened import open_reference
from ednabed.reference.sources import find_sources
from ednabed.sequences import open_records
from ednabed.store.compress import compress_run
from ednabed.store.run_writer import RunRequest, embed_to_run
from ednabed.store.runs import Run, runs_root
from ednabed.taxonomy.labels import read_row_labels
from ednabed.workflows.exports import FORMATS, export_records
from reference_support import content, letters_of
from support import letters

RAT = "Animalia;Chordata;Mammalia;Rodentia;Muridae;Rattus;Rattus rattus"
BROWN = "Animalia;Chordata;Mammalia;Rodentia;Muridae;Rattus;Rattus norvegicus"
ONE, TWO = letters_of(1), letters_of(2)
WITH = f"id\tsequence\ttaxonomy\tn_records\na\t{ONE}\t{RAT}\t3\nb\t{ONE}\t{BROWN}\t\nc\t{TWO}\t{BROWN}\t40\n"
WITHOUT = f"id,sequence,taxonomy\nd,{ONE},{BROWN}\ne,{ONE},{BROWN}\n"


def embed(workspace: Path, dataset: str, files: dict[str, str], **more) -> Run:
    folder = workspace / "files" / dataset
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    for key in ("samples", "abundance"):
        if key in more:
            more[key] = folder / more[key] if key == "samples" else [folder / more[key]]
    inputs = [folder / name for name in files if name.startswith("input")]
    return embed_to_run(RunRequest(inputs, workspace, dataset=dataset, **more), letters()).run


def entries(collection) -> dict[str, list[tuple[str, int]]]:
    """The species and records of the entries of each sequence, in their order."""
    labels = read_row_labels(collection)
    bases = collection.take_sequences(np.arange(collection.rows))["sequence"].to_pylist()
    return {
        text: [
            (";".join(labels.lineages[labels.entries[e]]), int(labels.records[e]))
            for e in range(labels.starts[row], labels.starts[row + 1])
        ]
        for row, text in enumerate(bases)
    }


def test_one_run_of_inputs_with_and_without_the_column(tmp_path):
    run = embed(tmp_path, "mixed", {"input1.csv": WITHOUT, "input2.tsv": WITH, "input3.fasta": f">f\n{TWO}\n"})
    table = run.load_records(["id", "abundance", "source_records"])
    assert table.schema.field("source_records").type == pa.int64()
    assert dict(zip(*(table[name].to_pylist() for name in ("id", "source_records")), strict=True)) == {
        **{"d": None, "e": None, "a": 3, "b": None, "c": 40, "f": None}
    }
    assert table["abundance"].null_count == table.num_rows
    assert "n_records" not in run.record_schema.names
    alone = embed(tmp_path, "alone", {"input.csv": WITHOUT})
    assert "source_records" not in alone.record_schema.names


def test_a_table_of_samples_or_of_counts_does_not_give_source_records(tmp_path):
    samples = "sample\tsource_records\tn_records\nS1\t7\t8\n"
    counts = "id\tS1\tsource_records\tS2\na\t5\t90\t0\nc\t2\t90\t6\n"
    run = embed(
        tmp_path, "counted", {"input.tsv": WITH, "samples.tsv": samples, "counts.tsv": counts}, samples="samples.tsv",
        abundance="counts.tsv",
    )  # fmt: skip
    columns = ["id", "sample", "abundance", "source_records", "source_records_sample", "n_records"]
    assert [tuple(row.values()) for row in run.load_records(columns).to_pylist()] == [
        ("a", "S1", 5, 3, 7, 8),
        ("c", "S1", 2, 40, 7, 8),
        ("c", "S2", 6, 40, None, None),
    ]


@pytest.mark.parametrize("order", list(itertools.permutations(("with", "without", "fasta"))))
def test_references_of_runs_with_and_without_the_column(tmp_path, order):
    files = {"with": {"input.tsv": WITH}, "without": {"input.csv": WITHOUT}, "fasta": {"input.fa": f">f\n{TWO}\n"}}
    for dataset in order:
        run = embed(tmp_path, dataset, files[dataset])
        build_reference(BuildRequest(tmp_path, incremental=True))
        if dataset == "with":
            before = run.load_records()
            compress_run(run)
            assert Run.open(run.folder).load_records() == before
    grown = open_reference(tmp_path / "data" / "reference")
    made = open_reference(build_reference(BuildRequest(tmp_path, output=Path("scratch"))).folder)
    loose = LooseRuns(find_sources(runs_root(tmp_path), tmp_path).sources)
    assert content(grown) == content(made) == content(loose)
    for collection in (grown, made, loose):
        assert collection.record_schema.field("source_records").type == pa.int64()
        # RAT has 3 of one record; BROWN one of each of three records.
        assert {text: sorted(found) for text, found in entries(collection).items()} == {
            ONE: [(BROWN, 3), (RAT, 3)],
            TWO: [(BROWN, 40)],
        }


@pytest.mark.parametrize("format", [name for name in FORMATS if name not in ("h5ad", "mdt", "faire")])
def test_exports_do_not_take_them_for_reads(tmp_path, format):
    written = []
    for name in ("n_records", "note"):
        workspace = tmp_path / name
        embed(workspace, "lake", {"input.tsv": WITH.replace("n_records", name)})
        target = workspace / "out"
        report = export_records(LooseRuns(find_sources(runs_root(workspace), workspace).sources), target, format)
        content_ = target.read_bytes() if format in ("fasta", "krona") else b""
        written.append((report.records, report.sequences, report.samples, report.reads, content_))
    assert written[0] == written[1]


@pytest.mark.parametrize("format", ["tsv", "parquet"])
def test_an_exported_table_is_read_back_with_its_source_records(tmp_path, format):
    embed(tmp_path, "lake", {"input.tsv": WITH})
    target = tmp_path / f"out.{format}"
    export_records(LooseRuns(find_sources(runs_root(tmp_path), tmp_path).sources), target, format)
    with open_records(target) as records:
        rows = [row for batch in records for row in batch.to_pylist()]
    assert {row["id"]: (row["source_records"], row["abundance"]) for row in rows} == {
        **{"a": (3, None), "b": (None, None), "c": (40, None)}
    }
