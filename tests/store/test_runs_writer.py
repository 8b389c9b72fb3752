"""Runs are compared with an oracle in plain Python: every record is embedded or rejected, and row i is record i."""

from __future__ import annotations

import gzip
import io
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ednabed.errors import EdnabedError, EmbeddingError, InputError, StoreError, UsageError
from ednabed.models.base import Embedder
from ednabed.models.kmer import KmerEncoder
from ednabed.models.spec import Policy
from ednabed.sequences import digest
from ednabed.store.run_writer import RunRequest, embed_to_run
from ednabed.store.runs import Run
from support import LetterEncoder, expected, letters

GOOD = "ACGTTGCATGCATGCATTGACC"


def normalised(raw: str, alphabet: str = "iupac", min_length: int = 20) -> str | None:
    """Return the sequence by the documented rules, or None if the record must be rejected."""
    out = ""
    for letter in raw.upper():
        if letter in "-.":
            continue
        letter = {"U": "T"}.get(letter, letter)
        if letter in "RYSWKMBDHV":
            if alphabet == "strict":
                return None
            letter = "N"
        if letter not in "ACGTN":
            return None
        out += letter
    return out if len(out) >= min_length and out.strip("N") else None


def oracle(files, alphabet="iupac", min_length=20, max_sequences=None, limit=None):
    """Return the expected rows (id, sequence, source) and rejections (id, source, record), in order."""
    rows, rejected = [], []
    for source, records in files.items():
        bound: dict[str, str] = {}
        for number, (name, raw) in enumerate(records, start=1):
            if len(rows) == max_sequences:
                return rows, rejected
            sequence = normalised(raw, alphabet, min_length)
            clash = sequence is not None and bound.setdefault(name, sequence) != sequence
            if sequence is None or clash or (limit is not None and len(sequence) > limit):
                rejected.append((name, source, number))
            else:
                rows.append((name, sequence, source))
    return rows, rejected


def write(folder: Path, files) -> list[Path]:
    """Write each file in the format given by its name."""
    paths = []
    for name, records in files.items():
        path = folder / name
        if ".tsv" in name:
            text = "id\tsequence\n" + "".join(f"{i}\t{s}\n" for i, s in records)
        elif ".fastq" in name:
            text = "".join(f"@{i}\n{s}\n+\n{'I' * len(s)}\n" for i, s in records)
        else:
            text = "".join(f">{i}\n{s}\n" for i, s in records)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        paths.append(path)
    return paths


def random_files(seed: int):
    rng = random.Random(seed)
    pool = ["".join(rng.choices("ACGTNacgtuRY-.", [20] * 4 + [2] * 10, k=rng.randint(10, 60))) for _ in range(25)]
    pool += ["ACGT*" * 6, "N" * 30, "ACG", "ACGTJACGTACGTACGTACGTACGT", "-" * 40 + "A"]
    files = {}
    for name in rng.sample(["a.fa", "b.fasta.gz", "c.tsv", "d.fastq", "e.tsv.gz"], rng.randint(1, 4)):
        files[name] = [(f"r{rng.randrange(30)}", rng.choice(pool)) for _ in range(rng.randint(1, 40))]
    # At least one file has a good record.
    files["z.fa"] = [("good", GOOD)]
    return files


def read_rejected(run: Run) -> list[list[str]]:
    lines = (run.folder / "rejected.tsv").read_text(encoding="utf-8").split("\n")
    assert lines[0] == "id\treason\tsource\trecord"
    assert lines[-1] == ""
    return [line.split("\t") for line in lines[1:-1]]


