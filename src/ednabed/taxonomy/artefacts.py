"""Signs that a sequence is no sequence of an organism: stop codons, low complexity, an odd length, two parents.

Each sign is a reason to look, no verdict. How often they speak up:

- Stop codons: 0.1 % of 41,225 insect barcodes of BOLD, 0.6 % of 1,794 COI genes of fish mitogenomes, 0.8 % of 11,231
  records of plants, protists, fungi and bacteria. Some published sets have broken frames in plenty, up to half of the
  records. Of 1,000 of the insects with one letter lost 99 % are told, of crops to 313 letters 88 %, to 150 57 %.
- Low complexity: 0.06 % of COI records, 0.12 % of 18S, 0.01 % of 16S, none of 12S and ITS.
- Length: one in 2,000 reads of a COI amplicon, 3 % of the sequences of an 18S V9 one.
- Two parents: see ``chimeras``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ednabed.sequences.lineage import Lineage
from ednabed.taxonomy.chimeras import ParentPool, find_chimera
from ednabed.taxonomy.genetic_codes import codes_of, stops_of

DUST_WINDOW = 64
"""Letters of the window in which complexity is judged, as in sdust."""
MOST_DUST = 4.0
"""Highest score of a window. sdust masks from 2 on, but then the AT-rich COI of insects is often of low complexity."""
COI_NAMES = frozenset(("coi", "coi-5p", "cox1", "co1"))
"""Names of the marker, in small letters, whose sequences are tested for stop codons."""
LEAST_LENGTHS = 5
"""Fewest sequences of which an usual length can be told."""
LENGTH_WIDTHS = 6.0
"""Standard deviations (1.4826 times the median absolute deviation) that a length may be from the median."""
LENGTH_FLOOR = 0.1
"""And the share of the median that it may always be, because lengths of one amplicon hardly vary."""

_CODES = np.full(256, -1, np.int64)
_CODES[list(b"ACGT")] = range(4)


@dataclass(frozen=True, slots=True)
class UsualLength:
    """Between which lengths the sequences of a run lie.

    Attributes:
        median: Median length, in letters.
        least: Shortest that is usual.
        most: Longest that is usual.
    """

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, lengths: Iterable[int]) -> UsualLength | None:
        """Take the median plus or minus six robust standard deviations, but at least 10 % of it.

        Args:
            lengths: Of all distinct sequences of a run and one marker, novel or not.

        Returns:
            None where there are fewer than five.
        """
        every = np.array(list(lengths), np.float64)
        if len(every) < LEAST_LENGTHS:
            return None
        median = float(np.median(every))
        width = max(LENGTH_WIDTHS * 1.4826 * float(np.median(np.abs(every - median))), LENGTH_FLOOR * median)
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
    """Say what is odd about a sequence, a short sentence each, without a full stop.

    Args:
        sequence: Normalised letters, on the strand of the reference.
        marker: Marker it belongs to; stop codons are looked for in COI only.
        lineage: The names that the sequence was given, which tell the genetic code; all empty where unknown.
        usual: Usual lengths; None leaves the length alone.
        reads: Reads of the sequence; its parents among ``pool`` have at least twice as many.
        pool: The distinct sequences of the run; None takes none of them for a parent.
        references: Sequences of the reference that may be parents, on the reference's strand: those that are near.

    Returns:
        The warnings in a fixed order; empty where nothing is odd.
    """
    found = []
    if marker is not None and marker.lower() in COI_NAMES and has_stops(sequence, lineage):
        numbers = codes_of(lineage)
        code = f"genetic code {numbers[0]}" if len(numbers) == 1 else "every genetic code possible"
        found.append(f"stop codons in all three frames under {code}")
    score = dust(sequence)
    if score > MOST_DUST:
        found.append(f"low complexity (DUST score {score:.1f}, at most {MOST_DUST:g} is usual)")
    if usual is not None and not usual.least <= len(sequence) <= usual.most:
        found.append(f"length {len(sequence)} where {usual.median:g} is usual")
    parents = list(dict.fromkeys([*(pool.near(sequence, reads) if pool is not None else ()), *references]))
    chimera = find_chimera(sequence, [parent for parent in parents if parent != sequence])
    if chimera is not None:
        found.append(
            f"perhaps a chimera: two parents that meet at letter {chimera.breakpoint} explain {chimera.identity:.1f} % "
            f"of it, the best one alone {chimera.alone:.1f} %"
        )
    return tuple(found)


def has_stops(sequence: str, lineage: Lineage) -> bool:
    """Tell whether a coding sequence has a stop codon in each of its three frames.

    A codon counts as a stop where it is one in every genetic code that the lineage can have. The last whole codon of a
    frame does not count: genes end with a stop. A shifted frame (a lost letter) shows in the same way, because the
    other two frames nearly always have stops.

    Args:
        sequence: Normalised letters on the coding strand; it may begin in any frame.
        lineage: See ``genetic_codes.codes_of``.
    """
    stops = stops_of(lineage)
    return all(any(sequence[i : i + 3] in stops for i in range(frame, len(sequence) - 5, 3)) for frame in range(3))


def dust(sequence: str) -> float:
    """Return the highest DUST score (Morgulis et al. 2006, J. Comput. Biol. 13:1028) of a window of 64 letters.

    The score of a window is the sum, over the 64 triplets, of c (c - 1) / 2, where c is how often the triplet occurs in
    the window, divided by the number of triplets minus one. A random window scores about 0.5, ``A`` repeated 30.5, a
    random half with a homopolymer of 30 letters about 6.5. Triplets with N are all different.

    Args:
        sequence: Normalised letters; a shorter one than 64 is one window, and below five letters the score is 0.
    """
    triplets = _triplets(sequence)
    width = min(DUST_WINDOW - 2, len(triplets))
    if width < 3:
        return 0.0
    windows = len(triplets) - width + 1
    pairs = np.zeros(windows, np.int64)
    for lag in range(1, width):
        # equal[i]: how many of the first i places have the same triplet ``lag`` places on.
        equal = np.concatenate(([0], np.cumsum(triplets[:-lag] == triplets[lag:])))
        pairs += equal[width - lag : width - lag + windows] - equal[:windows]
    return float(pairs.max()) / (width - 1)


def _triplets(sequence: str) -> npt.NDArray[np.int64]:
    codes = _CODES[np.frombuffer(sequence.encode(), np.uint8)]
    if len(codes) < 3:
        return np.empty(0, np.int64)
    known = (codes[:-2] >= 0) & (codes[1:-1] >= 0) & (codes[2:] >= 0)
    triplets: npt.NDArray[np.int64] = np.where(
        known, 16 * codes[:-2] + 4 * codes[1:-1] + codes[2:], -1 - np.arange(len(codes) - 2)
    )
    return triplets
