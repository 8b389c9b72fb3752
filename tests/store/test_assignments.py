"""Assignments stored next to a run are complete or missing, bound to run and build, and damage is found."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.api.manager import DataManager
from ednabed.errors import StoreError
from ednabed.reference import kept as kept_module
from ednabed.reference.kept import KeptNames, kept_names
from ednabed.reference.parts import keys_of
from ednabed.sequences.lineage import RANKS
from ednabed.sequences.records import digest as sequence_digest
from ednabed.store import assignments
from ednabed.store.assignments import (
    COLUMNS,
    SCHEMA,
    ClassifiedBy,
    KeptFile,
    file_names,
    folder_of,
    keep,
    list_kept,
    verify_kept,
)
from ednabed.store.runs import Run, run_folders, runs_root, walk_runs
from reference_support import add_run, consolidate, opened, snapshot

OTTER = "Animalia;Chordata;Mammalia;Carnivora;Mustelidae;Lutra;Lutra lutra"
RAT = "Animalia;Chordata;Mammalia;Rodentia;Muridae;Rattus;Rattus rattus"


SHARES = {"12S": {"source": "estimated", "known": 0.83, "queries": 412, "shares": [0.5, 0.33, 0.17, 0.0, 0.0, 0.0]}}
OLD = Path(__file__).resolve().parents[1] / "kept" / "assignments_1"
TROUT = "Animalia;Chordata;Actinopteri;Salmoniformes;Salmonidae;Salmo;Salmo trutta"
FAMILY = "Animalia;Chordata;Actinopteri;Salmoniformes;Salmonidae;;"


def table_of(run: Run, lineage: str | None = RAT, status: str = "assigned") -> pa.Table:
    digests = dict.fromkeys(run.load_records(["digest"]).column("digest").to_pylist())
    rows = [{"digest": d, "status": status, "lineage": lineage, "confidence": 0.9, "tied": []} for d in digests]
    return pa.Table.from_pylist(rows, COLUMNS)


def keep_by(run: Run, build: str = "b-1", criteria=None, **more):
    return keep(
        run,
        table_of(run, **more),
        ClassifiedBy(
            build=build,
            reference="data/fish",
            model="hand",
            fingerprint="f" * 64,
            calibrated=None,
            criteria={"min_confidence": 0.8, **(criteria or {})},
        ),
    )


@pytest.fixture
def run(tmp_path) -> Run:
    return add_run(tmp_path, "lake", "a", [0, 1, 2, 1])


def test_saved_assignments_are_read_back_and_the_run_does_not_change(run, tmp_path):
    before = snapshot(run.folder)
    kept = keep_by(run)
    assert snapshot(run.folder) == before
    assert kept.path.parent == folder_of(run.folder) == run.folder.with_name("a.assignments")
    (found,) = list_kept(run.folder, run.identity)
    assert found == kept
    assert found.read().equals(table_of(run))
    assert found.facts.statuses == {"assigned": 3}
    assert (found.facts.run, found.facts.build, found.facts.label) == (run.identity, "b-1", "lake/a")
    assert verify_kept(run) == []
    # Commands that list or walk runs ignore it.
    root = runs_root(tmp_path)
    assert walk_runs(root) == run_folders(root / "lake") == [run.folder]
    assert consolidate(tmp_path).manifest.counts["runs"] == 1


def test_the_same_build_and_criteria_are_replaced_and_others_stay(run):
    first = keep_by(run)
    other = keep_by(run, criteria={"min_confidence": 0.9})
    build = keep_by(run, build="b-2")
    again = keep_by(run, lineage=None, status="unclassified")
    assert not first.path.exists()
    assert list_kept(run.folder, run.identity) == [again, build, other]
    assert sorted(file_names(run.folder)) == sorted(one.path.name for one in (again, build, other))


def test_the_shares_of_known_species_are_kept(run):
    keep(
        run,
        table_of(run),
        ClassifiedBy(build="b", reference="r", model="m", fingerprint="f", calibrated=None, criteria={}, shares=SHARES),
    )
    keep_by(run)
    without, found = list_kept(run.folder, run.identity)
    assert (found.facts.shares, without.facts.shares) == (SHARES, {})


def test_every_column_comes_back(run):
    row = {
        "digest": "d", "status": "not_in_reference", "rank": "genus", "lineage": RAT, "confidence": 0.9,
        "ranks": {rank: {"given": "a", "best": "b", "confidence": 0.1, "absence": 0.2, "p": 0.3, "q": 0.4}
                  for rank in RANKS},
        "withheld": "tie", "nearest_id": "n", "nearest_lineage": RAT, "nearest_taxon_id": "10117", "identity": 99.0,
        "coverage": 98.0, "similarity": 0.97, "novel_rank": "species", "novel_p": 0.01, "novel_q": 0.02, "tied": [RAT],
        "strand": "-", "marker": "12S", "note": "a note",
    }  # fmt: skip
    assert list(row) == COLUMNS.names
    keep(
        run,
        pa.Table.from_pylist([row], COLUMNS),
        ClassifiedBy(build="b", reference="r", model="m", fingerprint="f", calibrated=None, criteria={}),
    )
    (kept,) = list_kept(run.folder, run.identity)
    assert kept.read().to_pylist() == [row]


@pytest.fixture
def old(tmp_path) -> Run:
    """A run with assignments in schema 1, as earlier versions wrote them."""
    shutil.copytree(OLD, tmp_path / "old")
    return Run.open(tmp_path / "old" / "a")


def test_schema_1_is_read_as_schema_2(old):
    assert verify_kept(old) == []
    (kept,) = list_kept(old.folder, old.identity)
    assert kept.facts.statuses == {"assigned": 1, "not_in_reference": 1, "unclassified": 1, "rejected": 1}
    assert (kept.facts.build, kept.facts.shares) == ("b-1", {})
    table = kept.read()
    assert table.schema == COLUMNS
    for name in ("withheld", "nearest_taxon_id", "novel_q"):
        assert table.column(name).to_pylist() == [None] * 4
    known, absent, unsure, rejected = table.to_pylist()
    assert [one["status"] for one in table.to_pylist()] == [
        "assigned", "not_in_reference", "unclassified", "rejected",
    ]  # fmt: skip
    # Without a claim, the p-value was that of the species, which stays with the ranks.
    assert [one["novel_p"] for one in (known, absent, unsure, rejected)] == [None, 0.0125, None, None]
    assert [one["ranks"]["species"]["p"] for one in (known, absent, unsure, rejected)] == [0.4, 0.004, 0.2, None]
    assert (absent["novel_rank"], absent["rank"], absent["lineage"]) == ("genus", "family", FAMILY)
    assert absent["ranks"]["genus"] == {
        "given": None, "best": "Salmo", "confidence": 0.3, "absence": None, "p": 0.0125, "q": None,
    }  # fmt: skip
    assert (known["identity"], known["marker"], rejected["note"][:10]) == (99.5, "12S", "its vector")


@pytest.mark.parametrize("name", COLUMNS.names)
def test_each_column_of_schema_1_read_alone_equals_that_of_the_full_table(old, name):
    (kept,) = list_kept(old.folder, old.identity)
    some = kept.read([name, "digest"] if name != "digest" else [name])
    assert some.equals(kept.read().select(some.schema.names))


def test_a_flipped_byte_of_schema_1_is_found(old):
    (kept,) = list_kept(old.folder, old.identity)
    raw = kept.path.read_bytes()
    for place in range(0, len(raw), 997):
        kept.path.write_bytes(raw[:place] + bytes([raw[place] ^ 4]) + raw[place + 1 :])
        assert verify_kept(old), place
    kept.path.write_bytes(raw)
    assert verify_kept(old) == []


def test_the_same_build_and_criteria_replace_schema_1(old):
    (before,) = list_kept(old.folder, old.identity)
    done = keep(
        old,
        table_of(old),
        ClassifiedBy(
            build="b-1",
            reference="data/fish",
            model="hand",
            fingerprint="f" * 64,
            calibrated=None,
            criteria=before.facts.criteria,
        ),
    )
    assert list_kept(old.folder, old.identity) == [done]
    assert not before.path.exists()


def test_names_come_from_schema_1(old, tmp_path):
    target = runs_root(tmp_path) / "lake"
    target.parent.mkdir(parents=True)
    old.folder.parent.rename(target)
    consolidate(tmp_path)
    reference = opened(tmp_path)
    names = kept_names(reference, tmp_path)
    found = Counter(names.of_keys(reference.keys).assignment_of(row) for row in range(reference.rows))
    assert found == Counter(
        {
            ("assigned", TROUT, 0.99): 1,
            ("not_in_reference", FAMILY, 0.9): 1,
            ("unclassified", None, None): 1,
            ("rejected", None, None): 1,
        }
    )


def test_a_run_may_be_moved_with_its_assignments(run, tmp_path):
    keep_by(run)
    new = tmp_path / "elsewhere"
    run.folder.rename(new)
    run.folder.with_name("a.assignments").rename(folder_of(new))
    assert len(list_kept(new, Run.open(new).identity)) == 1


def test_assignments_of_another_run_are_refused(run, tmp_path):
    other = add_run(tmp_path, "sea", "b", [0, 1])
    shutil.copytree(keep_by(run).path.parent, folder_of(other.folder))
    with pytest.raises(StoreError, match=r"contains the assignments of another run \(lake/a"):
        list_kept(other.folder, other.identity)
    assert "belongs to another run (lake/a)" in verify_kept(other)[0]


def test_any_flipped_byte_is_found(run):
    kept = keep_by(run)
    raw = kept.path.read_bytes()
    for place in range(0, len(raw), max(1, len(raw) // 97)):
        data = bytearray(raw)
        data[place] ^= 4
        kept.path.write_bytes(data)
        assert verify_kept(run), place
        with pytest.raises(StoreError, match=r"damaged|another run|schema"):
            for one in list_kept(run.folder, run.identity):
                one.read()
    for size in (0, 7, len(raw) // 2, len(raw) - 1):
        kept.path.write_bytes(raw[:size])
        assert verify_kept(run)
    kept.path.write_bytes(raw)
    assert verify_kept(run) == []


def test_a_file_name_that_does_not_match_its_contents_is_damage(run):
    kept = keep_by(run)
    kept.path.rename(kept.path.with_name(kept.path.name.replace("b-1", "b-9")))
    with pytest.raises(StoreError, match="is damaged; delete it, and classify the run again"):
        list_kept(run.folder, run.identity)


def test_an_unknown_schema_is_refused_and_stays(run, monkeypatch):
    with monkeypatch.context() as later:
        later.setattr(assignments, "SCHEMA", "ednabed.assignments/3")
        newer = keep_by(run)
    with pytest.raises(StoreError, match=f"has schema 'ednabed.assignments/3'.* and '{SCHEMA}'; update ednabed"):
        list_kept(run.folder, run.identity)
    keep_by(run)
    assert newer.path.exists()


def test_unrelated_files_are_ignored(run):
    kept = keep_by(run)
    for name in ("notes.txt", "b-1.parquet", ".b-1.0123456789abcdef.parquet"):
        kept.path.with_name(name).write_text("x")
    assert list_kept(run.folder, run.identity) == [kept]
    assert verify_kept(run) == []


def test_assignments_that_lack_a_sequence_are_a_fault(run):
    part = table_of(run).slice(1)
    keep(run, part, ClassifiedBy(build="b", reference="r", model="m", fingerprint="f", calibrated=None, criteria={}))
    assert "contains 2 sequences, which do not match the 3 of the run" in verify_kept(run)[0]


def test_a_second_writer_gets_an_error(run, monkeypatch):
    def during(*arguments, **more):
        with pytest.raises(StoreError, match="another process is saving assignments of this run"):
            keep_by(run)
        return write(*arguments, **more)

    write = pq.write_table
    monkeypatch.setattr(pq, "write_table", during)
    keep_by(run)


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from ednabed.sequences.records import digest as sequence_digest
from ednabed.store import assignments
from ednabed.store.runs import Run
from store.test_assignments import keep_by
step, wait = sys.argv[2].split(":")
real = getattr(assignments, step) if hasattr(assignments, step) else None
def slow(*arguments, **more):
    if wait == "before":
        print("now", flush=True)
        time.sleep(60)
    found = real(*arguments, **more)
    print("now", flush=True)
    time.sleep(60)
    return found
setattr(assignments, step, slow)
keep_by(Run.open(Path(sys.argv[1])), lineage=None, status="unclassified")
"""