def check(run: Run, rows, rejected, vector_of=expected) -> None:
    assert run.verify() == []
    records = run.load_records().to_pylist()
    assert [(r["id"], r["sequence"], r["source"]) for r in records] == rows
    vectors = run.load_embeddings()
    assert vectors.dtype == np.float32
    for record, vector in zip(records, vectors, strict=True):
        np.testing.assert_allclose(vector, vector_of(record["sequence"]), atol=1e-6)
        assert record["digest"] == digest(record["sequence"].encode())
        assert record["length"] == len(record["sequence"])
        assert record["n_ambiguous"] == record["sequence"].count("N")
    told = read_rejected(run)
    assert sorted((i, s, int(n)) for i, _, s, n in told) == sorted(rejected)
    assert all(reason for _, reason, _, _ in told)
    counts = run.manifest.counts
    assert counts["embedded"] == len(rows)
    assert counts["rejected"] == len(rejected)
    assert counts["read"] == counts["embedded"] + counts["rejected"]
    assert counts["distinct"] == len({sequence for _, sequence, _ in rows})
    assert counts["ambiguous"] == sum("N" in sequence for _, sequence, _ in rows)
    assert not [p for p in run.folder.parent.iterdir() if p.name.startswith(".")]


def embed(folder: Path, paths, embedder=None, **more):
    return embed_to_run(RunRequest(paths, folder / "ws", **{"dataset": "see", **more}), embedder or letters())


@pytest.mark.parametrize("seed", range(12))
def test_runs_equal_the_oracle(tmp_path, seed):
    files = random_files(seed)
    rng = random.Random(seed)
    alphabet = rng.choice(["iupac", "strict"])
    min_length = rng.choice([1, 15, 20, 30]) if seed else 20
    if min_length > len(GOOD):
        files["z.fa"] = [("good", GOOD * 2)]
    max_sequences = rng.choice([None, None, 1, 3, 10])
    embedder = letters(Policy(alphabet=alphabet))
    result = embed(tmp_path, write(tmp_path, files), embedder, min_length=min_length, max_sequences=max_sequences)
    rows, rejected = oracle(files, alphabet, min_length, max_sequences)
    check(result.run, rows, rejected)
    assert result.computed == embedder.encoder.rows == len({s for _, s, _ in rows})
    for entry, (name, records) in zip(result.run.manifest.inputs, files.items(), strict=True):
        assert entry["name"] == name
        assert entry["accepted"] == sum(source == name for _, _, source in rows)
        assert entry["read"] == entry["accepted"] + entry["rejected"] <= len(records)


@pytest.mark.parametrize("seed", range(4))
def test_small_batches_and_windows_change_nothing(tmp_path, monkeypatch, seed):
    """All work that is done in pieces is done in pieces of a few records."""
    monkeypatch.setattr("ednabed.store.staging.BATCH_ROWS", 3)
    monkeypatch.setattr("ednabed.store.run_vectors.WINDOW_BASES", 100)
    files = random_files(100 + seed)
    for max_sequences in (None, 1, 4, 9):
        result = embed(
            tmp_path, write(tmp_path, files), dataset=f"d{max_sequences}", max_sequences=max_sequences, batch_size=2
        )
        check(result.run, *oracle(files, max_sequences=max_sequences))


def test_an_id_with_another_sequence_is_rejected_and_with_the_same_kept(tmp_path):
    other, third = GOOD[::-1], GOOD + "ACGT"
    files = {
        "a.fa": [("x", GOOD), ("x", other), ("x", GOOD.lower()), ("y", other), ("x", third)],
        "b.fa": [("x", third), ("x", GOOD), ("z", other)],
    }
    result = embed(tmp_path, write(tmp_path, files))
    check(result.run, *oracle(files))
    told = read_rejected(result.run)
    assert [row[0::3] for row in told] == [["x", "2"], ["x", "5"], ["x", "2"]]
    assert {row[1] for row in told} == {"this id occurs earlier in the file with another sequence"}


@pytest.mark.parametrize("max_sequences", [1, 2, 3, 4, 5])
def test_the_cap_counts_accepted_records_even_if_ids_clash(tmp_path, max_sequences):
    files = {
        "a.fa": [
            ("x", GOOD),
            ("x", GOOD[::-1]),
            ("short", "ACG"),
            ("y", GOOD),
            ("y", GOOD + "A"),
            ("z", GOOD + "C"),
            ("bad", "*"),
        ],
        "b.fa": [("x", GOOD + "AC"), ("y", "AC"), ("w", GOOD + "AA"), ("v", GOOD)],
    }
    result = embed(tmp_path, write(tmp_path, files), max_sequences=max_sequences)
    check(result.run, *oracle(files, max_sequences=max_sequences))


