"""Files with seeded damage, as disks, networks and strange programs make it."""

from __future__ import annotations

import copy
import random
from typing import Any

STRANGE = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", "x", "SQ.",
    "1", "../x", "a\\b", "\u20ac\n", "\ud800", [], {}, [[]], [None], {"": None}, ["x"] * 3, {"x": 1}, [1.5, "x"],
)  # fmt: skip
"""Values that belong to no field, or to another."""


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one to three faults: cut, flipped, overwritten, inserted, left out, doubled."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if not out:
            return bytes(out)
        # Headers and footers are where it hurts.
        at = rng.choice((rng.randrange(len(out)), rng.randrange(min(len(out), 64)), len(out) - 1 - _near_end(out, rng)))
        size = rng.choice((1, 1, 2, 4, 16, 64))
        kind = rng.randrange(8)
        if kind == 0:
            del out[at:]
        elif kind == 1:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            out[at] = rng.randrange(256)
        elif kind == 3:
            out[at : at + size] = bytes(rng.randrange(256) for _ in range(size))
        elif kind == 4:
            out[at:at] = bytes(rng.randrange(256) for _ in range(size))
        elif kind == 5:
            del out[at : at + size]
        elif kind == 6:
            out[at : at + size] = out[:size]
        else:
            out[at : at + size] = rng.choice((b"\xff", b"\0", b"\xc3", b"\t", b"\n", b'"', b"\xed\xa0\x80")) * size
    return bytes(out)


def _near_end(data: bytearray, rng: random.Random) -> int:
    return rng.randrange(min(len(data), 300))


def strange(value: Any, rng: random.Random) -> Any:
    """A copy of a JSON value with one to three fields of another kind, missing or not expected."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 3))):
        holder = value
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = rng.choice(keys)
            if isinstance(holder[key], dict | list) and holder[key] and rng.random() < 0.8:
                holder = holder[key]
                continue
            kind = rng.randrange(8)
            if kind == 0:
                del holder[key]
            elif kind == 1 and isinstance(holder, dict):
                holder["unexpected"] = rng.choice(STRANGE)
            elif kind == 2:
                other = rng.choice(keys)
                holder[key], holder[other] = holder[other], holder[key]
            else:
                holder[key] = copy.deepcopy(rng.choice(STRANGE))
            break
    return value
