"""Places of records: their own coordinates, else those of their sample, summed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ednabed import get_data_manager
from ednabed.api.places import SAMPLES, Place, places_of, samples_path
from ednabed.errors import InputError
from ednabed.search.hits import Wanted
from reference_support import add_run

HEAD = "sample\tlatitude\tlongitude\n"


def samples(workspace: Path, text: str, name: str = SAMPLES[0]) -> None:
    (workspace / "data").mkdir(exist_ok=True)
    (workspace / "data" / name).write_text(text, encoding="utf-8")


def record(dataset="lake", sample="A", abundance=1, latitude=None, longitude=None) -> dict:
    return {"dataset": dataset, "sample": sample, "abundance": abundance,
            "columns": {"lat": latitude, "lon": longitude}}  # fmt: skip


def test_which_table_of_samples_is_read(tmp_path):
    assert samples_path(tmp_path) is None
    (tmp_path / "data" / "samples.tsv").mkdir(parents=True)
    assert samples_path(tmp_path) is None
    samples(tmp_path, HEAD, "samples.csv")
    assert samples_path(tmp_path) == tmp_path / "data" / "samples.csv"
    (tmp_path / "data" / "samples.tsv").rmdir()
    samples(tmp_path, HEAD)
    assert samples_path(tmp_path) == tmp_path / "data" / "samples.tsv"


def test_no_place_is_known(tmp_path):
    records = [record(), record(sample=None, latitude="1")]
    assert places_of(tmp_path, records, ("lat", "lon")) == []
    assert places_of(tmp_path, records, ()) == []
    assert places_of(tmp_path, [], ("lat", "lon")) == []
    # Those who ask for no coordinates have no such columns.
    assert places_of(tmp_path, [{"dataset": "d", "sample": "A", "abundance": 1}], ()) == []


def test_own_coordinates_go_before_those_of_the_sample(tmp_path):
    samples(tmp_path, f"{HEAD}A\t1\t2\nB\t3\t4\n")
    records = [
        record(latitude=50.5, longitude="-7", abundance=5),
        record(latitude=None, longitude=-7, abundance=None),
        record(latitude="not applicable", longitude="x", abundance=0),
        # A place that cannot be, in a file of someone else, is none; so the sample says it.
        record(latitude=95, longitude=3, sample="B", abundance=2),
        record(latitude=95, longitude=3, sample="C"),
        record(sample=None),
    ]
    assert places_of(tmp_path, records, ("lat", "lon")) == [
        Place("lake", "A", 50.5, -7.0, 1, 5),
        Place("lake", "B", 3.0, 4.0, 1, 2),
        Place("lake", "A", 1.0, 2.0, 2, 1),
    ]


def test_a_record_without_a_sample_takes_the_place_of_none(tmp_path):
    samples(tmp_path, f"{HEAD}\t1\t2\nA\t3\t4\n")
    assert places_of(tmp_path, [record(sample=None), record(sample="")], ()) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [("sample\tdepth\n", "no column of latitude"), (f"{HEAD}A\t1\t2\nA\t1\t3\n", "stands twice"), ("", "is empty")],
)
def test_a_table_that_cannot_be_read_is_told(tmp_path, text, told):
    samples(tmp_path, text)
    with pytest.raises(InputError, match=rf"samples\.tsv.*{told}"):
        places_of(tmp_path, [], ())


cells = st.sampled_from([None, "", "nan", 1, "1", 2.5, "-2.5", 91, float("nan")])
found_records = st.builds(
    record, st.sampled_from(["lake", "sea"]), st.sampled_from([None, "A", "B", "C"]),
    st.none() | st.integers(0, 9), cells, cells,
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(found_records, max_size=30), st.booleans(), st.booleans())
def test_every_record_with_a_place_is_counted_once(tmp_path_factory, records, asked, table):
    workspace = tmp_path_factory.mktemp("ws")
    of_sample = {"A": (10.0, 20.0), "B": (1.0, 1.0)} if table else {}
    if table:
        samples(workspace, f"{HEAD}A\t10\t20\nB\t1\t1\nC\t\t\n")
    wanted: dict[tuple, list[int]] = {}
    for one in records:
        values = [one["columns"][name] for name in ("lat", "lon")] if asked else [None, None]
        own = all(value in (1, "1", 2.5, "-2.5") for value in values)
        # 91 is a longitude, and no latitude.
        own |= values[1] == 91 and values[0] in (1, "1", 2.5, "-2.5")
        place = tuple(map(float, values)) if own else of_sample.get(one["sample"])
        if place is not None:
            wanted.setdefault((one["dataset"], one["sample"] or "", *place), []).append(
                1 if one["abundance"] is None else one["abundance"]
            )
    found = places_of(workspace, records, ("lat", "lon") if asked else ())
    assert {(p.dataset, p.sample, p.latitude, p.longitude): (p.records, p.reads) for p in found} == {
        key: (len(reads), sum(reads)) for key, reads in wanted.items()
    }
    assert len(found) == len(wanted)
    assert [p.reads for p in found] == sorted((p.reads for p in found), reverse=True)


def test_from_the_hits_of_a_search(tmp_path):
    """What ``search.hits`` tells is what is read here."""
    add_run(tmp_path, "lake", "a", [1, 2, 1], columns={"lat": ["1", "", None], "lon": [2.0, None, 3.0]})
    samples(tmp_path, f"{HEAD}S2\t8\t9\n")
    wanted = Wanted(k=1, occurrences=True, columns=("lat", "lon"))
    [(_, hits)] = get_data_manager(tmp_path).search(run="lake/a", seq_idx=0, wanted=wanted)[1]
    assert places_of(tmp_path, hits, ("lat", "lon")) == [
        Place("lake", "S2", 8.0, 9.0, 1, 3),
        Place("lake", "S0", 1.0, 2.0, 1, 1),
    ]