def test_records_that_the_model_refuses_are_rejected_with_their_reason(tmp_path):
    files = {
        "a.fa": [("long", "ACGT" * 10), ("x", GOOD), ("bad", "A*"), ("same", "ACGT" * 10), ("long", "ACGT" * 10)],
        "b.fa": [("long", "ACGT" * 10), ("y", GOOD + "A")],
    }
    result = embed(tmp_path, write(tmp_path, files), letters(Policy(long="reject"), max_tokens=31))
    check(result.run, *oracle(files, limit=30))
    reasons = {row[0]: row[1] for row in read_rejected(result.run)}
    assert reasons["long"] == reasons["same"] == "41 tokens, more than the 31 allowed"


def test_truncated_records_are_marked_and_counted(tmp_path):
    files = {"a.fa": [("long", "ACGT" * 10), ("x", GOOD), ("again", "ACGT" * 10)]}
    run = embed(tmp_path, write(tmp_path, files), letters(max_tokens=31)).run
    assert run.load_records(["truncated"]).column(0).to_pylist() == [True, False, True]
    assert run.manifest.counts["truncated"] == 2
    np.testing.assert_allclose(run.load_embeddings()[2], expected(("ACGT" * 10)[:30]), atol=1e-6)


def test_kmer_refuses_short_rows_with_a_reason(tmp_path):
    embedder = Embedder.from_encoder(KmerEncoder(), Policy())
    paths = write(tmp_path, {"a.fa": [("split", "ACGTN" * 6), ("x", GOOD), ("tiny", "ACGTA")]})
    run = embed(tmp_path, paths, embedder, min_length=1).run
    assert [row[0] for row in read_rejected(run)] == ["split", "tiny"]
    assert all("has no 6 consecutive bases without N" in row[1] for row in read_rejected(run))
    assert run.load_records(["id"]).column(0).to_pylist() == ["x"]


def test_input_without_any_usable_sequence_is_one_sentence_and_leaves_nothing(tmp_path):
    embedder = Embedder.from_encoder(KmerEncoder(), Policy())
    paths = write(tmp_path, {"a.fa": [("split", "ACGTN" * 6)]})
    with pytest.raises(
        EdnabedError, match=r"none of the 1 sequences in the input can be embedded by kmer6: .*without N"
    ):
        embed(tmp_path, paths, embedder)
    assert not (tmp_path / "ws").exists()


# -- columns joined to the records ----------------------------------------------------------------------------------


def test_labels_samples_and_abundance_are_kept(tmp_path):
    (tmp_path / "a.fa").write_text(f">x;size=7;sample=S1\n{GOOD}\n>y\n{GOOD}A\n>w tax=d:Eukaryota;\n{GOOD}C\n")
    (tmp_path / "l.tsv").write_text("id\ttaxonomy\nx\tAnimalia;Chordata;;;;;\nnone\tPlantae;;;;;;\n")
    run = embed(tmp_path, [tmp_path / "a.fa"], labels=tmp_path / "l.tsv").run
    records = run.load_records().to_pylist()
    assert [r["lineage"] for r in records][:2] == ["Animalia;Chordata;;;;;", None]
    assert (records[0]["abundance"], records[0]["sample"]) == (7, "S1")
    assert run.manifest.labels["name"] == "l.tsv"
    assert run.manifest.counts["labelled"] == sum(r["lineage"] is not None for r in records)


