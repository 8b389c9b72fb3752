"""Train a model on labelled records and write its folder, for ``ednabed train``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ednabed.base.atomic import in_progress, sweep
from ednabed.base.files import check_parents, fsync_file, sha256_file
from ednabed.base.library_writes import library_writes
from ednabed.base.locks import exclusive
from ednabed.base.sealed import json_sha256, to_json
from ednabed.base.times import utc_now
from ednabed.base.version import __version__
from ednabed.engine.device import choose_device
from ednabed.engine.open import open_embedder
from ednabed.errors import StoreError, UsageError
from ednabed.extras import import_extra
from ednabed.models.barcode.config import REPORT_SEAL, TRAINING_REPORT
from ednabed.models.barcode.encoder import BarcodeEncoder
from ednabed.models.barcode.files import WEIGHTS, arrays_digest, write_arrays
from ednabed.models.base import Embedder, Encoder
from ednabed.models.load import load_encoder, resolve
from ednabed.models.spec import Policy
from ednabed.sequences.labels import read_labels
from ednabed.training.records import QUESTIONS, pools, read_labelled
from ednabed.training.sampling import Sampler
from ednabed.training.validation import BASELINE, hold_out, means, measure_encoder, summarise
from ednabed.training.views import Alterations

if TYPE_CHECKING:
    from ednabed.training.networks import TrainableNetwork

PATTERNS = ("1111111", "110111011", "11011011")
DIMENSION = 512
# Size of the sample on which the curves are measured: training records, and queries per group.
_REFERENCES, _QUERIES = 2_000, 60


@dataclass(frozen=True)
class TrainRequest:
    """The data, settings and output folder of a training.

    Attributes:
        inputs: Files with labelled records.
        output: Folder of the model; must not exist.
        labels: File with lineages by id; None uses the lineages in the inputs.
        init: Model to start from: a trained one is trained further, any other encoder gets a learned map on top; None
            starts from a random projection of k-mer counts.
        patterns: Patterns of the k-mers that are counted if ``init`` is None.
        dimension: Length of a vector; None takes the dimension of a trained ``init``, else 512.
        steps: Number of batches.
        batch: Views per batch.
        rate: Learning rate.
        temperature: See ``objective.losses``.
        weights: Weight of each question of ``objective``.
        alterations: How views are altered.
        validation: Maximum queries per marker and group that are held out for validation; 0 trains on everything.
        min_length: Minimum length of a sequence, in bases.
        seed: Seed of the initial weights, the batches and the validation split.
        licence: Licence of the weights, as text.
        resume: Continue an interrupted training with the same data and settings.
        use_gpu: True forces a GPU, False forces the CPU, None chooses the best available device.
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
        """Refuse settings that are out of range."""
        if self.steps < 1 or self.batch < 8 or not 0 < self.rate <= 1 or self.temperature < 0.03:
            raise UsageError(
                f"steps {self.steps}, batch {self.batch}, rate {self.rate}, temperature {self.temperature}: expected "
                "at least 1 step, 8 views per batch, a rate above 0 up to 1 and a temperature of at least 0.03"
            )

    def settings(self) -> dict[str, Any]:
        """Return all settings that affect the weights, except the data, as JSON values."""
        values = asdict(self)
        for name in ("inputs", "output", "labels", "resume", "use_gpu", "licence"):
            del values[name]
        return values | {"patterns": list(self.patterns)}


