"""An alignment to read: the letters of query and hit one below the other, as BLAST shows them."""

from __future__ import annotations

import re

from ednabed.search.align import Alignment
from ednabed.sequences import reverse_complement

WIDTH = 60
"""Columns a line."""
_OPERATION = re.compile(r"(\d+)([=XID])")


def alignment_text(query: str, target: str, alignment: Alignment, width: int = WIDTH) -> str:
    """Return the aligned part in blocks of three lines: query, ``|`` for equal letters, hit.

    Numbers are those of the letters from 1; on strand ``-`` the query is shown as its reverse complement, and its
    numbers fall.

    Args:
        query: Normalised letters of the query as given.
        target: Those of the hit.
        alignment: Of the two.
        width: Columns a line, at least 1.
    """
    forward = alignment.strand == "+"
    if forward:
        letters = query[alignment.query_start - 1 : alignment.query_end]
        first, last = alignment.target_start, alignment.target_end
    else:
        letters = reverse_complement([query[alignment.query_start - 1 : alignment.query_end].encode()])[0].decode()
        first, last = alignment.target_end, alignment.target_start
    other = target[first - 1 : last]
    upper, middle, lower = [], [], []
    i = j = 0
    for count, kind in ((int(n), kind) for n, kind in _OPERATION.findall(alignment.cigar)):
        step_query, step_target = (0 if kind == "D" else count), (0 if kind == "I" else count)
        upper.append(letters[i : i + step_query] or "-" * count)
        lower.append(other[j : j + step_target] or "-" * count)
        middle.append(("|" if kind == "=" else " ") * count)
        i, j = i + step_query, j + step_target
    above, between, below = "".join(upper), "".join(middle), "".join(lower)
    place_query = alignment.query_start if forward else alignment.query_end
    place_target, step = first, 1 if forward else -1
    digits = len(str(max(alignment.query_end, alignment.target_start, alignment.target_end)))
    blocks = []
    for begin in range(0, len(above), width):
        part = slice(begin, begin + width)
        taken_query = len(above[part].replace("-", ""))
        taken_target = len(below[part].replace("-", ""))
        end_query = place_query + step * max(taken_query - 1, 0)
        end_target = place_target + max(taken_target - 1, 0)
        blocks.append(
            f"query {place_query:>{digits}} {above[part]} {end_query}\n"
            f"      {'':>{digits}} {between[part]}\n"
            f"hit   {place_target:>{digits}} {below[part]} {end_target}"
        )
        place_query += step * taken_query
        place_target += taken_target
    return "\n\n".join(blocks)