@pytest.mark.parametrize("order", [["a.tsv", "b.tsv", "c.fa"], ["c.fa", "b.tsv", "a.tsv"]])
def test_sample_columns_have_the_same_names_for_all_inputs(tmp_path, order):
    """This also holds if only one of the inputs has a column of that name."""
    (tmp_path / "a.tsv").write_text(f"id\tsequence\tsample\nx\t{GOOD}\tS1\n")
    (tmp_path / "b.tsv").write_text(f"id\tsequence\tsample\tdepth\ny\t{GOOD}A\tS2\tshallow\n")
    (tmp_path / "c.fa").write_text(f">z;sample=S2\n{GOOD}C\n")
    (tmp_path / "s.tsv").write_text("sample\tdepth\tdate\nS1\t3\t2024\nS2\t4\t2025\n")
    run = embed(tmp_path, [tmp_path / name for name in order], samples=tmp_path / "s.tsv").run
    told = {r["id"]: (r["depth"], r["depth_sample"], r["date"]) for r in run.load_records().to_pylist()}
    assert told == {"x": (None, 3, 2024), "y": ("shallow", 4, 2025), "z": (None, 4, 2025)}


@pytest.mark.parametrize("own", ["truncated", "ednabed_distinct_number"])
def test_sample_columns_with_reserved_names_have_the_same_names_for_all_inputs(tmp_path, own):
    """This also holds if an input already has the name that the renamed column would get."""
    (tmp_path / "a.tsv").write_text(f"id\tsequence\tsample\nx\t{GOOD}\tS1\n")
    (tmp_path / "b.tsv").write_text(f"id\tsequence\tsample\t{own}_input\ny\t{GOOD}A\tS2\tno\n")
    (tmp_path / "s.tsv").write_text(f"sample\t{own}\nS1\tsonde\nS2\tnet\n")
    run = embed(tmp_path, [tmp_path / "a.tsv", tmp_path / "b.tsv"], samples=tmp_path / "s.tsv").run
    told = {r["id"]: (r[f"{own}_input"], r[f"{own}_sample"]) for r in run.load_records().to_pylist()}
    assert told == {"x": (None, "sonde"), "y": ("no", "net")}


def test_changed_labels_create_another_run(tmp_path):
    paths = write(tmp_path, {"a.fa": [("x", GOOD)]})
    (tmp_path / "l.tsv").write_text("id\ttaxonomy\nx\tAnimalia;;;;;;\n")
    first = embed(tmp_path, paths, labels=tmp_path / "l.tsv")
    assert embed(tmp_path, paths, labels=tmp_path / "l.tsv").existed
    (tmp_path / "l.tsv").write_text("id\ttaxonomy\nx\tPlantae;;;;;;\n")
    second = embed(tmp_path, paths, labels=tmp_path / "l.tsv")
    assert not second.existed
    assert second.run.folder != first.run.folder


def test_inputs_with_different_columns_are_joined(tmp_path):
    (tmp_path / "a.tsv").write_text(f"id\tsequence\tdepth\tboth\nx\t{GOOD}\t12\tp\n")
    (tmp_path / "b.tsv").write_text(f"id\tsequence\tboth\tstation\ny\t{GOOD}A\tq\tS\n")
    (tmp_path / "c.fa").write_text(f">z\n{GOOD}\n")
    records = embed(tmp_path, [tmp_path / n for n in ("a.tsv", "b.tsv", "c.fa")]).run.load_records().to_pylist()
    assert [(r["depth"], r["both"], r["station"]) for r in records] == [
        ("12", "p", None),
        (None, "q", "S"),
        (None,) * 3,
    ]


@pytest.mark.parametrize("order", [("a.tsv", "b.parquet", "c.parquet"), ("c.parquet", "b.parquet", "a.tsv")])
def test_a_column_with_another_type_in_another_file_becomes_text(tmp_path, order):
    (tmp_path / "a.tsv").write_text(f"id\tsequence\tdepth\nx\t{GOOD}\tdeep\n")
    pq.write_table(pa.table({"id": ["y"], "sequence": [GOOD + "A"], "depth": [12]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"id": ["z"], "sequence": [GOOD + "C"], "depth": [1.5]}), tmp_path / "c.parquet")
    run = embed(tmp_path, [tmp_path / n for n in order]).run
    assert run.verify() == []
    by_id = {r["id"]: r["depth"] for r in run.load_records().to_pylist()}
    assert by_id["x"] == "deep"
    assert float(by_id["y"]) == 12
    assert by_id["z"] == "1.5"


