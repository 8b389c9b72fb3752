"""Plotly figures: points on a map of sequences, samples on a world map, composition of samples."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ednabed.base.text import clean, shortened
from ednabed.dashboard.places import SampleLocation
from ednabed.dashboard.results import UNNAMED

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#17807e")
OTHER, UNKNOWN, MARKED = "#9a9a9a", "#d9d9d9", "#d40000"
MAX_GROUPS = len(COLOURS)
NO_NAME = "(none)"
_MAX_LABEL = 45
_COASTLINE = Path(__file__).with_name("data") / "coastline.json"
_BARE = {"visible": False, "showgrid": False, "zeroline": False}


def figure_text(value: str) -> str:
    """Return a text for a figure, with HTML escaped, because Plotly interprets some of it."""
    return escape(clean(value), quote=False)


def groups(values: Sequence[str], maximum: int = MAX_GROUPS) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Group values for a legend: the most frequent ones, all others together, and those without a value.

    Args:
        values: The values; empty if there is none.
        maximum: Maximum number of values with their own group.

    Returns:
        Names of the groups, and the group of each value, int64.
    """
    counts = Counter(value for value in values if value)
    named = [name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:maximum]]
    rest = len(counts) - len(named)
    order = {name: index for index, name in enumerate(named)}
    labels = [*named, *([others(rest)] if rest else []), *([NO_NAME] if "" in values else [])]
    other, none = len(named), len(labels) - 1
    return labels, np.array([order.get(value, other) if value else none for value in values], np.int64)


def others(count: int) -> str:
    """Return the name of the group of all other values."""
    return "1 other" if count == 1 else f"{count:,} others"


def colour_of(label: str, index: int) -> str:
    """Return the colour of the group with this label and index."""
    if label in (NO_NAME, UNNAMED):
        return UNKNOWN
    return COLOURS[index] if index < MAX_GROUPS and not re.fullmatch(r"1 other|[0-9,]+ others", label) else OTHER


def sequence_map(
    positions: npt.NDArray[np.float32],
    labels: Sequence[str],
    group: npt.NDArray[np.int64],
    hover: Sequence[str],
    rows: npt.NDArray[np.int64],
    *,
    marked: tuple[npt.NDArray[np.float32], Sequence[str], str] | None = None,
) -> go.Figure:
    """Draw sequences as points.

    Args:
        positions: Positions on the map, float32, shape (n, 2).
        labels: Names of the groups.
        group: Group of each point, int64, shape (n,).
        hover: Hover text of each point, as HTML (``text``).
        rows: Row of each point, which a selection returns, int64, shape (n,).
        marked: Larger points drawn above all others: positions, hover texts, and their name in the legend.
    """
    import plotly.graph_objects as go

    shown = np.asarray(hover, object)
    size = float(np.clip(9 - np.log10(max(len(positions), 1)) * 1.3, 3, 7))
    figure = go.Figure()
    common: dict[str, Any] = {"mode": "markers", "hovertemplate": "%{text}<extra></extra>"}
    # Points without a name are drawn first, so that they hide nothing.
    for number in reversed(range(len(labels))):
        in_group = group == number
        marker = {"size": size, "color": colour_of(labels[number], number), "opacity": 0.8}
        figure.add_trace(
            go.Scattergl(
                x=positions[in_group, 0], y=positions[in_group, 1], text=shown[in_group], customdata=rows[in_group],
                name=f"{figure_text(shortened(labels[number], _MAX_LABEL))} ({int(in_group.sum()):,})", marker=marker,
                legendrank=number, **common,
            )
        )  # fmt: skip
    if marked is not None:
        above, hover_texts, name = marked
        figure.add_trace(
            go.Scattergl(
                x=above[:, 0], y=above[:, 1], text=list(hover_texts), name=figure_text(name), legendrank=999,
                marker={"size": 11, "color": MARKED, "symbol": "diamond", "line": {"width": 1, "color": "white"}},
                **common,
            )
        )  # fmt: skip
    figure.update_layout(
        height=700,
        # Room for the buttons, which would otherwise hide the first name of the legend.
        margin={"l": 0, "r": 0, "t": 40, "b": 0},
        dragmode="lasso",
        uirevision="map",
        showlegend=True,
        xaxis=_BARE,
        yaxis={**_BARE, "scaleanchor": "x"},
        legend={"itemsizing": "constant"},
        hoverlabel={"align": "left"},
    )
    return figure


