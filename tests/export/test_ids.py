"""Tests of feature ids: the ids of the lab if these are unique, with number suffixes otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ednabed.api.manager import DataManager
from ednabed.errors import UsageError
from ednabed.export.ids import FeatureIds, portable_id
from ednabed.export.selection import Selection
from ednabed.search.choice import Choice
from reference_support import add_run

IDS = st.text(st.sampled_from('ab_1 \t;=#"é'), max_size=5) | st.sampled_from(["a", "a_1", "a_2", "a_1_1", "x;size=3"])


def called(selection: Selection, rule: str = "own") -> dict[int, str]:
    ids = FeatureIds(selection, rule)
    return {
        row: ids.id_of(row, digest)
        for piece in selection.pieces(())
        for row, digest in zip(piece.rows.tolist(), piece.ids, strict=True)
    }


def selection(tmp_path, *runs: tuple[list[int], list[str | None]], choice: Choice | None = None) -> Selection:
    folders = [
        add_run(tmp_path, f"d{place}", "r", numbers, columns={"id": ids}).folder
        for place, (numbers, ids) in enumerate(runs)
    ]
    return Selection(DataManager(tmp_path).loose_runs(folders), None, choice)


def test_a_unique_id_is_the_id_of_its_sequence(tmp_path):
    assert called(selection(tmp_path, ([0, 1, 0], ["ASV1", "ASV2", "other"]))) == {0: "ASV1", 1: "ASV2"}


def test_shared_ids_get_unique_numbers(tmp_path):
    chosen = selection(tmp_path, ([0, 1, 2], ["ASV1", "ASV1_1", "ASV9"]), ([3, 4], ["ASV1", "ASV9"]))
    assert called(chosen) == {0: "ASV1_2", 1: "ASV1_1", 2: "ASV9_1", 3: "ASV1_3", 4: "ASV9_2"}
    ids = FeatureIds(chosen)
    assert ids.numbered == 4
    assert "4 features share their id with another feature and got a suffix, such as ASV1_2" in ids.notes()[1]
    one = Selection(chosen.collection, None, Choice(datasets=("d1",)))
    assert sorted(called(one).values()) == ["ASV1", "ASV9"]


def test_ids_of_a_dataset_do_not_depend_on_other_datasets(tmp_path):
    chosen = selection(tmp_path, ([0, 1], ["ASV1", "ASV2"]), ([1, 0], ["ASV1", "ASV2"]))
    ids = FeatureIds(chosen, by_dataset=True)
    assert [ids.id_of(row, "", dataset) for dataset in ("d0", "d1") for row in (0, 1)] == [
        "ASV1",
        "ASV2",
        "ASV2",
        "ASV1",
    ]


def test_only_requested_data_are_read(tmp_path, monkeypatch):
    chosen = selection(tmp_path, ([0, 1], ["ASV1", "ASV1"]), ([2], ["b"]))
    reads: list[bool] = []
    real = chosen.collection.take_sequences
    monkeypatch.setattr(
        chosen.collection, "take_sequences", lambda rows, *, bases=True: reads.append(bases) or real(rows, bases=bases)
    )
    ids = FeatureIds(chosen, "digest")
    assert (ids.id_of(0, "SQ.x"), ids.numbered, len(ids.notes()), reads) == ("SQ.x", 0, 1, [])
    # An id that an assignment from a file may use.
    assert (ids.lab_id(0, "SQ.x"), ids.lab_id(1, "SQ.y"), reads) == ("ASV1_1", "ASV1_2", [False])


def test_an_archive_reads_the_ids_of_its_complete_datasets(tmp_path):
    chosen = selection(tmp_path, ([0, 1], ["ASV1", "ASV1"]), ([2], ["b"]), choice=Choice(where="seq_idx = 0"))
    one = Selection(chosen.collection, np.array([0]), Choice(datasets=("d0",)))
    assert (len(one), len(one.with_complete_datasets()), len(chosen.with_complete_datasets())) == (1, 2, 3)
    ids = FeatureIds(one.with_complete_datasets(), by_dataset=True)
    assert (ids.id_of(0, "", "d0"), ids.id_of(1, "", "d0")) == ("ASV1_1", "ASV1_2")


def test_a_sequence_without_an_id_gets_its_digest(tmp_path):
    found = called(selection(tmp_path, ([0, 1], [None, " \t"])))
    assert all(id.startswith("SQ.") for id in found.values())


@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("ASV 1", "ASV_1"),
        ("a;size=3", "a_size=3"),
        ("a;b", "a;b"),
        ('#"x"', "__x_"),
        ("é", "é"),
        ("\x00", ""),
        ("=1", "=1"),
    ],
)
def test_ids_that_every_format_can_contain(id, name):
    assert portable_id(id) == name


def test_an_unknown_rule(tmp_path):
    with pytest.raises(UsageError, match="there is no rule 'md5' for ids; choose one of own, digest"):
        FeatureIds(selection(tmp_path, ([0], ["a"])), "md5")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 5), IDS), min_size=1, max_size=12))
def test_ids_are_unique_valid_and_original_if_possible(tmp_path_factory, records):
    numbers, ids = [number for number, _ in records], [id for _, id in records]
    found = called(selection(tmp_path_factory.mktemp("ids"), (numbers, ids)))
    assert len(set(found.values())) == len(found) == len(set(numbers))
    order = list(dict.fromkeys(numbers))
    for row, name in found.items():
        assert name and not set(name) & set('\t\n "') and not name.startswith("#")
        own = portable_id(next(id for number, id in records if number == order[row]))
        bearers = {number for number, id in records if portable_id(id) == own}
        if not own:
            assert name.startswith("SQ.")
        elif len(bearers) == 1:
            assert name == own
        else:
            head, _, number = name.rpartition("_")
            assert head == own and number.isdigit()
            assert name not in {portable_id(id) for id in ids}
