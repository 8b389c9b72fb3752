"""Counts are joined to records: every read of a table is in the run or reported."""

from __future__ import annotations

import csv
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ednabed.errors import InputError
from ednabed.models.spec import Policy
from ednabed.sequences.counts import CountTable
from ednabed.store import occurrences
from ednabed.store.run_writer import RunRequest, embed_to_run
from support import letters

SEQUENCES = [letter * 20 + "ACGT" * 3 for letter in "ACGT"] + ["GATTACA" * 4, "ACG"]


def embed(folder: Path, records: list[tuple[str, str]], *tables: str, policy: Policy | None = None, **more):
    (folder / "a.fasta").write_text("".join(f">{name}\n{sequence}\n" for name, sequence in records))
    paths = [folder / f"t{number}.tsv" for number in range(len(tables))]
    for path, table in zip(paths, tables, strict=True):
        path.write_text(table)
    request = RunRequest([folder / "a.fasta"], folder, abundance=paths, resume=False, **more)
    return embed_to_run(request, letters(policy, max_tokens=60)).run


def rejected_of(run) -> dict[str, str]:
    with (run.folder / "rejected.tsv").open() as file:
        return {row["id"]: row["reason"] for row in csv.DictReader(file, delimiter="\t")}


names = st.lists(st.sampled_from([f"asv{i}" for i in range(8)]), min_size=1, max_size=6, unique=True)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(names, names, st.data())
def test_every_read_is_in_the_run_or_reported(tmp_path, in_fasta, in_table, data):
    records = [(name, data.draw(st.sampled_from(SEQUENCES))) for name in in_fasta]
    counts = {name: [data.draw(st.integers(0, 3)) for _ in range(2)] for name in in_table}
    table = "id\tS1\tS2\n" + "".join(f"{name}\t{one}\t{two}\n" for name, (one, two) in counts.items())
    wanted = {
        (name, sample): reads
        for name, sequence in records
        for sample, reads in zip(("S1", "S2"), counts.get(name, ()), strict=False)
        if reads and len(sequence) >= 20
    }
    if not wanted:
        return
    run = embed(tmp_path, records, table)
    got = run.load_records(["id", "sample", "abundance", "sequence", "record"])
    keys = list(zip(got.column("id").to_pylist(), got.column("sample").to_pylist(), strict=True))
    assert dict(zip(keys, got.column("abundance").to_pylist(), strict=True)) == wanted
    assert len(keys) == len(wanted)
    assert keys == sorted(keys, key=lambda key: (in_fasta.index(key[0]), key[1]))
    assert [in_fasta[record - 1] for record in got.column("record").to_pylist()] == [name for name, _ in keys]
    counted = run.manifest.counts
    total = sum(map(sum, counts.values()))
    assert counted["reads"] + counted["reads_without_sequence"] + counted["reads_rejected"] == total
    assert counted["features_without_sequence"] == len(set(in_table) - set(in_fasta))
    assert counted["read"] == counted["embedded"] + counted["rejected"]
    rejected = rejected_of(run)
    assert set(rejected) == set(in_fasta) - {name for name, _ in keys}
    assert all(rejected[name] for name in rejected)
    (source,) = run.manifest.inputs
    assert source["accepted"] + source["rejected"] == source["read"] == len(records)
    assert run.verify() == []


def test_a_record_that_the_model_refuses_is_rejected_once(tmp_path):
    table = "id\tS1\tS2\tS3\nlong\t5\t6\t7\nx\t1\t1\t1\n"
    records = [("long", "ACGT" * 30), ("x", SEQUENCES[0])]
    run = embed(tmp_path, records, table, policy=Policy(long="reject"))
    assert (run.folder / "rejected.tsv").read_text().count("\n") == 2
    counts = run.manifest.counts
    assert (counts["embedded"], counts["rejected"], counts["read"]) == (3, 1, 4)
    assert (counts["reads"], counts["reads_rejected"], counts["samples"]) == (3, 18, 3)


def test_rows_are_written_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(occurrences, "_ROWS", 7)
    samples = [f"S{i}" for i in range(50)]
    table = "\t".join(["id", *samples]) + "\n" + "".join("\t".join([name, *["2"] * 50]) + "\n" for name in "xyz")
    run = embed(tmp_path, [(name, SEQUENCES[i]) for i, name in enumerate("xyz")], table)
    got = run.load_records(["id", "sample"])
    assert got.column("id").to_pylist() == [name for name in "xyz" for _ in samples]
    assert got.column("sample").to_pylist() == samples * 3


