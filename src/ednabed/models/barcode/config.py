"""Settings of a trained model, read from the ``config.json`` of its folder; unknown values are refused.

There are two kinds of input: counts of k-mers (``kmers``), and the vector of another encoder (``encoder``), which is
identified by its name and the hash of its weights.
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
"""File next to ``config.json`` that records how the model was trained, and the checksums of the other files."""
REPORT_SEAL = Seal(2, "report_sha256", unsealed=(1,))
ADVICE = "train the model again, or use the original folder"


@dataclass(frozen=True)
class EncoderInput:
    """Another encoder whose vectors are mapped.

    Attributes:
        model: Its name, its hub id or the path of its folder, as for ``--model``.
        weights: Hash of its weights (``Spec.weights``).
        layer: Hidden state that is pooled; None for encoders without layers.
        pooling: How its token vectors become one vector; None for encoders without layers.
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
        patterns: Patterns of the k-mers that are counted (``kmers.SpacedKmers``); empty if there is an encoder.
        encoder: The base encoder; None if k-mers are counted.
        licence: Licence of the weights, in words; empty if it is not stated.
    """

    dimension: int
    patterns: tuple[str, ...] = ()
    encoder: EncoderInput | None = None
    licence: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of ``config.json``."""
        input_: dict[str, Any] = {"kind": "kmers", "patterns": list(self.patterns)}
        if self.encoder is not None:
            input_ = {"kind": "encoder", **asdict(self.encoder)}
        return {
            "model_type": MODEL_TYPE,
            "schema": SCHEMA,
            "dimension": self.dimension,
            "input": input_,
            "licence": self.licence,
        }


def is_trained(folder: Path) -> bool:
    """Return whether a folder with a ``config.json`` contains a model from ``ednabed train``.

    Raises:
        ModelError: The file cannot be read.
    """
    return read_json_object(folder / "config.json", ADVICE).get("model_type") == MODEL_TYPE


def read_barcode_config(folder: Path) -> BarcodeConfig:
    """Read ``config.json``.

    Raises:
        ModelError: The file is missing or unreadable, or a key is missing or has a value that is not supported.
    """
    path = folder / "config.json"
    fields = Fields(path, read_json_object(path, ADVICE), ADVICE)
    fields.require("model_type", (MODEL_TYPE,))
    fields.require("schema", (SCHEMA,))
    input_ = fields.values.get("input")
    if not isinstance(input_, dict):
        fields.refuse("input", "an object")
    input_fields = Fields(path, input_, ADVICE)
    input_fields.require("kind", ("kmers", "encoder"))
    encoder = None
    patterns: Any = []
    if input_["kind"] == "kmers":
        patterns = input_.get("patterns")
        if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
            input_fields.refuse("patterns", "a list of strings")
        try:
            check_patterns(patterns)
        except UsageError as error:
            raise ModelError(f"{path}: {error}") from error
    else:
        encoder = EncoderInput(
            model=input_fields.text("model"),
            weights=input_fields.text("weights"),
            layer=None if input_.get("layer") is None else input_fields.integer("layer", 0, 1_000),
            pooling=None if input_.get("pooling") is None else input_fields.text("pooling"),
        )
    licence = fields.values.get("licence", "")
    if not isinstance(licence, str):
        fields.refuse("licence", "text")
    return BarcodeConfig(fields.integer("dimension", 2, 65_536), tuple(patterns), encoder, licence)