@pytest.mark.parametrize("step", ["fsync_file:before", "fsync_file:after", "_checksum:before", "_is_older:before"])
def test_a_kill_at_any_time_leaves_the_old_or_the_new_file(run, step):
    keep_by(run)
    tests = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-c", KILLED, str(run.folder), step, str(tests)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"now"
        process.kill()
    assert verify_kept(run) == []
    newest = list_kept(run.folder, run.identity)[0]
    assert newest.facts.statuses == ({"unclassified": 3} if step == "_is_older:before" else {"assigned": 3})
    # The next writer finishes the job and removes leftovers.
    done = keep_by(run, status="not_in_reference")
    assert list_kept(run.folder, run.identity) == [done]
    assert {path.name for path in done.path.parent.iterdir()} == {".lock", done.path.name}


def test_readers_see_the_old_or_the_new_while_it_is_replaced(run, tmp_path):
    consolidate(tmp_path)
    keep_by(run)
    loop = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from store.test_assignments import keep_by\nfrom ednabed.store.runs import Run\n"
        "run = Run.open(Path(sys.argv[1]))\n"
        "while True: keep_by(run)\n"
    )
    tests = Path(__file__).resolve().parents[1]
    with subprocess.Popen([sys.executable, "-c", loop, str(run.folder), str(tests)]) as process:
        try:
            ended = time.monotonic() + 4
            reference = opened(tmp_path)
            while time.monotonic() < ended:
                names = kept_names(reference, tmp_path)
                assert names.of_keys(reference.keys).assignment_of(0) == ("assigned", RAT, 0.9)
                assert process.poll() is None
        finally:
            process.kill()


