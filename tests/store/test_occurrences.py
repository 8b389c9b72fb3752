"""Counts joined to records: every read of a table is in the run, or is reported."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ednabed.errors import InputError
from ednabed.models.spec import Policy
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
    """``max_sequences`` counts records of the input, and then nothing is said of what was not read."""
    table = "id\tS1\tS2\na\t1\t2\nb\t3\t4\nc\t5\t6\n"
    run = embed(tmp_path, [(name, SEQUENCES[i]) for i, name in enumerate("abc")], table, max_sequences=2)
    assert run.load_records(["abundance"]).column(0).to_pylist() == [1, 2, 3, 4]
    assert run.manifest.inputs[0]["accepted"] == 2


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="none of the sequences"):
        embed(tmp_path, [("a", SEQUENCES[0])], "id\tS1\nb\t1\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.fasta", "t0.tsv"]