def test_numbers_of_two_kinds_become_text(tmp_path):
    pq.write_table(pa.table({"id": ["y"], "sequence": [GOOD + "A"], "depth": [12]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"id": ["z"], "sequence": [GOOD + "C"], "depth": [1.5]}), tmp_path / "c.parquet")
    records = embed(tmp_path, [tmp_path / "b.parquet", tmp_path / "c.parquet"]).run.load_records()
    assert records.column("depth").to_pylist() == ["12", "1.5"]


@pytest.mark.parametrize("name", ["distinct", "truncated", "digest", "record", "source", "length", "n_ambiguous"])
def test_a_user_column_never_clashes_with_a_run_column(tmp_path, name):
    (tmp_path / "a.tsv").write_text(f"id\tsequence\t{name}\nx\t{GOOD}\tmine\ny\t{GOOD}A\tmine too\n")
    run = embed(tmp_path, [tmp_path / "a.tsv"]).run
    assert run.verify() == []
    records = run.load_records()
    assert len(set(records.schema.names)) == len(records.schema.names)
    kept = [c for c in records.schema.names if records.column(c).to_pylist() == ["mine", "mine too"]]
    assert len(kept) == 1
    assert kept[0] in (name, f"{name}_input")


def test_the_records_of_a_run_are_an_input_too(tmp_path):
    files = {"a.fa": [("x", GOOD), ("y", GOOD + "A"), ("z", GOOD)]}
    first = embed(tmp_path, write(tmp_path, files), letters(max_tokens=22)).run
    second = embed(tmp_path, [first.folder / "records.parquet"], dataset="again").run
    assert second.load_records(["id", "sequence"]).equals(first.load_records(["id", "sequence"]))
    np.testing.assert_allclose(second.load_embeddings()[1], expected(GOOD + "A"), atol=1e-6)


def test_tabs_and_line_ends_in_an_id_do_not_break_the_table_of_rejections(tmp_path):
    pq.write_table(pa.table({"id": ["a\tb\nc", "ok"], "sequence": ["AC", GOOD]}), tmp_path / "a.parquet")
    run = embed(tmp_path, [tmp_path / "a.parquet"]).run
    assert [row[0] for row in read_rejected(run)] == ["a b c"]


# -- the folder of a run, and repeated work -------------------------------------------------------------------------


def test_a_dataset_gets_a_folder_named_by_the_time(tmp_path):
    run = embed(tmp_path, write(tmp_path, {"a.fa": [("x", GOOD)]})).run
    assert run.folder.parent == tmp_path / "ws" / "consolidated_data" / "runs" / "see"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", run.folder.name)
    assert (run.manifest.dataset, run.manifest.run_id) == ("see", run.folder.name)
    plain = embed(tmp_path, [tmp_path / "a.fa"], dataset=None).run
    assert plain.manifest.dataset == "default"


def test_runs_created_in_the_same_second_get_different_names(tmp_path):
    paths = write(tmp_path, {"a.fa": [("x", GOOD)]})
    folders = {embed(tmp_path, paths, resume=False).run.folder for _ in range(4)}
    assert len(folders) == 4
    assert all(Run.open(folder).verify() == [] for folder in folders)


def test_the_same_work_twice_is_done_once(tmp_path):
    paths = write(tmp_path, {"a.fa": [("x", GOOD)], "b.fa": [("y", GOOD + "A")]})
    first = embed(tmp_path, paths)
    embedder = letters()
    again = embed(tmp_path, paths, embedder)
    assert (again.existed, again.computed, embedder.encoder.rows) == (True, 0, 0)
    assert again.run == first.run
    for change in (
        {"resume": False},
        {"min_length": 21},
        {"max_sequences": 2},
        {"dataset": "other"},
    ):
        assert not embed(tmp_path, paths, **change).existed
    assert not embed(tmp_path, paths[::-1]).existed
    assert not embed(tmp_path, paths, letters(salt=1)).existed
    assert not embed(tmp_path, paths, letters(Policy(strand="both"))).existed
    paths[0].write_text(f">x\n{GOOD}C\n")
    assert not embed(tmp_path, paths).existed
    assert embed(tmp_path, paths).existed
    assert not list((tmp_path / "ws").rglob(".*"))