# -- names of a collection ---------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.dictionaries(st.integers(0, 9), st.sampled_from([RAT, OTTER, None]), max_size=6), max_size=4),
    st.lists(st.integers(0, 12), max_size=8),
)
def test_names_come_from_the_first_table_that_has_the_key(tables, asked):
    """The result equals looking into one table after the other."""
    digest = {n: sequence_digest(b"ACGT" + b"A" * n) for n in range(13)}
    columns = ("digest", "status", "lineage", "confidence", *kept_module.NEAREST)
    schema = pa.schema([COLUMNS.field(name) for name in columns])
    keys, found = kept_module._by_key(
        [
            pa.Table.from_pylist(
                [
                    {
                        "digest": digest[n],
                        "status": "assigned" if name else "unclassified",
                        "lineage": name,
                        "nearest_id": f"{number}.{n}",
                        "identity": 90.0 + n,
                    }
                    for n, name in table.items()
                ],
                schema,
            )
            for number, table in enumerate(tables)
        ]
    )
    names = KeptNames({}, [], [], keys, found).of_keys(keys_of([digest[n] for n in asked]))
    for place, n in enumerate(asked):
        table = next((table for table in tables if n in table), None)
        expected = None if table is None else ("assigned" if table[n] else "unclassified", table[n], None)
        assert names.assignment_of(place) == expected
        number = next((number for number, table in enumerate(tables) if n in table), None)
        nearest = names.nearest_of(place)
        assert nearest["nearest_id"] == (None if number is None else f"{number}.{n}")
        assert (nearest["identity"], nearest["coverage"]) == (None if number is None else 90.0 + n, None)
    assert names.any() == any(n in table for n in asked for table in tables)


