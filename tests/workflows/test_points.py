"""Facts about the rows of a collection, compared with plain Python over all records."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ednabed import get_data_manager
from ednabed.reference.collection import Collection
from ednabed.reference.kept import kept_names
from ednabed.reference.loose import LooseRuns
from ednabed.sequences.lineage import RANKS
from ednabed.store.assignments import COLUMNS, ClassifiedBy, keep
from ednabed.store.runs import runs_root
from ednabed.store.versions import register, tag_run
from ednabed.workflows.points import SEVERAL, RowFacts, first_ids, row_facts
from ednabed.workflows.search import Searcher
from reference_support import DIMENSION, SPEC, add_run, consolidate, legacy, letters_of, opened

LINEAGES = [
    "Animalia;Chordata;Actinopteri;Salmoniformes;Salmonidae;Salmo;Salmo trutta",
    "Animalia;Chordata;Actinopteri;Salmoniformes;Salmonidae;Salmo;Salmo salar",
    "Animalia;Chordata;;;Salmonidae;;",
    "Bacteria;;;;;;",
]
MARKERS = ["12S", "COI", "16S"]


def make(workspace: Path, seed: int, *, lineages: bool = True) -> list[dict]:
    """Write runs whose datasets share sequences; return all records as they were written."""
    rng = random.Random(seed)
    pool = rng.sample(range(1000), 15)
    records = []
    for number, (dataset, run) in enumerate(
        [("lake", "r1"), ("lake", "r2"), ("sea", "r1"), ("tank", "x"), ("b", "r1")]
    ):
        numbers = [rng.choice(pool) for _ in range(rng.randint(1, 14))]
        columns: dict[str, list] = {
            "id": [None if rng.random() < 0.1 else f"{dataset}{i}" for i in range(len(numbers))],
            "abundance": [None if rng.random() < 0.3 else rng.randint(0, 50) for _ in numbers],
            "lineage": [rng.choice(LINEAGES) if lineages and rng.random() < 0.7 else None for _ in numbers],
        }
        # A marker belongs to the sequence; runs call the column differently, or lack it.
        name = (None, "marker", "target_gene", None, "marker_code")[number]
        markers = [MARKERS[i % 3] if name and i % 2 else None for i in numbers]
        if name:
            columns[name] = pa.array(markers, pa.string())
        typed = {"lineage": pa.string(), "id": pa.string(), "abundance": pa.int64()}
        add_run(
            workspace, dataset, run, numbers, created=f"2024-01-01T00:00:{59 - number:02}+00:00",
            columns={key: pa.array(value, typed[key]) if key in typed else value for key, value in columns.items()},
        )  # fmt: skip
        for i, letters in enumerate(map(letters_of, numbers)):
            told = {key: columns[key][i] for key in ("id", "abundance", "lineage")}
            records.append({**told, "marker": markers[i], "letters": letters, "dataset": dataset,
                            "run": f"{dataset}/{run}", "order": (dataset, run, i)})  # fmt: skip
    return records


def check(collection: Collection, records: list[dict]) -> RowFacts:
    facts = row_facts(collection)
    rows = np.arange(collection.rows)
    letters = collection.take_sequences(rows).column("sequence").to_pylist()
    ids = first_ids(collection, rows)
    assert sorted(letters) == sorted({record["letters"] for record in records})
    assert facts.datasets[-1] == SEVERAL
    assert sorted(facts.datasets[:-1]) == sorted({record["dataset"] for record in records})
    assert sorted(facts.runs) == sorted({record["run"] for record in records})
    assert facts.in_runs([]).tolist() == [False] * collection.rows
    assert facts.in_runs(facts.runs).tolist() == [True] * collection.rows
    assert facts.markers[0] == ""
    for row, own_letters in enumerate(letters):
        own = [record for record in records if record["letters"] == own_letters]
        assert facts.records[row] == len(own)
        assert facts.reads[row] == sum(1 if r["abundance"] is None else r["abundance"] for r in own)
        assert {run for run in facts.runs if facts.in_runs([run])[row]} == {r["run"] for r in own}
        datasets = {r["dataset"] for r in own}
        assert facts.datasets[facts.dataset[row]] == (datasets.pop() if len(datasets) == 1 else SEVERAL)
        counts = Counter(r["lineage"] for r in own if r["lineage"])
        if counts:
            lineage = facts.lineages[facts.lineage[row]]
            assert counts[";".join(lineage)] == max(counts.values())
        else:
            assert facts.lineage[row] == -1
        for place, rank in enumerate(RANKS):
            assert facts.names(rank)[row] == (facts.lineages[facts.lineage[row]][place] if counts else "")
        markers = {r["marker"] for r in own} - {None}
        assert facts.markers[facts.marker[row]] == (markers.pop() if markers else "")
        assert ids[row] == (min(own, key=lambda r: r["order"])["id"] or "")
    return facts


def loose(workspace: Path) -> Collection:
    sources, unusable = Searcher(workspace).sources(None)
    assert not unusable
    return LooseRuns(sources)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("lineages", [True, False])
def test_the_facts_are_those_of_the_records(tmp_path, seed, lineages):
    records = make(tmp_path, seed, lineages=lineages)
    consolidate(tmp_path)
    for collection in (opened(tmp_path), loose(tmp_path)):
        facts = check(collection, records)
        assert bool(facts.lineages) == lineages
        # Markers do not depend on lineages.
        assert set(facts.markers) == {r["marker"] for r in records if r["marker"]} | {""}
        some = np.random.default_rng(seed).integers(0, collection.rows, 7)
        every = first_ids(collection, np.arange(collection.rows))
        assert first_ids(collection, some) == [every[row] for row in some]
        assert first_ids(collection, some[:0]) == []


def test_runs_that_were_consolidated_one_by_one(tmp_path):
    records = []
    for seed, name in enumerate(("one", "two")):
        other = make(tmp_path / name, seed)
        for folder in sorted(runs_root(tmp_path / name).glob("*/*")):
            target = runs_root(tmp_path) / f"{folder.parent.name}{seed}" / folder.name
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(target)
        consolidate(tmp_path, incremental=bool(seed))
        records += other
    facts = row_facts(opened(tmp_path))
    # A run is named by its manifest in any folder, so these are five names of ten runs.
    assert sorted(facts.runs) == ["b/r1", "lake/r1", "lake/r2", "sea/r1", "tank/x"]
    assert facts.reads.sum() == sum(1 if r["abundance"] is None else r["abundance"] for r in records)
    assert facts.records.sum() == len(records)


def test_a_single_run_without_abundance(tmp_path):
    add_run(tmp_path, "lake", "a", [1, 2, 1], columns={"abundance": pa.nulls(3, pa.int64())})
    consolidate(tmp_path)
    for collection in (opened(tmp_path), loose(tmp_path)):
        facts = row_facts(collection)
        assert sorted(facts.reads.tolist()) == [1, 2]
        assert facts.datasets == ["lake", SEVERAL] and facts.dataset.tolist() == [0, 0]
        assert facts.names("species") == ["", ""]


def test_runs_of_an_older_tool(tmp_path):
    """Their bases, ids, read counts and names are unknown; each vector is a sequence of its own."""
    folder = legacy(runs_root(tmp_path) / "old" / "r", np.eye(3, DIMENSION, dtype=np.float32))
    register(tmp_path, "v1", SPEC)
    tag_run(tmp_path, get_data_manager(tmp_path).open_run("old/r"), "v1", assume=True)
    assert folder.is_dir()
    consolidate(tmp_path)
    for collection in (opened(tmp_path), loose(tmp_path)):
        facts = row_facts(collection)
        assert facts.reads.tolist() == facts.records.tolist() == [1, 1, 1]
        assert facts.runs == ["old/r"] and facts.in_runs(["old/r"]).all()
        assert first_ids(collection, np.arange(3)) == [""] * 3
        assert facts.lineage.tolist() == [-1] * 3 and facts.marker.tolist() == [0] * 3
    # Together with a current run.
    add_run(tmp_path, "lake", "a", [1, 2, 1])
    consolidate(tmp_path)
    for collection in (opened(tmp_path), loose(tmp_path)):
        facts = row_facts(collection)
        assert sorted(facts.reads.tolist()) == [1, 1, 1, 2, 4]
        assert sorted(first_ids(collection, np.arange(5))) == ["", "", "", "a-0", "a-1"]


@pytest.mark.parametrize("kind", ["reference", "loose"])
def test_rows_without_a_lineage_take_the_newest_name_of_their_runs(tmp_path, kind):
    lineages = pa.array([LINEAGES[0], None, None, None], pa.string())
    runs = [
        add_run(tmp_path, "lake", "r1", [0, 1, 2, 3], columns={"lineage": lineages}),
        add_run(tmp_path, "sea", "r1", [1, 4]),
    ]
    for run, found in ((runs[1], LINEAGES[3]), (runs[0], LINEAGES[1])):
        digests = run.load_records(["digest"]).column("digest").to_pylist()
        named = [(digest, found if place < 3 else None) for place, digest in enumerate(digests)]
        rows = [
            {"digest": digest, "status": "assigned" if lineage else "unclassified", "lineage": lineage, "tied": []}
            for digest, lineage in named
        ]
        keep(
            run,
            pa.Table.from_pylist(rows, COLUMNS),
            ClassifiedBy(build="b", reference="r", model="m", fingerprint="f", calibrated=None, criteria={}),
        )
    consolidate(tmp_path)
    collection = opened(tmp_path) if kind == "reference" else get_data_manager(tmp_path).loose_runs(["lake", "sea"])
    before = row_facts(collection)
    facts = row_facts(collection, kept_names(collection, tmp_path).of_keys(collection.keys))
    shown = [";".join(facts.lineages[number]) if number >= 0 else None for number in facts.lineage.tolist()]
    assert shown == [LINEAGES[0], LINEAGES[1], LINEAGES[1], None, LINEAGES[3]]
    assert facts.names("species") == ["Salmo trutta", "Salmo salar", "Salmo salar", "", ""]
    assert [number >= 0 for number in before.lineage.tolist()] == [True, False, False, False, False]