def train_model(request: TrainRequest, *, show_progress: bool | None = None) -> dict[str, Any]:
    """Train a model and write its folder: ``config.json``, ``model.safetensors`` and the report ``training.json``.

    If the training is killed at any moment, the same request continues it. The folder is complete, or does not exist.

    Returns:
        The report, as in ``training.json``.

    Raises:
        UsageError: The folder exists, or a setting is invalid.
        MissingPackage: torch is not installed.
        InputError: The records cannot be read or split.
        ModelError: The model to start from does not exist.
        StoreError: The state of an interrupted training is damaged or belongs to other data, or the loss is not finite.
    """
    import_extra("torch", "train", "training")
    output = request.output
    work = output.with_name(f".{output.name}.training")
    report = _existing(request, work)
    if report is not None:
        return report
    check_parents(output)
    started = time.monotonic()
    labels = None if request.labels is None else read_labels(request.labels)
    records, inputs = read_labelled(request.inputs, labels, min_length=request.min_length)
    held_out = hold_out(records, request.validation, request.seed)
    training = [record for one in held_out for record in one.split.training]

    from ednabed.training.loop import Schedule, train

    network, device, start = _network(request)
    report_every = max(1, request.steps // 20)
    plan = Schedule(request.steps, request.rate, request.temperature, request.weights, report_every=report_every)
    labels_sha256 = None if request.labels is None else sha256_file(request.labels)
    key = json_sha256(
        {
            "settings": request.settings(),
            "data": [one.sha256 for one in inputs],
            "labels": labels_sha256,
            "start": [network.config("").to_dict(), arrays_digest(network.arrays())],
        }
    )
    with _locked_work_folder(work):
        if not request.resume:
            for path in work.glob("state.*"):
                path.unlink()
        sampler = Sampler(pools(training), request.batch, request.alterations, request.seed)
        sample = [one.sample(_REFERENCES, _QUERIES, request.seed) for one in held_out]

        def validate() -> dict[str, float]:
            return means(measure_encoder(network.encoder("in training"), sample))

        curves = train(network, sampler, plan, work, key, validate, show_progress=show_progress)
        encoder = network.encoder(output.name)
        validated = {
            output.name: measure_encoder(encoder, held_out),
            BASELINE: measure_encoder(load_encoder(BASELINE), held_out),
        }
        if start is not None:
            validated[f"{start.name}, the start"] = measure_encoder(start, held_out)
        report = {
            "created": utc_now(),
            "software": _software(),
            "fingerprint": Embedder.from_encoder(encoder, Policy()).spec.fingerprint,
            "weights": encoder.weights,
            "licence": request.licence,
            "inputs": [asdict(one) for one in inputs],
            "labels_sha256": labels_sha256,
            "settings": request.settings(),
            "device": device,
            "seconds": round(time.monotonic() - started, 1),
            "held_out": summarise(held_out),
            "curves": curves,
            "validation": validated,
        }
        report = _write(output, network, request.licence, report)
        _clear(work)
    return report


def _existing(request: TrainRequest, work: Path) -> dict[str, Any] | None:
    """Return the report of a training that was killed after it wrote the model, and remove its work folder.

    Raises:
        UsageError: The folder exists for another reason, or its name is that of the baseline.
    """
    output = request.output
    if output.exists():
        if work.is_dir():
            report = _finished_report(request, output)
            _remove_finished_work(output, work)
            if report is not None:
                return report
        raise UsageError(f"{output} exists; give a new folder for the model")
    if output.name == BASELINE:
        raise UsageError(
            f"{output}: {BASELINE} is the name of the baseline with which models are compared; choose another name"
        )
    return None


def _finished_report(request: TrainRequest, output: Path) -> dict[str, Any] | None:
    """Return the report of the existing model, if it was trained on these files with these settings."""
    path = output / TRAINING_REPORT
    if not path.is_file():
        return None
    text = path.read_bytes()
    report = REPORT_SEAL.read(text)
    files = [*request.inputs, *([] if request.labels is None else [request.labels])]
    if not all(file.is_file() for file in files):
        return None
    trained = [*(one["sha256"] for one in report["inputs"]), *filter(None, [report["labels_sha256"]])]
    same = report["settings"] == json.loads(to_json(request.settings()))
    return json.loads(text) if same and trained == [sha256_file(file) for file in files] else None


@contextmanager
def _locked_work_folder(work: Path) -> Iterator[None]:
    """Lock the work folder of a training, and remove it at the end unless it holds a state to resume from."""
    try:
        with exclusive(work / "lock", "training this model ('ednabed train')", remove=True):
            yield
    finally:
        with suppress(OSError):
            work.rmdir()


def _clear(work: Path) -> None:
    """Remove everything in the work folder except its lock file, which this process holds."""
    for path in work.iterdir():
        if path.name != "lock":
            path.unlink()


def _remove_finished_work(output: Path, work: Path) -> None:
    """Remove the work folder of a training that was killed after its model was finished, unless one is running."""
    with suppress(StoreError), _locked_work_folder(work):
        _clear(work)
    sweep(output.parent, output.name)


def _network(request: TrainRequest) -> tuple[TrainableNetwork, str, Encoder | None]:
    """Return the initial network on its device, the name of the device, and the encoder that ``init`` names."""
    from ednabed.training.networks import KmerNetwork, MapNetwork

    dimension = request.dimension or DIMENSION
    device = choose_device(request.use_gpu, "fp32").name
    encoder: Encoder | None = None
    if request.init is None:
        network: TrainableNetwork = KmerNetwork(request.patterns, dimension, request.seed)
    else:
        embedder = open_embedder(request.init, use_gpu=request.use_gpu)
        encoder = embedder.encoder
        if isinstance(encoder, BarcodeEncoder):
            if request.dimension not in (None, encoder.dimension):
                raise UsageError(
                    f"`dimension` is {request.dimension} but {request.init} has {encoder.dimension}; give "
                    "this one, or omit `dimension`"
                )
            network = KmerNetwork(encoder.patterns, encoder.dimension, request.seed, encoder.table)
        else:
            folder = resolve(request.init).folder
            base = request.init if folder is None else str(folder.resolve())
            network = MapNetwork(embedder, base, dimension, request.seed)
    return network.to(device), device, encoder


def _software() -> dict[str, str]:
    import torch

    return {"ednabed": __version__, "torch": torch.__version__, "numpy": np.__version__}


def _write(output: Path, network: TrainableNetwork, licence: str, report: dict[str, Any]) -> dict[str, Any]:
    """Write the model folder under a temporary name and rename it; return the report as written."""
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
    written: dict[str, Any] = json.loads(sealed)
    return written
