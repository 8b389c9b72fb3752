"""The attempts to create one run: with which device and precision each computed which vectors of the journal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ednabed.base.atomic import write_atomic
from ednabed.base.sealed import Seal
from ednabed.base.stored_json import BadJson, parse_json, require
from ednabed.errors import StoreError
from ednabed.models.base import Embedder

TRIES = Seal("ednabed.tries/1")


def record_attempt(work: Path, embedder: Embedder, first_row: int) -> list[dict[str, Any]]:
    """Record the device, precision and first journal row of this attempt, before it computes anything."""
    path = work / "tries.json"
    attempts = read_attempts(path) if path.exists() else []
    encoder = embedder.encoder
    attempts.append({"device": encoder.device, "precision": encoder.precision, "first_row": first_row})
    write_atomic(path, TRIES.text({"tries": attempts}))
    return attempts


def read_attempts(path: Path) -> list[dict[str, Any]]:
    """Return the attempts of a work folder. Raises StoreError if the file is damaged."""
    raw = path.read_bytes()
    try:
        # Earlier versions wrote a plain list without a checksum.
        attempts = parse_json(raw) if raw.startswith(b"[") else TRIES.read(raw).get("tries")
        if not isinstance(attempts, list):
            raise BadJson("it does not contain a list of attempts")
        for entry in attempts:
            require(entry, {"device": str, "precision": str, "first_row": int}, "an attempt")
        return attempts
    except ValueError as error:
        raise StoreError(
            f"{path} is damaged ({error}), so the device that computed its vectors is unknown; start over with "
            "`resume=False`"
        ) from error


def entries_of(attempts: list[dict[str, Any]], rows: int) -> list[dict[str, Any]]:
    """Return the device, precision and number of sequences of each attempt that computed something."""
    ends = [entry["first_row"] for entry in attempts[1:]] + [rows]
    return [
        {"device": entry["device"], "precision": entry["precision"], "sequences": end - entry["first_row"]}
        for entry, end in zip(attempts, ends, strict=True)
        if end > entry["first_row"]
    ]
