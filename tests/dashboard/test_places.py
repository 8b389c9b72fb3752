"""Sampling locations of records, summed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ednabed.dashboard.places import SampleLocation, sample_locations
from ednabed.search.hit import Hit
from ednabed.search.hits import SearchOptions
from ednabed.workflows.search import QueryInput, Searcher
from reference_support import add_run


def record(dataset="lake", sample="A", abundance=1, latitude=None, longitude=None, columns=True) -> Hit:
    located = {"lat": latitude, "lon": longitude} if columns else None
    return Hit(
        1, 1.0, 0.0, "r", dataset, "a", 0, sample, abundance, None, 1, {dataset: 1}, 9, None, None, columns=located
    )  # fmt: skip


def test_no_location_is_known():
    records = [record(), record(sample=None, latitude="1")]
    assert sample_locations(records, ("lat", "lon")) == []
    assert sample_locations(records, ()) == []
    assert sample_locations([], ("lat", "lon")) == []
    # Callers without coordinates have no such columns.
    assert sample_locations([record(columns=False)], ()) == []


def test_invalid_coordinates_are_omitted():
    records = [
        record(latitude=50.5, longitude="-7", abundance=5),
        record(latitude=50.5, longitude=-7, abundance=None),
        record(latitude=None, longitude=-7),
        record(latitude="not applicable", longitude="x"),
        record(latitude=95, longitude=3),
        record(sample=None, latitude=1, longitude=2, abundance=9),
    ]
    assert sample_locations(records, ("lat", "lon")) == [
        SampleLocation("lake", "", 1.0, 2.0, 1, 9),
        SampleLocation("lake", "A", 50.5, -7.0, 2, 6),
    ]


cells = st.sampled_from([None, "", "nan", 1, "1", 2.5, "-2.5", 91, float("nan")])
found_records = st.builds(
    record, st.sampled_from(["lake", "sea"]), st.sampled_from([None, "A", "B", "C"]),
    st.none() | st.integers(0, 9), cells, cells,
)  # fmt: skip


@given(st.lists(found_records, max_size=30), st.booleans())
def test_every_record_with_a_location_is_counted_once(records, asked):
    wanted: dict[tuple, list[int]] = {}
    for one in records:
        values = [one.columns[name] for name in ("lat", "lon")] if asked else [None, None]
        own = all(value in (1, "1", 2.5, "-2.5") for value in values)
        # 91 is a longitude, but not a latitude.
        own |= values[1] == 91 and values[0] in (1, "1", 2.5, "-2.5")
        place = tuple(map(float, values)) if own else None
        if place is not None:
            wanted.setdefault((one.dataset, one.sample or "", *place), []).append(
                1 if one.abundance is None else one.abundance
            )
    found = sample_locations(records, ("lat", "lon") if asked else ())
    assert {(p.dataset, p.sample, p.latitude, p.longitude): (p.records, p.reads) for p in found} == {
        key: (len(reads), sum(reads)) for key, reads in wanted.items()
    }
    assert len(found) == len(wanted)
    assert [p.reads for p in found] == sorted((p.reads for p in found), reverse=True)


def test_from_the_hits_of_a_search(tmp_path):
    """The records of ``search.hits`` are accepted."""
    add_run(tmp_path, "lake", "a", [1, 2, 1], columns={"lat": ["1", "", None], "lon": [2.0, None, 3.0]})
    wanted = SearchOptions(k=1, occurrences=True, columns=("lat", "lon"))
    [(_, hits)] = Searcher(tmp_path).search(QueryInput("lake/a", 0), options=wanted)[1]
    assert sample_locations(hits, ("lat", "lon")) == [
        SampleLocation("lake", "S0", 1.0, 2.0, 1, 1),
    ]
