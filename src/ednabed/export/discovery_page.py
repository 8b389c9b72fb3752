"""The report of ``discover``: one HTML file that needs no network and runs no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from ednabed.base.arrays import FloatArray
from ednabed.base.text import clean
from ednabed.maps.map2d import map_2d
from ednabed.sequences.lineage import Lineage
from ednabed.taxonomy.candidate_taxon import CandidateTaxon, Parent

WIDTH, HEIGHT, MARGIN = 760, 480, 16
"""Size of the map and of its empty margin, in pixels."""
MAX_ROWS, MAX_POINTS, MAX_SAMPLES = 500, 3_000, 6
"""Maximum groups, sequences on the map, and samples per group that the page shows; the tables contain all."""
PAGE_BEGINNING = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="ednabed discover">
"""
"""The beginning of the page."""
_HEAD = """\
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Candidate taxa</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1200px; padding: 0 1em; color: #222; }
svg { border: 1px solid #ccc; width: 100%; max-width: 760px; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; }
th, td { border-bottom: 1px solid #ddd; padding: 4px 8px; text-align: left; vertical-align: top; }
td.number { text-align: right; white-space: nowrap; }
.dot { display: inline-block; width: 10px; height: 10px; border-radius: 50%; margin-right: 5px; }
.warning { color: #a33c00; }
dt { float: left; clear: left; margin-right: 0.5em; color: #666; }
dd { margin: 0; }
</style>
</head>
<body>
<h1>Candidate taxa</h1>
"""
_COLUMNS = (
    "group", "candidate", "not in the reference", "within", "known in the reference", "reads", "sequences", "samples",
    "nearest named relative", "identity", "spread (mean, maximum)", "p", "q", "warnings",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Neighbour:
    """A sequence of the reference to show on the map.

    Attributes:
        id: Id of its first record.
        lineage: Its lineage.
        vector: float32, shape (dimension,), computed by the same function as the vectors of the sequences.
    """

    id: str
    lineage: Lineage
    vector: FloatArray


def page(
    candidates: Sequence[CandidateTaxon], neighbours: Sequence[Neighbour], summary: Mapping[str, str], seed: int
) -> str:
    """Return the page: summary, map and table; arguments as in ``discovery.write_discovery``."""
    parts = [PAGE_BEGINNING, _HEAD, _summary(candidates, summary)]
    if candidates:
        shown = candidates[:MAX_ROWS]
        nearest_ids = {one.representative.assignment.nearest_id for one in shown}
        if len(shown) < len(candidates):
            neighbours = [one for one in neighbours if one.id in nearest_ids]
            parts.append(
                f"<p>This page shows the {len(shown):,} groups with the most reads; candidates.tsv contains all "
                f"{len(candidates):,}.</p>\n"
            )
        parts += [_map(shown, neighbours, seed), _table(shown)]
    else:
        parts.append("<p>No sequence was found to be absent from the reference.</p>\n")
    return "".join([*parts, "</body>\n</html>\n"])


def _summary(candidates: Sequence[CandidateTaxon], summary: Mapping[str, str]) -> str:
    chosen = [one for one in candidates if one.candidate]
    lines = {
        **summary,
        "groups not in the reference": f"{len(candidates):,}, with {sum(one.sequences for one in candidates):,} "
        f"sequences and {sum(one.reads for one in candidates):,} reads",
        "candidate taxa among them": f"{len(chosen):,} (genus or a broader rank is not in the reference)",
        "candidates whose representative has warnings": f"{sum(bool(o.representative.warnings) for o in chosen):,}",
    }
    # If no record states its number of reads, each counts as one, and this line has no meaning.
    if any(member.novel.reads > 1 for one in candidates for member in one.members):
        lines["candidates with a single read"] = f"{sum(one.reads == 1 for one in chosen):,}"
    inner = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>\n" for name, value in lines.items())
    return f"<dl>\n{inner}</dl>\n"


def _map(candidates: Sequence[CandidateTaxon], neighbours: Sequence[Neighbour], seed: int) -> str:
    chosen = _on_map(candidates)
    vectors = [candidates[number].members[rank].novel.vector for number, rank in chosen]
    coordinates, method = map_2d(np.stack([*vectors, *(one.vector for one in neighbours)]), seed=seed)
    points = _on_page(coordinates).tolist()
    coloured, grey = points[: len(vectors)], points[len(vectors) :]
    marks = []
    for (x, y), (number, rank) in zip(coloured, chosen, strict=True):
        novel = candidates[number].members[rank].novel
        marks.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{3.5 if rank else 5.5}" fill="{_colour(number)}" '
            f'fill-opacity="0.8"><title>{candidates[number].id}: {_text(novel.ids[0])}, {_reads(novel.reads)}'
            f"{'' if rank else ', representative'}</title></circle>\n"
        )
    # Drawn last, because larger points would hide them.
    marks += [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="#444" stroke="#fff"><title>reference: {_text(one.id)}, '
        f"{_text(_names(one.lineage))}</title></circle>\n"
        for (x, y), one in zip(grey, neighbours, strict=True)
    ]
    grey_words = ", small grey points are their nearest named relatives in the reference" if neighbours else ""
    hidden = sum(one.sequences for one in candidates) - len(chosen)
    hidden_words = f" {hidden:,} sequences with fewer reads are not shown." if hidden else ""
    return (
        "<h2>Map</h2>\n"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Map of the sequences">\n{"".join(marks)}'
        "</svg>\n"
        f"<p>Each coloured point is a sequence, each colour is a group, larger points are representatives"
        f"{grey_words}; hover over a point to see its name.{hidden_words} Positions are computed by {method}. They are "
        "valid for this page only: distances on the map are not measurements, and another run gives another map. The "
        "measured distances are in the table.</p>\n"
    )