def test_the_same_content_in_another_folder_is_the_same_work(tmp_path):
    paths = write(tmp_path, {"a.fa": [("x", GOOD)]})
    embed(tmp_path, paths)
    (tmp_path / "moved").mkdir()
    moved = paths[0].rename(tmp_path / "moved" / "a.fa")
    assert embed(tmp_path, [moved]).existed


def test_a_damaged_run_of_the_dataset_does_not_stop_new_work(tmp_path):
    paths = write(tmp_path, {"a.fa": [("x", GOOD)], "b.fa": [("y", GOOD)]})
    first = embed(tmp_path, paths[:1]).run
    manifest = first.folder / "run.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"ednabed.run/1", b"ednabed.run/9"))
    assert not embed(tmp_path, paths[1:]).existed
    manifest.write_bytes(b"{")
    again = embed(tmp_path, paths[:1])
    assert not again.existed
    assert again.run.verify() == []


def test_an_output_folder_is_accepted_if_missing_empty_or_the_same_run(tmp_path):
    paths = write(tmp_path, {"a.fa": [("x", GOOD)]})
    (tmp_path / "empty").mkdir()
    for name in ("absent", "empty", "deep/er"):
        output = tmp_path / name
        result = embed(tmp_path, paths, dataset=None, output=output)
        assert result.run.folder == output
        assert result.run.manifest.dataset is None
        assert embed(tmp_path, paths, dataset=None, output=output).existed
        assert {p.name for p in output.iterdir()} == {"embeddings.npy", "records.parquet", "rejected.tsv", "run.json"}
    assert not [p for p in tmp_path.rglob(".*") if "partial" in p.name]


@pytest.mark.parametrize("occupied", ["file", "folder", "run", "same run, no resume"])
def test_an_output_folder_with_other_contents_is_left_alone(tmp_path, occupied):
    paths = write(tmp_path, {"a.fa": [("x", GOOD)], "b.fa": [("y", GOOD)]})
    output = tmp_path / "out"
    if occupied == "file":
        output.write_text("precious")
    elif occupied == "folder":
        output.mkdir()
        (output / "precious").write_text("x")
    else:
        embed(tmp_path, paths[:1] if "same" in occupied else paths[1:], dataset=None, output=output)

    def state():
        return {p: p.read_bytes() if p.is_file() else None for p in [output, *output.rglob("*")]}

    before = state()
    with pytest.raises(
        StoreError, match=r"exists and (contains something else|is never overwritten); give another `output`"
    ):
        embed(tmp_path, paths[:1], dataset=None, output=output, resume="no resume" not in occupied)
    assert state() == before
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"dataset": "../x"}, "dataset name"),
        ({"dataset": "con"}, "dataset name"),
        ({"dataset": ""}, "dataset name"),
        ({"dataset": "d", "output": Path("o")}, "exclude each other"),
        ({"max_sequences": 0}, "at least 1"),
        ({"inputs": []}, "no input"),
        ({"inputs": [Path("-"), Path("-")]}, "only once"),
    ],
)
def test_requests_that_cannot_be_carried_out(tmp_path, wrong, words):
    with pytest.raises(UsageError, match=words):
        RunRequest(**{"inputs": [tmp_path / "a.fa"], "workspace": tmp_path, **wrong})


