"""Where on the globe records were found: by coordinates of their own, else by those of their sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ednabed.sequences.samples import Coordinates, read_samples, to_coordinates

SAMPLES = ("samples.tsv", "samples.csv")
"""Files in ``data`` of a workspace that say where samples were taken; the first that is there is read."""


@dataclass(frozen=True)
class Place:
    """A sample at a place.

    Attributes:
        dataset: Its dataset.
        sample: Its name; empty where the records name none.
        latitude: Degrees, north positive.
        longitude: Degrees, east positive.
        records: Records found there.
        reads: Sum of their abundances, 1 for each that says none.
    """

    dataset: str
    sample: str
    latitude: float
    longitude: float
    records: int
    reads: int


def samples_path(workspace: Path) -> Path | None:
    """Return the table of samples of a workspace; None where it has none."""
    paths = (workspace / "data" / name for name in SAMPLES)
    return next((path for path in paths if path.is_file()), None)


def places_of(workspace: Path, records: Iterable[Mapping[str, Any]], coordinates: Sequence[str]) -> list[Place]:
    """Return where some records were found, by dataset, sample and place, those with most reads first.

    Args:
        workspace: Whose table of samples tells the places of records without coordinates.
        records: Dicts with ``dataset``, ``sample``, ``abundance``, and ``columns`` where there are coordinates
            (``search.hits``).
        coordinates: Columns of latitude and longitude of the records; empty where they have none.

    Raises:
        InputError: The table of samples cannot be read.
    """
    path = samples_path(workspace)
    known: Mapping[str, Coordinates] = {} if path is None else read_samples(path)
    found: dict[tuple[str, str, Coordinates], list[int]] = {}
    for record in records:
        place: Coordinates | str | None = None
        if coordinates:
            latitude, longitude = (record["columns"].get(name) for name in coordinates)
            place = to_coordinates(latitude, longitude)
        if not isinstance(place, tuple):
            place = known.get(record["sample"] or "")
        if place is None:
            continue
        sums = found.setdefault((record["dataset"], record["sample"] or "", place), [0, 0])
        sums[0] += 1
        sums[1] += 1 if record["abundance"] is None else int(record["abundance"])
    places = [Place(dataset, sample, *place, *sums) for (dataset, sample, place), sums in found.items()]
    return sorted(places, key=lambda p: (-p.reads, p.dataset, p.sample))