def test_a_search_rereads_assignments_only_after_they_change(run, tmp_path, monkeypatch):
    consolidate(tmp_path)
    keep_by(run)
    reads: list[Path] = []
    real = KeptFile.read
    monkeypatch.setattr(KeptFile, "read", lambda kept, columns: reads.append(kept.path) or real(kept, columns))
    monkeypatch.setattr(kept_module, "walk_runs", lambda root: pytest.fail("walked all runs"))
    data = DataManager(tmp_path)

    def found() -> set[str | None]:
        _, answers = data.search(run="lake", seq_idx=0)
        return {hit["lineage"] for _, hits in answers for hit in hits}

    assert (found(), found(), len(reads)) == ({RAT}, {RAT}, 1)
    keep_by(run, lineage=OTTER)
    assert (found(), found(), len(reads)) == ({OTTER}, {OTTER}, 2)


def test_the_newest_file_that_can_be_read_counts(run, tmp_path):
    consolidate(tmp_path)
    keep_by(run)
    newest = keep_by(run, build="b-2", lineage=OTTER)
    newest.path.write_bytes(newest.path.read_bytes()[:-9])
    reference = opened(tmp_path)
    names = kept_names(reference, tmp_path)
    assert names.of_keys(reference.keys).assignment_of(0) == ("assigned", RAT, 0.9)
    assert [fault.partition(";")[0] for fault in names.faults] == [f"{newest.path} is damaged"]
    with pytest.raises(StoreError, match="is damaged"):
        kept_names(reference, tmp_path, "b-1")