def test_standard_input(tmp_path, monkeypatch):
    def give(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    files = {"a.fa": [("x", GOOD)], "stdin": [("y", GOOD + "A"), ("bad", "AC")]}
    paths = [*write(tmp_path, {"a.fa": files["a.fa"]}), Path("-")]
    text = f">y\n{GOOD}A\n>bad\nAC\n"
    give(text)
    result = embed(tmp_path, paths)
    check(result.run, *oracle(files))
    assert [entry["name"] for entry in result.run.manifest.inputs] == ["a.fa", "stdin"]
    give(text)
    assert embed(tmp_path, paths).existed
    give(text.replace("AC\n", "ACGGACGGACGGACGGACGGACGG\n"))
    assert not embed(tmp_path, paths).existed
    give("")
    with pytest.raises(InputError, match="standard input"):
        embed(tmp_path, [Path("-")], dataset="other")


# -- inputs that cannot be read ---------------------------------------------------------------------------------------

FASTA = "".join(f">r{i}\n{GOOD}{'ACGT'[i % 4] * i}\n" for i in range(400)).encode()
BROKEN = {
    "truncated.fa.gz": gzip.compress(FASTA)[:-30],
    "truncated.fa.zst": b"\x28\xb5\x2f\xfd\x04\x00",
    "quality.fastq": f"@a\n{GOOD}\n+\n{'I' * len(GOOD)}\n@b\n{GOOD}\n+\nIII\n".encode(),
    "binary.fa": bytes(range(256)) * 40,
    "empty.fa": b"",
    "blank.fa": b"\n \n",
    "empty.fa.gz": gzip.compress(b""),
    "headers.tsv": b"id\tsequence\n",
    "none_valid.fa": b">a\nAC\n>b\nACGT*ACGT\n>c\n\n",
    "no_column.tsv": b"name\tdepth\na\t3\nb\t4\n",
    "image.png": b"\x89PNG\r\n\x1a\n" + bytes(200),
}


@pytest.mark.parametrize("name", [*BROKEN, "folder", "missing.fa"])
@pytest.mark.parametrize("company", ["alone", "last", "first"])
def test_an_input_that_cannot_be_read_is_one_sentence_and_leaves_nothing(tmp_path, name, company):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif name in BROKEN:
        path.write_bytes(BROKEN[name])
    good = write(tmp_path, {"good.fa": [("x", GOOD)]})
    paths = {"alone": [path], "last": [*good, path], "first": [path, *good]}[company]
    if name == "none_valid.fa" and company != "alone":
        assert embed(tmp_path, paths).run.manifest.counts["rejected"] == 3
        return
    embedder = letters()
    for output in (None, tmp_path / "deep" / "er"):
        with pytest.raises(InputError, match=re.escape(name)) as caught:
            embed(tmp_path, paths, embedder, dataset=None, output=output)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "ws").exists()
        assert not (tmp_path / "deep").exists()
    assert embedder.encoder.rows == 0


def test_a_broken_label_file_leaves_nothing(tmp_path):
    paths = write(tmp_path, {"a.fa": [("x", GOOD)]})
    for content in (None, b"", b"id\tdepth\nx\t3\n"):
        labels = tmp_path / "l.tsv"
        if content is not None:
            labels.write_bytes(content)
        with pytest.raises(InputError, match=r"l\.tsv"):
            embed(tmp_path, paths, labels=labels)
        assert not (tmp_path / "ws").exists()


def test_existing_files_stay_after_a_failure(tmp_path):
    embed(tmp_path, write(tmp_path, {"a.fa": [("x", GOOD)]}))
    before = sorted((tmp_path / "ws").rglob("*"))
    with pytest.raises(InputError):
        embed(tmp_path, [tmp_path / "missing.fa"])
    assert sorted((tmp_path / "ws").rglob("*")) == before


class Failing(LetterEncoder):
    """Encoder that fails on a batch with a given length, after the longer ones."""

    def forward(self, tokens):
        if 25 in tokens.lengths.tolist():
            raise MemoryError
        return super().forward(tokens)


