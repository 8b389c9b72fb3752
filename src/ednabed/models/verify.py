"""Check the weights on this machine against published output vectors.

The published vectors (``data/nt_published.json``; computed by the project evo.cpp with the original code, Apache-2.0)
cover tokenizer, weights and arithmetic together: a model that reproduces them computes the same vectors as its authors.
Models without a published vector are reported as unverifiable, never as verified. The files themselves can also be
compared with published SHA-256 sums, which reads all of them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ednabed.base.arrays import Floats
from ednabed.base.files import sha256_file
from ednabed.base.sealed import Damaged, UnknownSchema
from ednabed.base.stored_json import parse_json
from ednabed.errors import ModelError
from ednabed.models import load
from ednabed.models.barcode.config import ADVICE, REPORT_SEAL, TRAINING_REPORT, is_trained
from ednabed.models.base import Encoder

Status = Literal["verified", "failed", "unverifiable", "no weights"]


@dataclass(frozen=True)
class VectorCheck:
    """Comparison of one published vector with the computed one.

    Attributes:
        sequence: The input.
        tokens_equal: Whether the token ids equal the published ones.
        max_abs: Largest absolute difference of a value; None if the dimensions differ or a value is not finite.
        mean_abs: Mean absolute difference; None as above.
        cosine: Cosine of the two vectors; None as above.
        tolerance: Maximum ``max_abs`` and ``mean_abs``, minimum ``cosine``.
        passed: Whether all checks passed.
    """

    sequence: str
    tokens_equal: bool
    max_abs: float | None
    mean_abs: float | None
    cosine: float | None
    tolerance: dict[str, float]
    passed: bool


@dataclass(frozen=True)
class FileCheck:
    """One file with a published SHA-256; ``absent`` is not an error, as the weights may exist in another format."""

    name: str
    result: Literal["equal", "differs", "absent"]


@dataclass(frozen=True)
class Verification:
    """Result of ``verify``.

    Attributes:
        model: Name of the model.
        status: ``verified``: loaded strictly, and all published vectors are reproduced. ``failed``: a vector is not
            reproduced, or a file differs from the published file. ``unverifiable``: loaded, but nothing is published to
            compare with. ``no weights``: there is nothing to verify.
        message: The result in a sentence.
        folder: Folder of the weights; None if there are none or another distribution keeps them.
        source: Source of the published vectors; None if there are none.
        vectors: One entry per published vector.
        files: One entry per published file if a check of the files was requested, else empty.
    """

    model: str
    status: Status
    message: str
    folder: Path | None = None
    source: str | None = None
    vectors: tuple[VectorCheck, ...] = ()
    files: tuple[FileCheck, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "folder": None if self.folder is None else str(self.folder)}


def verify(name_or_path: str, *, check_files: bool = False, published: Path | None = None) -> Verification:
    """Load a model in fp32 on the CPU and compare it with its published vectors.

    Args:
        name_or_path: Name, hub id or folder, see ``load``. A folder is recognised by the content of its config.json.
        check_files: Also compare the files with their published SHA-256; reads every byte of the weights.
        published: A file in the format of ``data/nt_published.json``; None takes that file.

    Raises:
        UsageError: The name is unknown.
        ModelError: The weights are missing or cannot be loaded, or ``published`` cannot be read.
    """
    found = load.resolve(name_or_path)
    if found.entry_point is not None:
        encoder = load.load_encoder(name_or_path)
        owner = load.distribution_of(found.entry_point)
        return Verification(
            encoder.name, "unverifiable", f"it can be loaded, but ednabed has no published vectors for {owner}"
        )
    if found.card is not None and found.card.family == "kmer":
        return Verification(found.name, "no weights", "a formula without weights: there is nothing to verify")
    folder = load.weights_of(found)
    if is_trained(folder):
        return _verify_trained(name_or_path, found.name, folder)
    source, entries = _published(published)
    hub_id = found.card.hub_id if found.card is not None else None
    entries = [entry for entry in entries if _is_about(entry, hub_id, folder)]
    encoder = load.load_encoder(name_or_path, pooling="mean")
    if not entries:
        message = (
            "no published vector for this model: it was loaded strictly, but only ednabed's tests cover its arithmetic"
        )
        return Verification(found.name, "unverifiable", message, folder)
    vectors = tuple(_compare(encoder, entry) for entry in entries)
    checked = _check_files(folder, entries) if check_files else ()
    failed = [check for check in vectors if not check.passed]
    differing = [check.name for check in checked if check.result == "differs"]
    if failed:
        difference = "token ids" if not failed[0].tokens_equal else "vector"
        message = (
            f"{len(failed)} of {len(vectors)} published vectors are not reproduced (the {difference} of "
            f"{failed[0].sequence}): do not use these weights; remove {folder} and fetch the model again"
        )
    elif differing:
        message = f"{', '.join(differing)} in {folder} differ from the published files; fetch the model again"
    else:
        message = f"{len(vectors)} published vector{'s' if len(vectors) > 1 else ''} reproduced"
    status: Status = "failed" if failed or differing else "verified"
    return Verification(found.name, status, message, folder, source, vectors, checked)


def _verify_trained(name_or_path: str, name: str, folder: Path) -> Verification:
    """Compare the weights of a model from ``ednabed train`` with the weights in its report."""
    encoder = load.load_encoder(name_or_path)
    path = folder / TRAINING_REPORT
    try:
        report = REPORT_SEAL.read(path.read_bytes()) if path.is_file() else {}
    except (Damaged, UnknownSchema) as error:
        return Verification(name, "failed", f"{path} is damaged ({error}): {ADVICE}", folder)
    for file, sha256 in report.get("files", {}).items():
        if not (folder / file).is_file() or sha256_file(folder / file) != sha256:
            return Verification(
                name, "failed", f"{folder / file} does not match its checksum in {path.name}: {ADVICE}", folder
            )
    expected = report.get("weights")
    if expected is None:
        message = f"{path} does not state the weights: they were loaded strictly, but cannot be compared"
        return Verification(name, "unverifiable", message, folder)
    if expected != encoder.weights:
        message = f"the weights are {encoder.weights[:19]}…, but {path.name} states {str(expected)[:19]}…: {ADVICE}"
        return Verification(name, "failed", message, folder)
    return Verification(name, "verified", f"the weights are the ones that {path.name} states, {expected[:19]}…", folder)


def _published(path: Path | None) -> tuple[str, list[dict[str, Any]]]:
    resource = files("ednabed").joinpath("models", "data", "nt_published.json") if path is None else path
    try:
        content = parse_json(resource.read_bytes())
        source = content["source"]
        return f"{source['repository']} {source['commit']} ({source['licence']})", list(content["models"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{resource}: cannot be read as published vectors ({type(error).__name__}: {error}); install ednabed again"
        ) from error


def _is_about(entry: dict[str, Any], hub_id: str | None, folder: Path) -> bool:
    if hub_id is not None:
        return bool(entry["model_id"].lower() == hub_id.lower())
    return bool(entry["files"]["config.json"]["sha256"] == sha256_file(folder / "config.json"))


def _compare(encoder: Encoder, entry: dict[str, Any]) -> VectorCheck:
    sequence, tolerance = entry["input"], entry["tolerance"]
    tokens = encoder.tokenize([sequence.encode("ascii")])
    tokens_equal = tokens.ids.tolist() == entry["token_ids"][encoder.special_tokens :]
    computed = encoder.forward(tokens)[0].astype(np.float64)
    published = np.array(entry["vector"], np.float64)
    if computed.shape != published.shape or not np.isfinite(computed).all():
        return VectorCheck(sequence, tokens_equal, None, None, None, tolerance, passed=False)
    difference = np.abs(computed - published)
    max_abs, mean_abs, cosine = float(difference.max()), float(difference.mean()), _cosine(computed, published)
    passed = (
        tokens_equal
        and max_abs <= tolerance["max_abs"]
        and mean_abs <= tolerance["mean_abs"]
        and cosine >= tolerance["cosine"]
    )
    return VectorCheck(sequence, tokens_equal, max_abs, mean_abs, cosine, tolerance, passed)


def _cosine(a: Floats, b: Floats) -> float:
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else 0.0


def _check_files(folder: Path, entries: list[dict[str, Any]]) -> tuple[FileCheck, ...]:
    expected = {name: facts["sha256"] for entry in entries for name, facts in entry["files"].items()}
    checks = []
    for name, sha256 in sorted(expected.items()):
        path = folder / name
        if not path.is_file():
            checks.append(FileCheck(name, "absent"))
        else:
            checks.append(FileCheck(name, "equal" if sha256_file(path) == sha256 else "differs"))
    return tuple(checks)
