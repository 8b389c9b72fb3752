"""Comparing the bases of pairs: compiled code and numpy, and the whole comparison with each.

One barcode is compared with 200 others of its marker, spread over the table; the least time of ``--repeats`` is
printed, because other work on the machine only adds to it.
"""

from __future__ import annotations

import argparse
import timeit
from collections.abc import Callable
from functools import partial

import numpy as np
from data import table

from ednabed.search.diagonals import find_diagonals, position_table
from ednabed.search.diagonals_compiled import find_diagonals_compiled
from ednabed.search.divergence import Comparer, PackedSequences
from ednabed.sequences import normalise_one

PAIRS = 200


def least(function: Callable[[], object], repeats: int) -> float:
    """Least time of a call, in microseconds a pair."""
    return min(timeit.repeat(function, number=1, repeat=repeats)) / PAIRS * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markers", nargs="+", default=["coi", "12s", "16s", "18s", "its"])
    parser.add_argument("--repeats", type=int, default=60)
    given = parser.parse_args()
    for marker in given.markers:
        sequences = [normalise_one(row["sequence"]) for row in table(marker)]
        if not sequences:
            print("the shared data are missing: nothing is measured")
            return
        held = PackedSequences.from_batches([sequences])
        rows = np.linspace(0, len(sequences) - 1, PAIRS).astype(np.int64)
        query, positions = held.codes(5), position_table()
        arguments = query, held.flat, held.starts, held.lengths, rows, positions
        times = []
        for find in (find_diagonals, find_diagonals_compiled):
            comparer = Comparer(held)
            comparer._find_diagonals = find
            times.append(least(partial(find, *arguments), given.repeats))
            times.append(least(partial(comparer.compare, query, rows, thorough=False), given.repeats))
        plain, plain_whole, fast, fast_whole = times
        print(
            f"{marker}, µs a pair in numpy and compiled: diagonals {plain:.2f}, {fast:.2f} ({plain / fast:.1f} times "
            f"as fast); whole comparison {plain_whole:.2f}, {fast_whole:.2f} ({plain_whole / fast_whole:.1f} times)"
        )


if __name__ == "__main__":
    main()
