"""Where on the globe records were found, by the coordinates that they have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ednabed.sequences.samples import Coordinates, to_coordinates


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


def places_of(records: Iterable[Mapping[str, Any]], coordinates: Sequence[str]) -> list[Place]:
    """Return where some records were found, by dataset, sample and place, those with most reads first.

    Records without coordinates, or with what cannot be any, are left out.

    Args:
        records: Dicts with ``dataset``, ``sample``, ``abundance`` and ``columns`` (``search.hits``).
        coordinates: Columns of latitude and longitude of the records; empty where they have none.
    """
    found: dict[tuple[str, str, Coordinates], list[int]] = {}
    for record in records if coordinates else ():
        latitude, longitude = (record["columns"].get(name) for name in coordinates)
        place = to_coordinates(latitude, longitude)
        if not isinstance(place, tuple):
            continue
        sums = found.setdefault((record["dataset"], record["sample"] or "", place), [0, 0])
        sums[0] += 1
        sums[1] += 1 if record["abundance"] is None else int(record["abundance"])
    places = [Place(dataset, sample, *place, *sums) for (dataset, sample, place), sums in found.items()]
    return sorted(places, key=lambda p: (-p.reads, p.dataset, p.sample))
