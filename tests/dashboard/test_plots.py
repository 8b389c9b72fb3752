"""Figures: groups and colours, and names from users shown as text."""

from __future__ import annotations

import re
from collections import Counter
from html import unescape

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.base.text import clean
from ednabed.dashboard.places import SampleLocation
from ednabed.dashboard.plots import (
    COLOURS,
    MAX_GROUPS,
    NO_NAME,
    OTHER,
    UNKNOWN,
    colour_of,
    composition,
    figure_text,
    groups,
    lines,
    others,
    sequence_map,
    world,
)
from ednabed.dashboard.results import UNNAMED

pytest.importorskip("plotly")
EVIL = '<b>x</b> & "y" <a href="javascript:alert(1)">%{x}</a>'

# -- texts -------------------------------------------------------------------------------------------------------------


@given(st.text(st.characters(), max_size=30) | st.just(EVIL))
def test_nothing_in_a_text_is_html(value):
    found = figure_text(value)
    assert not set(found) & set("<>")
    assert unescape(found) == unescape(unescape(found).replace("&", "&amp;")) or "&" in value
    assert found.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == clean(value)


# -- groups ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(["", "a", "b", "c", "d", "e"]) | st.text(max_size=2), max_size=40), st.integers(1, 6))
def test_groups_are_the_most_frequent_values(values, maximum):
    labels, group = groups(values, maximum)
    counts = Counter(value for value in values if value)
    named = sorted(counts, key=lambda name: (-counts[name], name))[:maximum]
    rest = len(counts) - len(named)
    assert labels == named + ([others(rest)] if rest else []) + ([NO_NAME] if "" in values else [])
    assert group.dtype == np.int64 and group.shape == (len(values),)
    for value, number in zip(values, group.tolist(), strict=True):
        place = named.index(value) if value in named else len(labels) - 1 if not value else len(named)
        assert number == place


def test_names_and_colours_of_groups():
    assert (others(1), others(2), others(1234)) == ("1 other", "2 others", "1,234 others")
    labels = [f"F{i}" for i in range(MAX_GROUPS)]
    assert [colour_of(label, place) for place, label in enumerate(labels)] == list(COLOURS)
    assert len(set(COLOURS)) == MAX_GROUPS and not {OTHER, UNKNOWN} & set(COLOURS)
    assert colour_of(others(3), 2) == colour_of("1,234 others", 0) == colour_of("x", MAX_GROUPS) == OTHER
    assert colour_of(NO_NAME, 1) == colour_of(UNNAMED, 11) == UNKNOWN
    assert colour_of("3 others and me", 1) == COLOURS[1]


# -- the map -----------------------------------------------------------------------------------------------------------


def sample_points(n: int = 30, seed: int = 0):
    rng = np.random.default_rng(seed)
    values = [("", "Gadidae", EVIL, "Salmonidae")[i] for i in rng.integers(0, 4, n)]
    return rng.standard_normal((n, 2)).astype(np.float32), values, rng.permutation(1000)[:n]


def points_of(trace) -> list[tuple]:
    return list(zip(np.asarray(trace.customdata).tolist(), np.asarray(trace.x).tolist(), np.asarray(trace.y).tolist(),
                    list(trace.text), strict=True))  # fmt: skip


def test_each_point_is_drawn_once_and_gives_its_row_back():
    places, values, rows = sample_points()
    labels, group = groups(values)
    hover = [f"h{row}" for row in rows]
    figure = sequence_map(places, labels, group, hover, rows)
    assert len(figure.data) == len(labels)
    wanted = [(int(row), *map(float, place), said) for row, place, said in zip(rows, places, hover, strict=True)]
    assert sorted(point for trace in figure.data for point in points_of(trace)) == sorted(wanted)
    for trace in figure.data:
        label = labels[trace.legendrank]
        own = {int(row) for row, value in zip(rows, values, strict=True) if (value or NO_NAME) == label}
        assert {point[0] for point in points_of(trace)} == own
        shown = label if len(label) <= 45 else f"{label[:44]}…"
        assert trace.name == f"{figure_text(shown)} ({len(own)})"
        assert trace.marker.color == colour_of(label, trace.legendrank)
    # Those without a name lie below all others.
    assert figure.data[0].name.startswith(NO_NAME)
    assert figure.layout.yaxis.scaleanchor == "x", "distances are the same both ways"


def test_names_are_text_on_the_map():
    places, values, rows = sample_points()
    labels, group = groups(values)
    figure = sequence_map(places, labels, group, [figure_text(value) for value in values], rows,
                          marked=(places[:2], [figure_text(EVIL)] * 2, EVIL))  # fmt: skip
    for trace in figure.data:
        assert not re.search("<[ab]", trace.name)
        assert not any(re.search("<[ab]", said) for said in trace.text)
        assert trace.hovertemplate == "%{text}<extra></extra>"
    assert figure.data[-1].name == figure_text(EVIL)