def test_the_first_records_with_counts(tmp_path):
    """``max_sequences`` counts input records, and unread records are then not reported."""
    table = "id\tS1\tS2\na\t1\t2\nb\t3\t4\nc\t5\t6\n"
    run = embed(tmp_path, [(name, SEQUENCES[i]) for i, name in enumerate("abc")], table, max_sequences=2)
    assert run.load_records(["abundance"]).column(0).to_pylist() == [1, 2, 3, 4]
    assert run.manifest.inputs[0]["accepted"] == 2


def test_features_without_a_sequence_are_unknown_if_the_input_was_not_read_to_its_end(tmp_path, caplog):
    """Otherwise the figures for records after the last accepted one would depend on the batch size."""
    table = "id\tS1\tS2\n" + "".join(f"f{i}\t{i % 2}\t{i % 2}\n" for i in range(8)) + "other\t5\t5\n"
    records = [(f"f{i}", SEQUENCES[i % 5] if i != 5 else "ACG") for i in range(8)]
    run = embed(tmp_path, records, table, max_sequences=2)
    counts = run.manifest.counts
    keys = ("read", "embedded", "rejected", "features_without_reads", "reads_rejected")
    assert [counts[key] for key in keys] == [6, 4, 2, 2, 0]
    assert not {"features_without_sequence", "reads_without_sequence"} & set(counts)
    assert "no sequence in the input" not in caplog.text
    counts = embed(tmp_path, records, table, max_sequences=3).manifest.counts
    assert (counts["reads"], counts["reads_rejected"], counts["rejected"]) == (6, 2, 5)
    counts = embed(tmp_path, records, table, max_sequences=50).manifest.counts
    assert (counts["features_without_sequence"], counts["reads_without_sequence"]) == (1, 10)


def test_a_rejected_record_is_found_by_its_sequence(tmp_path):
    """In a table that names features by their sequences, it is then not a feature without a sequence."""
    sequences = ["GATTACA" * 4, "ACGT" * 5 + "AC"]
    table = "sample,{},{}\nS1,3,1\nS2,0,5\n".format(*sequences)
    run = embed(tmp_path, [("ASV1", sequences[0]), ("ASV2", sequences[1].lower())], table, min_length=25)
    counts = run.manifest.counts
    assert (counts["reads"], counts["reads_rejected"], counts["reads_without_sequence"]) == (3, 6, 0)


def test_two_transposed_tables_with_the_same_samples(tmp_path):
    records = [("a", SEQUENCES[0]), ("b", SEQUENCES[1])]
    with pytest.raises(InputError, match=r"t1.tsv: has reads of 'a' in sample 'S1', and .*t0.tsv has reads of 'a'"):
        embed(tmp_path, records, "sample\ta\tb\nS1\t1\t2\nS2\t3\t4\n", "sample\ta\tb\nS1\t1\t0\nS3\t3\t4\n")
    run = embed(tmp_path, records, "sample\ta\tb\nS1\t1\t2\n", "sample\ta\tb\nS3\t3\t4\n")
    assert run.manifest.counts["reads"] == 10


def test_expanding_holds_few_rows(tmp_path):
    """Memory use does not grow with the number of samples times the records of a batch."""
    samples, features = 3_000, 200
    table = CountTable(
        "t", tuple(f"s{i}" for i in range(samples)), (), {f"f{i}": i for i in range(features)},
        np.arange(features + 1) * samples, np.tile(np.arange(samples), features),
        np.ones(samples * features, np.int64),
    )  # fmt: skip
    counts = occurrences.Occurrences([table])
    columns = {
        "id": [f"f{i}" for i in range(features)], "sequence": ["ACGT"] * features,
        "digest": [f"d{i}" for i in range(features)], "source": ["x"] * features, "record": list(range(features)),
        "lineage": pa.nulls(features, pa.string()), "sample": pa.nulls(features, pa.string()),
        "abundance": pa.nulls(features, pa.int64()),
    }  # fmt: skip
    kept, _ = counts.split(pa.RecordBatch.from_pydict(columns))
    tracemalloc.start()
    sizes = [len(batch) for batch in counts.expand(kept)]
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(sizes) == samples * features and max(sizes) <= occurrences._ROWS
    assert most < 8 * samples * features / 2


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="none of the sequences"):
        embed(tmp_path, [("a", SEQUENCES[0])], "id\tS1\nb\t1\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.fasta", "t0.tsv"]