@lru_cache(maxsize=1)
def _coast() -> tuple[list[float | None], list[float | None]]:
    lines = json.loads(_COASTLINE.read_text(encoding="utf-8"))["lines"]
    x: list[float | None] = []
    y: list[float | None] = []
    for line in lines:
        x += [*(point[0] for point in line), None]
        y += [*(point[1] for point in line), None]
    return x, y


def world(locations: Sequence[SampleLocation]) -> go.Figure:
    """Draw samples on a world map (equirectangular, in degrees); the more reads, the larger the marker."""
    import plotly.graph_objects as go

    reads = np.array([location.reads for location in locations], np.float64)
    x = np.array([location.longitude for location in locations])
    y = np.array([location.latitude for location in locations])
    hover_texts = [
        f"{figure_text(p.sample or p.dataset)}<br>{figure_text(p.dataset)}<br>{p.latitude:.4f}, {p.longitude:.4f}<br>"
        f"{p.reads:,} reads"
        for p in locations
    ]
    coast_x, coast_y = _coast()
    figure = go.Figure()
    figure.add_trace(
        go.Scatter(x=coast_x, y=coast_y, mode="lines", line={"color": "#8a8a8a", "width": 1}, hoverinfo="skip")
    )
    marker = {
        "size": 7 + 15 * np.sqrt(reads / max(reads.max(), 1)),
        "color": MARKED,
        "opacity": 0.65,
        "line": {"width": 1, "color": "white"},
    }
    figure.add_trace(
        go.Scatter(x=x, y=y, mode="markers", marker=marker, text=hover_texts, hovertemplate="%{text}<extra></extra>")
    )
    # The samples and some land around them.
    half_width = max(float(np.ptp(x)) / 2, float(np.ptp(y)), 12.0) * 1.4
    middle_x, middle_y = float(x.max() + x.min()) / 2, float(y.max() + y.min()) / 2
    figure.update_layout(
        height=360,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        showlegend=False,
        dragmode="pan",
        xaxis={"title": "longitude", "range": [middle_x - half_width, middle_x + half_width], "zeroline": False},
        yaxis={
            "title": "latitude",
            "range": [middle_y - half_width / 2, middle_y + half_width / 2],
            "zeroline": False,
        },
    )
    return figure


def composition(
    samples: Sequence[str], labels: Sequence[str], reads: npt.NDArray[np.int64], *, share: bool
) -> go.Figure:
    """Draw the composition of samples, one bar per sample.

    Args:
        samples: Names of the samples, length s.
        labels: Names of the groups, length g.
        reads: Reads of each group in each sample, int64, shape (g, s).
        share: Draw percentages of the reads of a sample instead of reads.
    """
    import plotly.graph_objects as go

    sums = np.maximum(reads.sum(axis=0), 1)
    values = 100 * reads / sums if share else reads
    names = [figure_text(name) for name in samples]
    unit = "%{y:.1f} %" if share else "%{y:,} reads"
    figure = go.Figure()
    for number, label in enumerate(labels):
        figure.add_trace(
            go.Bar(
                x=names, y=values[number], name=figure_text(label), marker={"color": colour_of(label, number)},
                # Refers to the name: a label put into the template itself would be interpreted as a template.
                hovertemplate=f"%{{x}}: %{{fullData.name}}, {unit}<extra></extra>",
            )
        )  # fmt: skip
    figure.update_layout(
        barmode="stack",
        height=430,
        margin={"l": 0, "r": 0, "t": 10, "b": 0},
        yaxis={"title": "share of reads, %" if share else "reads"},
        xaxis={"type": "category", "tickangle": -60 if len(samples) > 20 else -45, "dtick": 1},
    )
    return figure


def lines(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], x_name: str, y_name: str) -> go.Figure:
    """Draw named curves, each given as its x and y values."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for name, (x, y) in curves.items():
        figure.add_trace(go.Scatter(x=list(x), y=list(y), mode="lines", name=figure_text(name)))
    figure.update_layout(
        height=360, margin={"l": 0, "r": 0, "t": 10, "b": 0}, xaxis={"title": x_name}, yaxis={"title": y_name}
    )
    return figure