def test_marked_points_are_drawn_above_all():
    places, values, rows = sample_points()
    above = np.array([[1, 2], [3, 4]], np.float32)
    figure = sequence_map(places, *groups(values), values, rows, marked=(above, ["one", "two"], "yours"))
    last = figure.data[-1]
    assert (last.name, list(last.x), list(last.y), list(last.text)) == ("yours", [1, 3], [2, 4], ["one", "two"])
    assert last.marker.size > figure.data[0].marker.size
    # They are not rows of the collection.
    assert last.customdata is None


@pytest.mark.parametrize("count", [0, 1, 20_000])
def test_any_number_of_points(count):
    rows = np.arange(count)
    figure = sequence_map(np.zeros((count, 2), np.float32), *groups(["a"] * count), ["x"] * count, rows)
    assert sum(len(trace.x) for trace in figure.data) == count
    assert all(3 <= trace.marker.size <= 7 for trace in figure.data)
    figure.to_json()


# -- the globe ---------------------------------------------------------------------------------------------------------

degrees = st.builds(SampleLocation, st.sampled_from(["lake", EVIL]), st.sampled_from(["", "A"]), st.floats(-90, 90),
                    st.floats(-180, 180), st.integers(1, 9), st.integers(0, 10**7))  # fmt: skip


@given(st.lists(degrees, min_size=1, max_size=8))
def test_all_samples_are_in_sight(places):
    figure = world(places)
    coast, samples = figure.data
    assert coast.hoverinfo == "skip" and len(coast.x) == len(coast.y) > 1000
    assert list(samples.x) == [place.longitude for place in places]
    assert list(samples.y) == [place.latitude for place in places]
    (left, right), (below, above) = figure.layout.xaxis.range, figure.layout.yaxis.range
    for place in places:
        assert left < place.longitude < right and below < place.latitude < above
    # Some land is in sight, and a degree is the same both ways on a page twice as wide as high.
    assert right - left >= 2 * 12 and right - left == pytest.approx(2 * (above - below))
    sizes = np.asarray(samples.marker.size)
    assert np.isfinite(sizes).all() and (sizes >= 7).all() and (sizes <= 22).all()
    most = max(places, key=lambda place: place.reads)
    assert sizes[places.index(most)] == sizes.max()
    assert not any(re.search("<[ab]>", said) for said in samples.text)


def test_hover_text_of_a_sample():
    said = (
        world([SampleLocation(EVIL, "", 1.5, -2.25, 3, 1234), SampleLocation("lake", "A<b>", 0, 0, 1, 1)]).data[1].text
    )
    assert said[0] == f"{figure_text(EVIL)}<br>{figure_text(EVIL)}<br>1.5000, -2.2500<br>1,234 reads"
    assert said[1].startswith("A&lt;b&gt;<br>lake<br>")


# -- composition -------------------------------------------------------------------------------------------------------


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_shares_sum_to_a_hundred(taxa, samples, seed):
    rng = np.random.default_rng(seed)
    reads = rng.integers(0, 1000, (taxa, samples)) * rng.integers(0, 2, samples)
    names, labels = [f"S{i}" for i in range(samples)], [f"F{i}" for i in range(taxa)]
    figure = composition(names, labels, reads, share=True)
    values = np.array([trace.y for trace in figure.data])
    for sample in range(samples):
        total = reads[:, sample].sum()
        assert values[:, sample].sum() == pytest.approx(100 if total else 0)
        assert values[:, sample] == pytest.approx(100 * reads[:, sample] / max(total, 1))
    figure = composition(names, labels, reads, share=False)
    assert np.array_equal([trace.y for trace in figure.data], reads)
    assert [trace.name for trace in figure.data] == labels
    assert all(list(trace.x) == names for trace in figure.data)


def test_names_are_text_in_bars_and_curves():
    figure = composition([EVIL, "1"], [EVIL, UNNAMED], np.ones((2, 2), np.int64), share=True)
    assert figure.layout.xaxis.type == "category", "a sample called 1 is a name"
    assert list(figure.data[0].x) == [figure_text(EVIL), "1"]
    assert [trace.name for trace in figure.data] == [figure_text(EVIL), figure_text(UNNAMED)]
    assert figure.data[1].marker.color == UNKNOWN
    for trace in figure.data:
        # Plotly would fill in anything between braces.
        assert set(re.findall(r"%\{(.*?)\}", trace.hovertemplate)) == {"x", "fullData.name", "y:.1f"}
        assert EVIL not in trace.hovertemplate and "&lt;" not in trace.hovertemplate
    (curve,) = lines({EVIL: ([1, 2], [3.0, 4.0])}, "reads", "taxa").data
    assert (curve.name, list(curve.x), list(curve.y)) == (figure_text(EVIL), [1, 2], [3.0, 4.0])
