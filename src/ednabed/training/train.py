"""From labelled records to a model folder: what ``ednabed train`` does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ednabed import __version__
from ednabed.base.library_writes import library_writes
from ednabed.errors import StoreError, UsageError
from ednabed.extras import needed
from ednabed.models.barcode.config import REPORT_SEAL, TRAINING_REPORT
from ednabed.models.barcode.files import digest
from ednabed.models.base import Embedder, Encoder
from ednabed.models.load import load_encoder, resolve
from ednabed.models.spec import Policy
from ednabed.sequences.labels import read_labels
from ednabed.store.files import check_above, exclusive, fsync_file, json_sha256, sha256_file, to_json
from ednabed.store.temporary import in_progress, sweep
from ednabed.training.records import QUESTIONS, pools, read_labelled
from ednabed.training.sampling import Sampler
from ednabed.training.validation import YARDSTICK, facts, hold_out, judge, means
from ednabed.training.views import Alterations

if TYPE_CHECKING:
    from ednabed.training.networks import Network

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
    work = output.with_name(f".{output.name}.training")
    if output.exists():
        if work.is_dir():
            # A command was killed when the model was there and the rest of the training not gone yet.
            report = _finished(request, output)
            _remove_done(output, work)
            if report is not None:
                return report
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
    with _working(work):
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
        report = _write(output, network, request.licence, report)
        _clear(work)
    return report


def _finished(request: TrainRequest, output: Path) -> dict[str, Any] | None:
    """Return the report of the model that is there, if it was trained on these files with these settings."""
    path = output / TRAINING_REPORT
    if not path.is_file():
        return None
    report = REPORT_SEAL.read(path.read_bytes())
    files = [*request.inputs, *([] if request.labels is None else [request.labels])]
    if not all(file.is_file() for file in files):
        return None
    trained = [*(one["sha256"] for one in report["inputs"]), *filter(None, [report["labels_sha256"]])]
    same = report["settings"] == json.loads(to_json(request.settings()))
    return report if same and trained == [sha256_file(file) for file in files] else None


@contextmanager
def _working(work: Path) -> Iterator[None]:
    """Hold the work folder of a training; at the end it goes, unless the state of an interrupted training is in it."""
    try:
        with exclusive(work / "lock", "training this model ('ednabed train')", remove=True):
            yield
    finally:
        with suppress(OSError):
            work.rmdir()


def _clear(work: Path) -> None:
    """Remove all of the work folder but its lock file, which this process holds."""
    for left in work.iterdir():
        if left.name != "lock":
            left.unlink()


def _remove_done(output: Path, work: Path) -> None:
    """Remove the work folder of a training that was killed when its model was finished; a live one's stays."""
    with suppress(StoreError), _working(work):
        _clear(work)
    sweep(output.parent, output.name)


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


def _write(output: Path, network: Network, licence: str, report: dict[str, Any]) -> dict[str, Any]:
    """Write the model folder under another name and rename it; return the report as it is there."""
    from ednabed.models.barcode.files import WEIGHTS, write_arrays

    with in_progress(output) as temporary:
        temporary.mkdir()
        with library_writes(temporary / WEIGHTS):
            write_arrays(temporary / WEIGHTS, network.arrays())
        config = temporary / "config.json"
        config.write_text(to_json(network.config(licence).to_dict()), encoding="utf-8", newline="\n")
        sealed = REPORT_SEAL.text({**report, "files": {path.name: sha256_file(path) for path in temporary.iterdir()}})
        (temporary / TRAINING_REPORT).write_text(sealed, encoding="utf-8", newline="\n")
        for path in temporary.iterdir():
            fsync_file(path)
        temporary.rename(output)
    found: dict[str, Any] = json.loads(sealed)
    return found