def _on_map(candidates: Sequence[CandidateTaxon]) -> list[tuple[int, int]]:
    """Choose candidates and members, as numbers: the representatives, then the members with the most reads; sorted."""
    members = [(number, rank) for number, one in enumerate(candidates) for rank in range(one.sequences)]
    members.sort(key=lambda pair: (pair[1] > 0, -candidates[pair[0]].members[pair[1]].novel.reads, pair))
    return sorted(members[:MAX_POINTS])


def _on_page(coordinates: FloatArray) -> FloatArray:
    """Scale coordinates to the page, equally in both directions, and centre them on it."""
    low, high = coordinates.min(axis=0), coordinates.max(axis=0)
    room = np.array([WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN], np.float32)
    span = np.maximum(high - low, 1e-9)
    scaled: FloatArray = (coordinates - (low + high) / 2) * float((room / span).min()) + np.array([WIDTH, HEIGHT]) / 2
    return scaled


def _table(candidates: Sequence[CandidateTaxon]) -> str:
    head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    rows = "".join(_row(number, one) for number, one in enumerate(candidates))
    return (
        "<h2>Groups not in the reference</h2>\n"
        f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n'
        "<p>The rank under “not in the reference” is the rank of the taxon that the reference lacks, according to the "
        "representative and most sequences of the group; any rank between it and the last assigned name may be absent "
        "too. p is the probability that a representative is at least this far from all named sequences if its taxon of "
        "that rank is in the reference; q is the expected share of wrong claims among all such claims of this run "
        "(Benjamini and Hochberg). “Known in the reference” counts the named genera and species, and the labelled "
        "sequences, that the reference has in the last assigned taxon: if they are few, many described taxa are absent "
        "from the reference. Identity and spread are in percent: the identity of the representative with its nearest "
        "named relative, and 100 - identity of the other sequences with the representative.</p>\n"
        "<p>A group is a candidate if its genus, or a broader taxon, is not in the reference; if only its species is "
        "absent, it may well be a described species. A candidate is a reason to look closer, not a described taxon: "
        "candidates with one or a few reads are often sequencing errors, and candidates with warnings may be "
        "artefacts.</p>\n"
    )


def _row(number: int, one: CandidateTaxon) -> str:
    found = one.representative.assignment
    nearest = "" if found.nearest_id is None else f"{found.nearest_id}, {_names(found.nearest_lineage)}"
    spread = f"{one.mean_difference:.1f}, {one.largest_difference:.1f}" if one.sequences > 1 else ""
    samples = _samples(one.samples)
    warnings = "; ".join(one.warnings)
    cells = [
        f'<td><span class="dot" style="background:{_colour(number)}"></span>{one.id}</td>',
        f"<td>{'yes' if one.candidate else 'no'}</td>",
        f"<td>{one.claim.rank}</td>",
        f"<td>{_text(_names(one.lineage))}</td>",
        f"<td>{_text(_parent_counts(one.parent))}</td>",
        f'<td class="number">{one.reads:,}</td>',
        f'<td class="number">{one.sequences:,}</td>',
        f"<td>{_text(samples)}</td>",
        f"<td>{_text(nearest)}</td>",
        f'<td class="number">{"" if found.identity is None else f"{found.identity:.1f}"}</td>',
        f'<td class="number">{spread}</td>',
        f'<td class="number">{one.claim.p:.3g}</td>',
        f'<td class="number">{one.claim.q:.3g}</td>',
        f'<td class="warning">{_text(warnings)}</td>',
    ]
    return f"<tr>{''.join(cells)}</tr>\n"


def _parent_counts(parent: Parent | None) -> str:
    """Return the numbers of genera, species and sequences of a taxon in the reference."""
    if parent is None:
        return ""
    return f"{parent.name}: {parent.genera:,} genera, {parent.species:,} species, {parent.sequences:,} sequences"


def _samples(reads: Mapping[str, int]) -> str:
    """Return the names of the samples; if there are many, only the samples with the most reads."""
    if len(reads) <= MAX_SAMPLES:
        return ", ".join(f"{name} ({count:,})" for name, count in reads.items())
    first = sorted(reads.items(), key=lambda item: (-item[1], item[0]))[: MAX_SAMPLES - 1]
    return ", ".join(f"{name} ({count:,})" for name, count in first) + f" and {len(reads) - len(first):,} more"


def _names(lineage: Lineage) -> str:
    return " › ".join(name for name in lineage if name) or "no name"


def _reads(reads: int) -> str:
    return f"{reads:,} read{'' if reads == 1 else 's'}"


def _colour(number: int) -> str:
    """Return a colour that differs clearly from the colours of the preceding numbers: hues are a golden angle apart."""
    return f"hsl({number * 137.508 % 360:.0f},65%,{(42, 55, 33)[number // 12 % 3]}%)"


def _text(text: str) -> str:
    return escape(clean(text))
