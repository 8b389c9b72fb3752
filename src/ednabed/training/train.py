"""From labelled records to a model folder: what ``ednabed train`` does."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ednabed import __version__
from ednabed.errors import UsageError
from ednabed.extras import needed
from ednabed.models.barcode.config import TRAINING_REPORT
from ednabed.models.barcode.files import digest
from ednabed.models.base import Embedder, Encoder
from ednabed.models.load import load_encoder, resolve
from ednabed.models.spec import Policy
from ednabed.sequences.labels import read_labels
from ednabed.store.files import check_above, exclusive, fsync_file, json_sha256, sha256_file, to_json
from ednabed.training.records import QUESTIONS, pools, read_labelled
from ednabed.training.sampling import Sampler
from ednabed.training.validation import YARDSTICK, facts, hold_out, judge, means
from ednabed.training.views import Alterations

if TYPE_CHECKING:
    from ednabed.training.networks import Network

SCHEMA = 1
PATTERNS = ("1111111", "110111011", "11011011")
DIMENSION = 512
# Of the sample on which the curves are measured: training records, and queries a group.
_REFERENCES, _QUERIES = 2_000, 60


@dataclass(frozen=True)
class TrainRequest:
    """What is to be trained, of what, and how.

    Attributes:
        inputs: Files with labelled records.
        output: Folder of the model; must not exist.
        labels: Lineages by id; None takes those of the inputs.
        init: Model to start from: a trained one is trained further, any other encoder gets a learned map on top; None
            starts from a random projection of k-mer counts.
        patterns: k-mers that are counted, where ``init`` is None.
        dimension: Length of a vector; None takes that of ``init``, or 512.
        steps: Batches.
        batch: Views a batch.
        rate: Learning rate.
        temperature: See ``objective.losses``.
        weights: Weight of each question of ``objective``.
        alterations: What views look like.
        validation: Most queries a marker and group that are held out for validation; 0 trains on everything.
        min_length: Shortest sequence taken.
        seed: Of start, batches and validation.
        licence: Licence of the weights, in words.
        resume: Go on with what an interrupted training of the same data and settings left.
        use_gpu: True forces a GPU, False the CPU, None takes the best device.
    """

    inputs: Sequence[Path]
    output: Path
    labels: Path | None = None
    init: str | None = None
    patterns: tuple[str, ...] = PATTERNS
    dimension: int | None = None
    steps: int = 2_000
    batch: int = 768
    rate: float = 1e-3
    temperature: float = 0.07
    weights: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(QUESTIONS, 1.0))
    alterations: Alterations = field(default_factory=Alterations)
    validation: int = 200
    min_length: int = 100
    seed: int = 0
    licence: str = ""
    resume: bool = True
    use_gpu: bool | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.steps < 1 or self.batch < 8 or not 0 < self.rate <= 1 or self.temperature < 0.03:
            raise UsageError(
                f"steps {self.steps}, batch {self.batch}, rate {self.rate}, temperature {self.temperature}: wanted at "
                "least 1 step, 8 views a batch, a rate above 0 up to 1 and a temperature of at least 0.03"
            )

    def settings(self) -> dict[str, Any]:
        """Return all that moves the weights, beside the data, as JSON values."""
        values = asdict(self)
        for name in ("inputs", "output", "labels", "resume", "use_gpu", "licence"):
            del values[name]
        return values | {"patterns": list(self.patterns)}


def train_model(request: TrainRequest, *, show_progress: bool | None = None) -> dict[str, Any]:
    """Train a model and write its folder: ``config.json``, ``model.safetensors`` and the report ``training.json``.

    Killed at any moment, the same request goes on where it was; the folder is there whole, or not at all.

    Returns:
        The report, as in ``training.json``.

    Raises:
        UsageError: The folder exists, or a setting cannot be meant.
        MissingPackage: torch is not installed.
        InputError: The records cannot be read, or cannot be split.
        ModelError: The model to start from is not there.
        StoreError: The state of an interrupted training is damaged or of other data, or the loss is not finite.
    """
    needed("torch", "train", "training")
    output = request.output
    if output.exists():
        raise UsageError(f"{output} exists; name a new folder for the model")
    if output.name == YARDSTICK:
        raise UsageError(
            f"{output}: {YARDSTICK} is the name of the model beside which others are shown; name it otherwise"
        )
    check_above(output)
    started = time.monotonic()
    labels = None if request.labels is None else read_labels(request.labels)
    records, inputs = read_labelled(request.inputs, labels, min_length=request.min_length)
    kept = hold_out(records, request.validation, request.seed)
    training = [record for one in kept for record in one.split.training]

    from ednabed.training.loop import Plan, train

    network, device, start = _network(request)
    plan = Plan(request.steps, request.rate, request.temperature, request.weights, told=max(1, request.steps // 20))
    named = None if request.labels is None else sha256_file(request.labels)
    key = json_sha256(
        {
            "settings": request.settings(),
            "data": [one.sha256 for one in inputs],
            "labels": named,
            "start": [network.config("").to_dict(), digest(network.arrays())],
        }
    )
    work = output.with_name(f".{output.name}.training")
    with exclusive(work / "lock", "training this model"):
        if not request.resume:
            for left in work.glob("state.*"):
                left.unlink()
        sampler = Sampler(pools(training), request.batch, request.alterations, request.seed)
        sample = [one.sample(_REFERENCES, _QUERIES, request.seed) for one in kept]

        def validate() -> dict[str, float]:
            return means(judge(network.encoder("in training"), sample))

        curves = train(network, sampler, plan, work, key, validate, show_progress=show_progress)
        encoder = network.encoder(output.name)
        validated = {output.name: judge(encoder, kept), YARDSTICK: judge(load_encoder(YARDSTICK), kept)}
        if start is not None:
            validated[f"{start.name}, the start"] = judge(start, kept)
        report = {
            "schema": SCHEMA,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "software": _software(),
            "fingerprint": Embedder.of(encoder, Policy()).spec.fingerprint,
            "weights": encoder.weights,
            "licence": request.licence,
            "inputs": [asdict(one) for one in inputs],
            "labels_sha256": named,
            "settings": request.settings(),
            "device": device,
            "seconds": round(time.monotonic() - started, 1),
            "held_out": facts(kept),
            "curves": curves,
            "validation": validated,
        }
        _write(output, network, request.licence, report)
    shutil.rmtree(work, ignore_errors=True)
    return report


def _network(request: TrainRequest) -> tuple[Network, str, Encoder | None]:
    """Return the network at its start, on its device, the name of that, and the encoder that ``init`` names."""
    from ednabed.engine.device import choose_device
    from ednabed.engine.open import open_embedder
    from ednabed.models.barcode.encoder import BarcodeEncoder
    from ednabed.training.networks import KmerNetwork, MapNetwork

    dimension = request.dimension or DIMENSION
    device = choose_device(request.use_gpu, "fp32").name
    encoder: Encoder | None = None
    if request.init is None:
        network: Network = KmerNetwork(request.patterns, dimension, request.seed)
    else:
        embedder = open_embedder(request.init, use_gpu=request.use_gpu)
        encoder = embedder.encoder
        if isinstance(encoder, BarcodeEncoder):
            if request.dimension not in (None, encoder.dimension):
                raise UsageError(
                    f"dimension is {request.dimension} and {request.init} has {encoder.dimension}; give that, or none"
                )
            network = KmerNetwork(encoder.patterns, encoder.dimension, request.seed, encoder.table)
        else:
            own = resolve(request.init).folder
            network = MapNetwork(embedder, request.init if own is None else str(own.resolve()), dimension, request.seed)
    return network.to(device), device, encoder


def _software() -> dict[str, str]:
    import numpy as np
    import torch

    return {"ednabed": __version__, "torch": torch.__version__, "numpy": np.__version__}


def _write(output: Path, network: Network, licence: str, report: dict[str, Any]) -> None:
    """Write the model folder under another name and rename it."""
    from ednabed.models.barcode.files import WEIGHTS, write_arrays

    temporary = output.with_name(f".{output.name[:50]}.{uuid.uuid4().hex[:12]}.tmp")
    temporary.mkdir(parents=True)
    try:
        write_arrays(temporary / WEIGHTS, network.arrays())
        for name, value in (("config.json", network.config(licence).to_dict()), (TRAINING_REPORT, report)):
            (temporary / name).write_text(to_json(value), encoding="utf-8", newline="\n")
        for path in temporary.iterdir():
            fsync_file(path)
        temporary.rename(output)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
