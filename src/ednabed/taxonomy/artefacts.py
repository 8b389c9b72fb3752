"""Signs that a sequence does not come from an organism: stop codons, low complexity, unusual length, two parents.

Each sign is a reason to look closer, not a verdict. How often each occurs:

- Stop codons: in 0.1 % of 41,225 insect barcodes of BOLD, 0.6 % of 1,794 COI genes of fish mitogenomes, 0.8 % of 11,231
  records of plants, protists, fungi and bacteria. Some published sets have many broken frames, up to half of their
  records. Of 1,000 insect barcodes with one base deleted, 99 % are detected; of crops to 313 bases 88 %, to 150 57 %.
- Low complexity: in 0.06 % of COI records, 0.12 % of 18S, 0.01 % of 16S, and no record of 12S and ITS.
- Length: one in 2,000 reads of a COI amplicon, 3 % of the sequences of an 18S V9 amplicon.
- Two parents: see ``chimeras``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ednabed.base.arrays import Ints
from ednabed.base.bases import OTHER, encode
from ednabed.sequences.lineage import Lineage
from ednabed.taxonomy.chimeras import ParentPool, find_chimera
from ednabed.taxonomy.genetic_codes import codes_of, stops_of

DUST_WINDOW = 64
"""Bases in the window in which complexity is measured, as in sdust."""
MAX_DUST = 4.0
"""Maximum score of a window. sdust masks from 2, but at 2 the AT-rich COI of insects often has low complexity."""
COI_NAMES = frozenset(("coi", "coi-5p", "cox1", "co1"))
"""Names of the marker, in lower case, whose sequences are tested for stop codons."""
MIN_LENGTHS = 5
"""Minimum number of sequences from which a usual length is estimated."""
LENGTH_WIDTHS = 6.0
"""Standard deviations (1.4826 times the median absolute deviation) that a length may deviate from the median."""
LENGTH_FLOOR = 0.1
"""Share of the median that a length may always deviate, because the lengths of one amplicon hardly vary."""


@dataclass(frozen=True, slots=True)
class UsualLength:
    """The usual range of lengths of the sequences of a run.

    Attributes:
        median: Median length, in bases.
        minimum: Minimum usual length.
        maximum: Maximum usual length.
    """

    median: float
    minimum: float
    maximum: float

    @classmethod
    def from_lengths(cls, lengths: Iterable[int]) -> UsualLength | None:
        """Return the median plus or minus six robust standard deviations, and at least 10 % of the median.

        Args:
            lengths: Lengths of all distinct sequences of a run and one marker, novel or not.

        Returns:
            None if there are fewer than five.
        """
        values = np.array(list(lengths), np.float64)
        if len(values) < MIN_LENGTHS:
            return None
        median = float(np.median(values))
        width = max(LENGTH_WIDTHS * 1.4826 * float(np.median(np.abs(values - median))), LENGTH_FLOOR * median)
        return cls(median, median - width, median + width)


def warnings_of(
    sequence: str,
    *,
    marker: str | None,
    lineage: Lineage,
    usual: UsualLength | None = None,
    reads: int = 1,
    pool: ParentPool | None = None,
    references: Sequence[str] = (),
) -> tuple[str, ...]:
    """Return warnings about a sequence, a short sentence each, without a full stop.

    Args:
        sequence: Normalised bases, on the strand of the reference.
        marker: Marker of the sequence; only COI is searched for stop codons.
        lineage: The names assigned to the sequence, which determine the genetic code; all empty where unknown.
        usual: Usual lengths; None skips the test of the length.
        reads: Reads of the sequence; its parents in ``pool`` have at least twice as many.
        pool: The distinct sequences of the run; None takes no parents from the run.
        references: Sequences of the reference that may be parents, on the reference's strand: the nearest ones.

    Returns:
        The warnings in a fixed order; empty if there is nothing unusual.
    """
    found = []
    if marker is not None and marker.lower() in COI_NAMES and has_stops(sequence, lineage):
        numbers = codes_of(lineage)
        code = f"genetic code {numbers[0]}" if len(numbers) == 1 else "every possible genetic code"
        found.append(f"stop codons in all three frames under {code}")
    score = dust(sequence)
    if score > MAX_DUST:
        found.append(f"low complexity (DUST score {score:.1f}, usually at most {MAX_DUST:g})")
    if usual is not None and not usual.minimum <= len(sequence) <= usual.maximum:
        found.append(f"length {len(sequence)}, where {usual.median:g} is usual")
    parents = list(dict.fromkeys([*(pool.likely_parents(sequence, reads) if pool is not None else ()), *references]))
    chimera = find_chimera(sequence, [parent for parent in parents if parent != sequence])
    if chimera is not None:
        found.append(
            f"possible chimera: two parents joined at base {chimera.breakpoint} explain {chimera.identity:.1f} % "
            f"of it, the best single parent {chimera.best_single:.1f} %"
        )
    return tuple(found)


def has_stops(sequence: str, lineage: Lineage) -> bool:
    """Return whether a coding sequence has a stop codon in each of its three frames.

    A codon counts as a stop if it is one in every genetic code that the lineage can have. The last complete codon of a
    frame does not count, because genes end with a stop. A frameshift (a deleted base) shows in the same way, because
    the other two frames nearly always have stops.

    Args:
        sequence: Normalised bases on the coding strand, starting in any frame.
        lineage: See ``genetic_codes.codes_of``.
    """
    stops = stops_of(lineage)
    return all(any(sequence[i : i + 3] in stops for i in range(frame, len(sequence) - 5, 3)) for frame in range(3))


def dust(sequence: str) -> float:
    """Return the highest DUST score (Morgulis et al. 2006, J. Comput. Biol. 13:1028) of a window of 64 bases.

    The score of a window is the sum, over the 64 triplets, of c (c - 1) / 2, where c is how often the triplet occurs in
    the window, divided by the number of triplets minus one. A random window scores about 0.5, ``A`` repeated 30.5, a
    window that is random except for a homopolymer of 30 bases about 6.5. Triplets with N all count as different.

    Args:
        sequence: Normalised bases; a sequence shorter than 64 is one window, and below five bases the score is 0.
    """
    triplets = _triplets(sequence)
    width = min(DUST_WINDOW - 2, len(triplets))
    if width < 3:
        return 0.0
    windows = len(triplets) - width + 1
    pairs = np.zeros(windows, np.int64)
    for lag in range(1, width):
        # equal[i]: how many of the first i positions have the same triplet as ``lag`` positions further on.
        equal = np.concatenate(([0], np.cumsum(triplets[:-lag] == triplets[lag:])))
        pairs += equal[width - lag : width - lag + windows] - equal[:windows]
    return float(pairs.max()) / (width - 1)


def _triplets(sequence: str) -> Ints:
    codes = encode(sequence.encode()).astype(np.int64)
    if len(codes) < 3:
        return np.empty(0, np.int64)
    known = (codes[:-2] < OTHER) & (codes[1:-1] < OTHER) & (codes[2:] < OTHER)
    triplets: Ints = np.where(known, 16 * codes[:-2] + 4 * codes[1:-1] + codes[2:], -1 - np.arange(len(codes) - 2))
    return triplets
