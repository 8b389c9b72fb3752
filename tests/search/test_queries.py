"""Queries: the right vector, sequence and key for each, in the order of the input, or a message with the reason."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ednabed.engine.embed import Engine
from ednabed.engine.open import open_embedder
from ednabed.errors import EdnabedError, InputError, ModelError, StoreError
from ednabed.models.spec import Policy
from ednabed.reference.loose import LooseRuns
from ednabed.reference.sources import find_sources
from ednabed.search import queries as module
from ednabed.search.queries import QueryBatch, by_files, by_id, by_run, by_sequence, embedder_for
from ednabed.sequences import digest
from ednabed.store.compress import compress_run
from ednabed.store.runs import RECORDS, Run, runs_root
from reference_support import (
    DIMENSION,
    SPEC,
    add_run,
    consolidate,
    legacy,
    letters_of,
    opened,
    vector_of,
    write_run,
)
from support import expected, letters

GOOD = "ACGTTGCATGCATGCATTGACC"
LABEL = ("see", "r")


def loose(workspace: Path) -> LooseRuns:
    return LooseRuns(find_sources(runs_root(workspace), workspace).sources)


def only(batch: QueryBatch):
    """The one query of a batch, and its vector."""
    assert (len(batch.queries), batch.searchable, len(batch.vectors)) == (1, [0], 1)
    assert batch.vectors.dtype == np.float32
    return batch.queries[0], batch.vectors[0]


# -- the embedder ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "policy"),
    [
        ("kmer6", Policy()),
        ("kmer6-full", Policy(strand="both", alphabet="strict")),
        ("v2", Policy()),
        ("v2", Policy(layer=1, pooling="cls", max_tokens=7, strand="both", long="window", alphabet="strict")),
        ("v1", Policy(pooling="mean-no-cls", long="reject")),
    ],
)
def test_the_embedder_is_the_one_that_made_the_collection(shared, model, policy):
    where = model if model.startswith("kmer") else str(shared / "golden" / "nt_tiny" / model)
    spec = open_embedder(where, policy).spec
    embedder = embedder_for(spec, "the reference", None if where == model else where)
    assert embedder.spec == spec
    assert embedder.policy == replace(
        policy, layer=spec.layer, pooling=None if where == model else spec.pooling, max_tokens=spec.max_tokens
    )


@pytest.mark.parametrize(
    ("spec", "model", "error", "words"),
    [
        (
            SPEC,
            None,
            StoreError,
            "was built with 'hand', and hand cannot be used as this model .*as `model`",
        ),
        (SPEC, "kmer6", StoreError, "kmer6 cannot be used as this model"),
        (
            "kmer6",
            "kmer6-full",
            StoreError,
            r"full has fingerprint \w{12}, the reference was built with \w{12}: ",
        ),
        ("kmer6", "nowhere/at/all", ModelError, "the query needs too: nowhere/at/all: the folder does not exist"),
        ("kmer6", "nt-v2-50m", ModelError, "weights of nt-v2-50m are not on this machine; run 'ednabed models fetch"),
    ],
)
def test_no_other_model_is_accepted(monkeypatch, tmp_path, spec, model, error, words):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    spec = open_embedder(spec).spec if isinstance(spec, str) else spec
    with pytest.raises(error, match=words):
        embedder_for(spec, "the reference", model)


def test_the_same_network_with_other_weights_is_refused(shared):
    tiny = shared / "golden" / "nt_tiny"
    spec = open_embedder(str(tiny / "v2")).spec
    with pytest.raises(StoreError, match="their vectors cannot be compared"):
        embedder_for(replace(spec, weights="sha256:0"), "the reference", str(tiny / "v2"))


# -- pasted sequences ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [GOOD, GOOD.lower(), GOOD.replace("T", "U"), f">name\n{GOOD[:9]}\n{GOOD[9:]}\n", "ACGT"]
)
def test_pasted_sequences(text):
    query, vector = only(by_sequence(letters(), text))
    sequence = "ACGT" if text == "ACGT" else GOOD
    assert query.info == {"id": "query", "length": len(sequence)}
    assert query.sequence == sequence
    np.testing.assert_allclose(vector, expected(sequence), atol=1e-6)


def test_a_pasted_sequence_has_the_key_of_the_record_with_the_same_bases(tmp_path):
    add_run(tmp_path, *LABEL, [1, 2, 3])
    for text in (letters_of(2), letters_of(2).lower(), f"{letters_of(2)[:5]}--{letters_of(2)[5:]}"):
        assert only(by_sequence(letters(), text))[0].key == loose(tmp_path).keys[1]


@pytest.mark.parametrize(
    ("text", "policy", "words"),
    [
        ("", Policy(), "it is empty"),
        ("NNNN", Policy(), "no A, C, G or T"),
        ("ACGT!", Policy(), "'!' at position 5"),
        ("ACGTR", Policy(alphabet="strict"), "'R' at position 5"),
        (GOOD, Policy(max_tokens=5, long="reject"), "cannot be embedded by letters: "),
    ],
)
def test_sequences_that_cannot_be_searched(text, policy, words):
    with pytest.raises(EdnabedError, match=words):
        by_sequence(letters(policy, max_tokens=100), text)


# -- a record of a run -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["npy", "npz", "f16"])
def test_a_record_by_its_number_and_by_its_id(tmp_path, form):
    numbers = [4, 5, 4, 6]
    vectors = np.array(np.stack([vector_of(n) for n in numbers]), np.float16).astype(np.float32)
    run = add_run(tmp_path, *LABEL, numbers, vectors=vectors)
    if form != "npy":
        compress_run(run, half=form == "f16", delete_original=True)
        run = Run.open(run.folder)
    collection = loose(tmp_path)
    for row, number in enumerate(numbers):
        for batch in (by_run(run, LABEL, row, None), by_run(run, LABEL, None, f"r-{row}")):
            query, vector = only(batch)
            told = {"id": f"r-{row}", "run": "see/r", "dataset": "see", "run_id": "r", "seq_idx": row}
            assert query.info == told
            assert query.sequence == letters_of(number)
            assert query.key == collection.keys[[4, 5, 6].index(number)]
            np.testing.assert_array_equal(vector, vectors[row])


def test_only_the_row_group_with_the_record_is_read(tmp_path, monkeypatch):
    run = add_run(tmp_path, *LABEL, range(20))
    table = pq.read_table(run.folder / RECORDS)
    pq.write_table(table, run.folder / RECORDS, row_group_size=6)
    read = []
    real = pq.ParquetFile.read_row_group

    def noted(self, group, **more):
        read.append(group)
        return real(self, group, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", noted)
    monkeypatch.setattr(Run, "load_records", None)
    for row in range(20):
        assert only(by_run(run, LABEL, row, None))[0].sequence == letters_of(row)
    assert read == [row // 6 for row in range(20)]


@pytest.mark.parametrize("seq_idx", [-1, 3, 10**9])
def test_a_number_that_no_record_has(tmp_path, seq_idx):
    run = add_run(tmp_path, *LABEL, [1, 2, 3])
    with pytest.raises(StoreError, match=f"see/r has records 0 to 2, not {seq_idx}"):
        by_run(run, LABEL, seq_idx, None)
    run = write_run(tmp_path / "none", [], vectors=np.zeros((0, DIMENSION)))
    with pytest.raises(StoreError, match=f"none has no records, not {seq_idx}"):
        by_run(run, LABEL, seq_idx, None)


@pytest.mark.parametrize(("value", "words"), [(0, "all zeros"), (np.nan, "not finite"), (np.inf, "not finite")])
def test_a_vector_without_direction(tmp_path, value, words):
    vectors = np.ones((3, DIMENSION), np.float32)
    vectors[1] = value
    run = add_run(tmp_path, *LABEL, [1, 2, 3], vectors=vectors)
    with pytest.raises(StoreError, match=f"vector 1 is {words}, so nothing is similar to it"):
        by_run(run, LABEL, 1, None)
    only(by_run(run, LABEL, 2, None))


def test_ids_of_a_run(tmp_path):
    ids = ["x", "x", "y", "y", None, *"zzzzzzzz"]
    numbers = [1, 1, 2, 3, 4, *range(10, 18)]
    columns = {"id": ids, "source": [f"{n}.fa" for n in numbers]}
    run = add_run(tmp_path, *LABEL, numbers, columns=columns)
    # The same sequence twice is one sequence.
    assert only(by_run(run, LABEL, None, "x"))[0].info["seq_idx"] == 0
    with pytest.raises(StoreError, match=r"2 sequences with id 'y'; choose one by `seq_idx`: 2 \(2.fa\), 3 \(3.fa\)$"):
        by_run(run, LABEL, None, "y")
    with pytest.raises(StoreError, match=r"8 sequences with id 'z'; .*: 5 \(10.fa\), .*, 10 \(15.fa\) or another$"):
        by_run(run, LABEL, None, "z")
    for absent in ("", "X", "None"):
        with pytest.raises(StoreError, match=f"see/r has no record with id '{absent}'"):
            by_run(run, LABEL, None, absent)


def test_records_that_are_damaged_or_too_few(tmp_path):
    run = add_run(tmp_path, *LABEL, [1, 2, 3])
    table = pq.read_table(run.folder / RECORDS)
    pq.write_table(table.slice(0, 2), run.folder / RECORDS)
    with pytest.raises(StoreError, match=r"records\.parquet has 2 records, so record 2 is lost"):
        by_run(run, LABEL, 2, None)
    pq.write_table(pa.table({"id": ["a", "b", "c"]}), run.folder / RECORDS)
    with pytest.raises(StoreError, match=r"records\.parquet has no column 'digest'"):
        by_run(run, LABEL, 2, None)
    (run.folder / RECORDS).write_bytes(b"PAR1")
    for where in ((1, None), (None, "x")):
        with pytest.raises(StoreError, match=r"records\.parquet cannot be read"):
            by_run(run, LABEL, *where)
    (run.folder / RECORDS).unlink()
    for where in ((1, None), (None, "x")):
        with pytest.raises(StoreError, match=r"records\.parquet"):
            by_run(run, LABEL, *where)


def test_a_record_of_an_older_tool_is_identified_by_its_number(tmp_path):
    vectors = np.stack([vector_of(n) for n in range(3)])
    run = Run.open(legacy(tmp_path / "old" / "r", vectors, "npz"))
    query, vector = only(by_run(run, ("old", "r"), 2, None))
    assert (query.info["id"], query.info["seq_idx"], query.sequence) == (None, 2, None)
    np.testing.assert_array_equal(vector, vectors[2])
    assert query.key != only(by_run(run, ("old", "r"), 1, None))[0].key
    with pytest.raises(StoreError, match="created by an older tool, so its rows have no ids"):
        by_run(run, ("old", "r"), None, "x")


# -- a record of the collection --------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", [True, False])
def test_ids_of_a_collection(tmp_path, reference):
    add_run(tmp_path, "a", "r", [1, 2, 1, 3], columns={"id": ["x", "y", "x", None]})
    add_run(tmp_path, "b", "r", [5, 1, 6, 7], columns={"id": ["y", "x", "y", "y"]})
    add_run(tmp_path, "c", "r", [8, *range(10, 18)], columns={"id": ["only", *"zzzzzzzz"]})
    consolidate(tmp_path)
    collection = opened(tmp_path) if reference else loose(tmp_path)
    for record_id, number, where in (("x", 1, ("a", 0)), ("only", 8, ("c", 0))):
        query, vector = only(by_id(collection, record_id))
        assert query.info == {"id": record_id, "dataset": where[0], "run_id": "r", "seq_idx": where[1]}
        assert query.sequence == letters_of(number)
        sequences = collection.take_sequences(np.arange(collection.rows)).column("sequence").to_pylist()
        assert query.key == collection.keys[sequences.index(letters_of(number))]
        np.testing.assert_array_equal(vector, vector_of(number))
    # One record of each sequence, with the parameters that choose it.
    with pytest.raises(StoreError) as told:
        by_id(collection, "y")
    assert str(told.value).endswith(
        "has 4 sequences with id 'y'; choose one by `run` a/r `seq_idx` 1, `run` b/r `seq_idx` 0, "
        "`run` b/r `seq_idx` 2, `run` b/r `seq_idx` 3"
    )
    with pytest.raises(StoreError, match=r"8 sequences with id 'z'; .*`seq_idx` 6 or another$"):
        by_id(collection, "z")
    for absent in ("", "X", "None"):
        with pytest.raises(StoreError, match=f"has no record with id '{absent}'"):
            by_id(collection, absent)


@pytest.mark.parametrize("reference", [True, False])
def test_the_message_lists_every_sequence_of_an_id_even_if_one_occurs_often(tmp_path, reference):
    add_run(tmp_path, "a", "r", [1] * 8 + [2], columns={"id": ["x"] * 9})
    consolidate(tmp_path)
    with pytest.raises(StoreError, match=r"choose one by `run` a/r `seq_idx` 0, `run` a/r `seq_idx` 8$"):
        by_id(opened(tmp_path) if reference else loose(tmp_path), "x")


def test_runs_of_older_tools_have_no_ids(tmp_path):
    legacy(runs_root(tmp_path) / "old" / "r", np.ones((2, DIMENSION), np.float32))
    from ednabed.store.versions import register, tag_run

    register(tmp_path, "v1", SPEC)
    tag_run(tmp_path, Run.open(runs_root(tmp_path) / "old" / "r"), "v1", assume=True)
    with pytest.raises(StoreError, match="has no record with id 'x'"):
        by_id(loose(tmp_path), "x")


# -- files -----------------------------------------------------------------------------------------------------------


def file_of(seed: int) -> list[tuple[str, str]]:
    """Records, of which some cannot be searched and some are duplicated."""
    rng = random.Random(seed)
    records = []
    for i in range(rng.randrange(1, 40)):
        sequence = "".join(rng.choice("ACGTacgtUN") for _ in range(rng.randrange(30, 45)))
        sequence = rng.choice([sequence, sequence, sequence, GOOD + GOOD, sequence[:10], sequence + "!", "N" * 30, ""])
        records.append((f"q{rng.choice([i, 0])}", sequence))
    return records


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3), st.integers(1, 9), st.sampled_from(["fa", "fq", "tsv"])
)
def test_every_record_of_files_is_a_query_in_their_order(tmp_path_factory, seeds, at_once, kind):
    folder = tmp_path_factory.mktemp("in")
    files = {folder / f"{i}.{kind}": file_of(seed) for i, seed in enumerate(seeds)}
    for path, records in files.items():
        if kind == "tsv":
            path.write_text("id\tsequence\n" + "".join(f"{i}\t{s}\n" for i, s in records))
        elif kind == "fq":
            path.write_text("".join(f"@{i}\n{s}\n+\n{'I' * len(s)}\n" for i, s in records))
        else:
            path.write_text("".join(f">{i}\n{s}\n" for i, s in records))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BATCH", at_once)
        batches = list(by_files(letters(Policy(long="reject"), max_tokens=43), list(files)))
    assert all(len(batch.queries) <= at_once for batch in batches)
    queries = [(query, batch, i) for batch in batches for i, query in enumerate(batch.queries)]
    wanted = [(path.name, *record) for path, records in files.items() for record in records]
    assert [(query.info["source"], query.info["id"]) for query, _, _ in queries] == [entry[:2] for entry in wanted]
    for (query, batch, i), (_, _, raw) in zip(queries, wanted, strict=True):
        sequence = raw.upper().replace("U", "T")
        is_good = len(sequence) >= 20 and bool(sequence.strip("N")) and "!" not in sequence and len(sequence) <= 42
        assert ("rejected" not in query.info) == is_good == (i in batch.searchable)
        if not is_good:
            assert query.info["rejected"]
            assert (query.key, query.sequence) == (None, None)
            continue
        assert (query.sequence, query.info["length"]) == (sequence, len(sequence))
        assert query.key == module._key(digest(sequence.encode()))
        np.testing.assert_allclose(batch.vectors[batch.searchable.index(i)], expected(sequence), atol=1e-6)
    assert all(len(batch.searchable) == len(batch.vectors) for batch in batches)


def test_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f">a\n{GOOD}\n".encode())))
    [batch] = by_files(letters(), [Path("-")])
    assert batch.queries[0].info == {"id": "a", "length": len(GOOD), "source": "stdin"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n\n", "blank lines"),
        (b"id\tsequence\n", "no record"),
        (b"\x00\x01\x02", ""),
        (None, "no such"),
    ],
)
def test_files_without_queries(tmp_path, content, words):
    good, bad = tmp_path / "good.fa", tmp_path / "bad.fa"
    good.write_text(f">a\n{GOOD}\n")
    if content is not None:
        bad.write_bytes(content)
    batches = by_files(letters(), [good, bad])
    assert next(batches).queries[0].info["id"] == "a"
    with pytest.raises(InputError, match=rf"bad.fa: .*{words}"):
        next(batches)
    with pytest.raises(InputError, match="is a folder"):
        next(by_files(letters(), [tmp_path]))


def test_a_truncated_file_gives_the_queries_before(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BATCH", 500)
    # More than the reader buffers first.
    text = "".join(f"@q{i}\n{GOOD}\n+\n{'I' * len(GOOD)}\n" for i in range(9_000)) + "@last\nACGT\n"
    (tmp_path / "a.fq").write_text(text)
    seen = 0
    with pytest.raises(InputError, match=r"a\.fq"):
        for batch in by_files(open_embedder("kmer6"), [tmp_path / "a.fq"]):
            seen += len(batch.queries)
    assert seen > 1000


def test_few_queries_are_embedded_before_the_first_is_answered(tmp_path, monkeypatch):
    (tmp_path / "a.fa").write_text("".join(f">q{i}\n{letters_of(i)}\n" for i in range(9000)))
    embedded = []
    real = Engine.embed
    monkeypatch.setattr(Engine, "embed", lambda self, s: embedded.append(len(s)) or real(self, s))
    batches = by_files(open_embedder("kmer6"), [tmp_path / "a.fa"])
    next(batches)
    assert embedded == [4096]
    assert sum(len(batch.queries) for batch in batches) == 9000 - 4096
    assert max(embedded) == 4096


# -- parts of a batch ------------------------------------------------------------------------------------------------


@given(st.lists(st.booleans(), max_size=12), st.integers(0, 13), st.integers(0, 13))
def test_a_part_of_a_batch(good, first, last):
    first, last = sorted((first, last))
    places = [i for i, is_good in enumerate(good) if is_good]
    queries = [module.Query({"id": i}) for i in range(len(good))]
    batch = QueryBatch(queries, places, np.array(places, np.float32)[:, None])
    part = batch.part(first, last)
    assert part.queries == queries[first:last]
    assert [part.queries[place].info["id"] for place in part.searchable] == part.vectors[:, 0].tolist()
    assert len(part.searchable) == sum(good[first:last])
