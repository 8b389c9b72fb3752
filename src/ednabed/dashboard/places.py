"""Sampling locations of records, from their coordinates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ednabed.search.hit import Hit
from ednabed.sequences.samples import Coordinates, to_coordinates


@dataclass(frozen=True)
class SampleLocation:
    """A sample at a location.

    Attributes:
        dataset: Its dataset.
        sample: Its name; empty if the records have no sample.
        latitude: Degrees, north positive.
        longitude: Degrees, east positive.
        records: Number of its records.
        reads: Sum of their abundances; records without an abundance count as 1.
    """

    dataset: str
    sample: str
    latitude: float
    longitude: float
    records: int
    reads: int


def sample_locations(records: Iterable[Hit], coordinates: Sequence[str]) -> list[SampleLocation]:
    """Return the locations of records by dataset, sample and coordinates, in descending order of reads.

    Records without coordinates, or with invalid ones, are omitted.

    Args:
        records: Hits, one per record, with these columns.
        coordinates: Columns of latitude and longitude of the records; empty if they have none.
    """
    found: dict[tuple[str, str, Coordinates], list[int]] = {}
    for record in records if coordinates else ():
        latitude, longitude = ((record.columns or {}).get(name) for name in coordinates)
        location = to_coordinates(latitude, longitude)
        if not isinstance(location, tuple):
            continue
        sums = found.setdefault((record.dataset or "", record.sample or "", location), [0, 0])
        sums[0] += 1
        sums[1] += record.reads
    locations = [
        SampleLocation(dataset, sample, *location, *sums) for (dataset, sample, location), sums in found.items()
    ]
    return sorted(locations, key=lambda p: (-p.reads, p.dataset, p.sample))