def test_a_failing_encoder_names_the_record_and_computed_vectors_are_kept(tmp_path):
    paths = write(tmp_path, {"a.fa": [(f"r{i}", "ACGT" * 5 + "A" * i) for i in range(12)]})
    with pytest.raises(EmbeddingError, match="record 'r5': 26 tokens alone do not fit"):
        embed(tmp_path, paths, Embedder.from_encoder(Failing(), Policy()), batch_size=1)
    result = embed(tmp_path, paths, letters())
    assert (result.computed, result.taken_up) == (6, 6)
    check(result.run, *oracle({"a.fa": [(f"r{i}", "ACGT" * 5 + "A" * i) for i in range(12)]}))
    assert [entry["sequences"] for entry in result.run.manifest.compute] == [6, 6]


def test_memory_does_not_grow_with_the_sequences_held_at_once(tmp_path, monkeypatch):
    """The engine never gets more bases than one window (plus one batch of rows)."""
    monkeypatch.setattr("ednabed.store.staging.BATCH_ROWS", 16)
    monkeypatch.setattr("ednabed.store.run_vectors.WINDOW_BASES", 1000)
    given = []

    class Watching(LetterEncoder):
        def tokenize(self, sequences):
            given.append(sum(map(len, sequences)))
            return super().tokenize(sequences)

    rng = random.Random(1)
    files = {"a.fa": [(f"r{i}", "".join(rng.choices("ACGT", k=40))) for i in range(400)]}
    check(embed(tmp_path, write(tmp_path, files), Embedder.from_encoder(Watching(), Policy())).run, *oracle(files))
    assert max(given) <= 1000 + 16 * 40
    assert len(given) >= 10


@pytest.mark.parametrize("model", ["kmer6"])
def test_the_bundled_sample(tmp_path, model):
    """In real data, every record is in the run, with one computation per distinct sequence."""
    sample = Path(__file__).resolve().parents[2] / "examples" / "okex2301_12s.fasta.gz"
    text = gzip.decompress(sample.read_bytes()).decode()
    records = [
        (part.split("\n", 1)[0].split(";")[0], part.split("\n", 1)[1].replace("\n", "")) for part in text.split(">")[1:]
    ]
    result = embed(tmp_path, [sample], Embedder.from_encoder(KmerEncoder(), Policy()))
    run = result.run
    assert run.verify() == []
    assert run.load_records(["id"]).column(0).to_pylist() == [name for name, _ in records]
    assert run.load_records(["sequence"]).column(0).to_pylist() == [sequence for _, sequence in records]
    assert result.computed == len({sequence for _, sequence in records})
    np.testing.assert_allclose(np.linalg.norm(run.load_embeddings(), axis=1), 1, atol=1e-5)


def test_a_run_needs_no_torch_for_kmer(tmp_path):
    write(tmp_path, {"a.fa": [("x", GOOD)]})
    code = (
        "import sys\nfrom pathlib import Path\nfrom ednabed.engine.open import open_embedder\n"
        "from ednabed.store.run_writer import RunRequest, embed_to_run\n"
        "embed_to_run(RunRequest([Path('a.fa')], Path('ws')), open_embedder('kmer6'))\n"
        "print([m for m in ('torch', 'lancedb', 'faiss', 'sklearn', 'streamlit') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"


def test_columns_of_late_headers_are_in_the_run(tmp_path):
    """The file has plain headers, followed by a BOLD specimen after the first block that is read."""
    late = f">A-13|Gadus morhua|COI-5P|X\n{GOOD}\n>A-13|Gadus morhua|CYTB|X\n{GOOD[::-1]}\n"
    (tmp_path / "a.fasta").write_text("".join(f">r{i}\n{GOOD * 6}\n" for i in range(8_000)) + late)
    run = embed(tmp_path, [tmp_path / "a.fasta"]).run
    records = run.load_records()
    assert records.column("id").to_pylist()[-2:] == ["A-13", "A-13"]
    assert records.column("marker").to_pylist() == [None] * 8_000 + ["COI-5P", "CYTB"]
    assert records.column_names.index("marker") > records.column_names.index("record")
    assert len(run.load_embeddings()) == 8_002
