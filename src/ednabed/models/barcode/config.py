"""What a folder of a trained model says about itself, read from ``config.json`` and refused where unknown.

Two kinds of input are known: counts of k-mers (``kmers``), and the vector of another encoder (``encoder``), which is
named, and pinned by the hash of its weights.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ednabed.base.sealed import Seal
from ednabed.errors import ModelError, UsageError
from ednabed.models.barcode.kmers import check_patterns
from ednabed.models.fields import Fields, read_json_object

MODEL_TYPE = "ednabed"
SCHEMA = 1
TRAINING_REPORT = "training.json"
"""File beside ``config.json`` that says how the model was trained, and which checksums the other files have."""
REPORT_SEAL = Seal(2, "report_sha256", unsealed=(1,))
ADVICE = "train the model again, or take the folder as it was made"


@dataclass(frozen=True)
class EncoderInput:
    """Another encoder whose vector is mapped.

    Attributes:
        model: Its name, hub id or the path of its folder, as for ``--model``.
        weights: Hash of its weights (``Spec.weights``).
        layer: Hidden state that is pooled; None for encoders without layers.
        pooling: How its token vectors become one; None for encoders without layers.
    """

    model: str
    weights: str
    layer: int | None
    pooling: str | None


@dataclass(frozen=True)
class BarcodeConfig:
    """The settings of one trained model; exactly one of ``patterns`` and ``encoder`` is set.

    Attributes:
        dimension: Length of a vector.
        patterns: Patterns of the k-mers that are counted (``kmers.SpacedKmers``); empty where there is an encoder.
        encoder: The encoder below; None where k-mers are counted.
        licence: Licence of the weights, in words; empty where it is not stated.
    """

    dimension: int
    patterns: tuple[str, ...] = ()
    encoder: EncoderInput | None = None
    licence: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of ``config.json``."""
        given: dict[str, Any] = {"kind": "kmers", "patterns": list(self.patterns)}
        if self.encoder is not None:
            given = {"kind": "encoder", **asdict(self.encoder)}
        return {
            "model_type": MODEL_TYPE,
            "schema": SCHEMA,
            "dimension": self.dimension,
            "input": given,
            "licence": self.licence,
        }


def is_trained(folder: Path) -> bool:
    """Tell whether a folder with a ``config.json`` holds a model of ``ednabed train``.

    Raises:
        ModelError: The file cannot be read.
    """
    return read_json_object(folder / "config.json", ADVICE).get("model_type") == MODEL_TYPE


def read_config(folder: Path) -> BarcodeConfig:
    """Read ``config.json``.

    Raises:
        ModelError: The file is missing or unreadable, or a key is missing or has a value that is not supported.
    """
    path = folder / "config.json"
    fields = Fields(path, read_json_object(path, ADVICE), ADVICE)
    fields.require("model_type", (MODEL_TYPE,))
    fields.require("schema", (SCHEMA,))
    given = fields.values.get("input")
    if not isinstance(given, dict):
        fields.refuse("input", "an object")
    inner = Fields(path, given, ADVICE)
    inner.require("kind", ("kmers", "encoder"))
    encoder = None
    patterns: Any = []
    if given["kind"] == "kmers":
        patterns = given.get("patterns")
        if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
            inner.refuse("patterns", "a list of words")
        try:
            check_patterns(patterns)
        except UsageError as error:
            raise ModelError(f"{path}: {error}") from error
    else:
        encoder = EncoderInput(
            model=inner.text("model"),
            weights=inner.text("weights"),
            layer=None if given.get("layer") is None else inner.integer("layer", 0, 1_000),
            pooling=None if given.get("pooling") is None else inner.text("pooling"),
        )
    licence = fields.values.get("licence", "")
    if not isinstance(licence, str):
        fields.refuse("licence", "a text")
    return BarcodeConfig(fields.integer("dimension", 2, 65_536), tuple(patterns), encoder, licence)
