"""A readable alignment: the bases of query and hit one below the other, as in BLAST."""

from __future__ import annotations

import re

from ednabed.search.align import Alignment
from ednabed.sequences import reverse_complement

WIDTH = 60
"""Columns per line."""
_OPERATION = re.compile(r"(\d+)([=XID])")


def alignment_text(query: str, target: str, alignment: Alignment, width: int = WIDTH) -> str:
    """Return the aligned part in blocks of three lines: query, ``|`` for equal bases, hit.

    Bases are numbered from 1; on strand ``-`` the query is shown as its reverse complement, and its numbers decrease.

    Args:
        query: Normalised sequence of the query as given.
        target: Normalised sequence of the hit.
        alignment: Alignment of the two.
        width: Columns per line, at least 1.
    """
    forward = alignment.strand == "+"
    if forward:
        query_bases = query[alignment.query_start - 1 : alignment.query_end]
        first, last = alignment.target_start, alignment.target_end
    else:
        query_bases = reverse_complement([query[alignment.query_start - 1 : alignment.query_end].encode()])[0].decode()
        first, last = alignment.target_end, alignment.target_start
    target_bases = target[first - 1 : last]
    upper, middle, lower = [], [], []
    i = j = 0
    for count, kind in ((int(n), kind) for n, kind in _OPERATION.findall(alignment.cigar)):
        step_query, step_target = (0 if kind == "D" else count), (0 if kind == "I" else count)
        upper.append(query_bases[i : i + step_query] or "-" * count)
        lower.append(target_bases[j : j + step_target] or "-" * count)
        middle.append(("|" if kind == "=" else " ") * count)
        i, j = i + step_query, j + step_target
    above, between, below = "".join(upper), "".join(middle), "".join(lower)
    query_position = alignment.query_start if forward else alignment.query_end
    target_position, step = first, 1 if forward else -1
    digits = len(str(max(alignment.query_end, alignment.target_start, alignment.target_end)))
    blocks = []
    for begin in range(0, len(above), width):
        part = slice(begin, begin + width)
        taken_query = len(above[part].replace("-", ""))
        taken_target = len(below[part].replace("-", ""))
        end_query = query_position + step * max(taken_query - 1, 0)
        end_target = target_position + max(taken_target - 1, 0)
        blocks.append(
            f"query {query_position:>{digits}} {above[part]} {end_query}\n"
            f"      {'':>{digits}} {between[part]}\n"
            f"hit   {target_position:>{digits}} {below[part]} {end_target}"
        )
        query_position += step * taken_query
        target_position += taken_target
    return "\n\n".join(blocks)
