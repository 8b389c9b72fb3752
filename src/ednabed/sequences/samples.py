"""A table of samples: where each was taken, by the name that the records give it.

A TSV or CSV with a column of sample names (``sample``, ``sample_id``, ``samp_name``, ``eventID``, …), ``latitude`` and
``longitude`` (also ``decimalLatitude``, ``lat``, …), in degrees, and whatever else the user has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ednabed.errors import InputError
from ednabed.sequences.columns import SAMPLE, find_coordinates, listed, plain
from ednabed.sequences.delimited import find_dialect, read_delimited
from ednabed.sequences.opening import Source
from ednabed.sequences.sniffing import sniff
from ednabed.sequences.tables import text_of

NAMES = (*SAMPLE, "samp_name", "sample_name", "samplename", "#sampleid")
Coordinates = tuple[float, float]
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d{1,3},\d+\s*")


def read_samples(path: str | Path) -> Mapping[str, Coordinates]:
    """Return latitude and longitude, in degrees, by name of the sample; samples without both or a name are left out.

    Raises:
        InputError: The file cannot be read as a table, lacks a column or has it twice, names a sample twice with
            different places, or has a place that is not on the globe.
    """
    with Source(path, None, wanted="sample with its place") as source:
        if sniff(source.head, source.path) != "table":
            raise InputError(f"{source.path}: is no table of samples; give a TSV or CSV: sample, latitude, longitude")
        dialect = find_dialect(source)
        names = next((c for name in NAMES for c in dialect.columns if plain(c) == plain(name)), None)
        places = find_coordinates(dialect.columns)
        if names is None or places is None:
            lacking = "names of samples" if names is None else "latitude and longitude"
            raise InputError(
                f"{source.path}: no column of {lacking} among {listed(dialect.columns)}; name them sample, latitude "
                "and longitude"
            )
        twice = next((c for c in (names, *places) if dialect.columns.count(c) > 1), None)
        if twice is not None:
            raise InputError(f"{source.path}: two columns are named {twice!r}; rename one of them")
        found: dict[str, Coordinates] = {}
        for batch in read_delimited(source, dialect):
            columns = [text_of(batch.column(c), c, source.path).to_pylist() for c in (names, *places)]
            for name, latitude, longitude in zip(*columns, strict=True):
                place = to_coordinates(latitude, longitude)
                if place is None or not name.strip():
                    continue
                if isinstance(place, str):
                    raise InputError(f"{source.path}: sample {name!r}: {place}; correct it, or leave it empty")
                if found.setdefault(name.strip(), place) != place:
                    raise InputError(f"{source.path}: sample {name!r} stands twice, at different places; keep one")
    return found


def to_coordinates(latitude: object, longitude: object) -> Coordinates | str | None:
    """Return a place from what stands in two cells; None where one says nothing, a text where it cannot be a place."""
    numbers = []
    for cell, most, name in ((latitude, 90.0, "latitude"), (longitude, 180.0, "longitude")):
        text = str(cell)
        if _DECIMAL_COMMA.fullmatch(text):
            return f"its {name} is {text.strip()!r}, wanted a decimal point"
        try:
            # Python's own digit separator is no part of a number that people write.
            value = float(text.replace("_", "?"))
        except ValueError:
            # Empty, "not applicable", "missing: control sample" and the like.
            return None
        if value != value:
            return None
        if not -most <= value <= most:
            return f"its {name} is {text.strip()}, wanted degrees from -{most:.0f} to {most:.0f}"
        numbers.append(value)
    return numbers[0], numbers[1]
