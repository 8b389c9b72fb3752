"""The training loop, whose progress survives a kill: it draws batches by number and updates the network.

Every minute the state (weights, moments of Adam, curves) is written to one file, under a temporary name first. Training
that is started again continues from there with the same batches and reaches the same weights.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ednabed.base.files import fsync_file
from ednabed.base.library_writes import library_writes
from ednabed.base.sealed import json_sha256
from ednabed.base.stored_json import parse_json, require
from ednabed.engine.progress import progress_bar
from ednabed.errors import StoreError
from ednabed.models.barcode.files import arrays_digest
from ednabed.training.networks import TrainableNetwork
from ednabed.training.objective import losses
from ednabed.training.records import QUESTIONS
from ednabed.training.sampling import Batch, Sampler

STATE = "state.safetensors"
_SAVE_SECONDS = 60.0
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
_SUMS = "sums_of_losses"
_QUEUED_BATCHES = 4


@dataclass(frozen=True)
class Schedule:
    """The training schedule.

    Attributes:
        steps: Number of batches.
        rate: Learning rate of Adam after ``warm_up`` steps; it then falls linearly to 0.
        temperature: See ``objective.losses``.
        weights: Weight of each question.
        warm_up: Steps during which the rate rises.
        report_every: Steps between two points of the curves, at which the network is also validated.
    """

    steps: int
    rate: float = 1e-3
    temperature: float = 0.07
    weights: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(QUESTIONS, 1.0))
    warm_up: int = 50
    report_every: int = 200

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        return self.rate * min(1.0, (step + 1) / self.warm_up) * (1 - step / self.steps)


def train(
    network: TrainableNetwork,
    sampler: Sampler,
    plan: Schedule,
    folder: Path,
    key: str,
    validate: Callable[[], dict[str, float]],
    *,
    show_progress: bool | None = None,
) -> list[dict[str, float]]:
    """Train a network in place.

    Args:
        network: The network, on the device on which it is to be trained.
        sampler: Draws batches by number.
        plan: See ``Schedule``.
        folder: Work folder for the state; created if it does not exist.
        key: Identifies the data and settings; a state with another key is refused.
        validate: Called at every point of the curves; returns figures for them.
        show_progress: None shows a bar on a terminal only.

    Returns:
        The curves: at each point the step, the mean loss of each question since the previous point, and the figures
        that ``validate`` returned.

    Raises:
        StoreError: The state is damaged or has another key, or the weights or the loss are no longer finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimiser = torch.optim.Adam(network.parameters(), lr=plan.rate, betas=(0.9, 0.98), fused=True)
    step, curves, sums = _resume(network, optimiser, folder / STATE, key)
    saved = time.monotonic()
    with (
        progress_bar(plan.steps, done=step, show=show_progress, doing="training", unit="step") as bar,
        _prefetched(network, sampler, step, plan.steps) as batches,
    ):
        for batch, prepared in batches:
            for group in optimiser.param_groups:
                group["lr"] = plan.rate_at(step)
            found = losses(network(prepared), batch.records, batch.taxa, plan.temperature)
            loss = sum((plan.weights[name] * value for name, value in found.items()), torch.zeros(()))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            sums += torch.stack([found[name].detach().cpu() for name in QUESTIONS])
            step += 1
            bar.update()
            if step % plan.report_every == 0 or step == plan.steps:
                point: dict[str, float] = {"step": step}
                since = step - int(curves[-1]["step"]) if curves else step
                for name, value in zip(QUESTIONS, sums.tolist(), strict=True):
                    point[f"loss_{name}"] = round(value / since, 4)
                finite = all(bool(torch.isfinite(parameter).all()) for parameter in network.parameters())
                if not finite or not all(map(math.isfinite, point.values())):
                    raise StoreError(
                        f"{folder}: the weights or the loss are no longer finite at step {step}; lower the learning "
                        "rate (`rate`) and start again"
                    )
                point |= validate()
                curves.append(point)
                bar.set_postfix({name: value for name, value in point.items() if not name.startswith(("loss", "step"))})
                sums.zero_()
            if time.monotonic() - saved >= _SAVE_SECONDS or step == plan.steps:
                _save(network, optimiser, folder / STATE, key, step, curves, sums)
                saved = time.monotonic()
    return curves


@contextmanager
def _prefetched(
    network: TrainableNetwork, sampler: Sampler, first: int, last: int
) -> Iterator[Iterator[tuple[Batch, Any]]]:
    """Prepare batches in order in a thread, up to ``_QUEUED_BATCHES`` in advance."""
    queue: Queue[tuple[Batch, Any] | BaseException | None] = Queue(_QUEUED_BATCHES)
    stopped = threading.Event()

    def put(item: tuple[Batch, Any] | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                queue.put(item, timeout=0.2)
                return
            except Full:
                continue

    def produce() -> None:
        try:
            for number in range(first, last):
                if stopped.is_set():
                    return
                batch = sampler.batch(number)
                put((batch, network.prepare(batch.views)))
            put(None)
        # Raised again by the consumer.
        except BaseException as error:
            put(error)

    def consume() -> Iterator[tuple[Batch, Any]]:
        while (item := queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        yield consume()
    finally:
        stopped.set()
        while thread.is_alive():
            try:
                queue.get(timeout=0.1)
            except Empty:
                continue
        thread.join()


def _save(
    network: TrainableNetwork,
    optimiser: torch.optim.Optimizer,
    path: Path,
    key: str,
    step: int,
    curves: list[dict[str, float]],
    sums: torch.Tensor,
) -> None:
    from safetensors.torch import save_file

    tensors = {_SUMS: sums}
    for name, parameter in network.named_parameters():
        tensors[name] = parameter.detach().cpu().contiguous()
        for moment in _MOMENTS:
            tensors[f"{name}.{moment}"] = optimiser.state[parameter][moment].detach().cpu().contiguous()
    temporary = path.with_suffix(".tmp")
    metadata = {"key": key, "step": str(step), "curves": json.dumps(curves)}
    with library_writes(temporary):
        save_file(tensors, temporary, {**metadata, "sha256": _checksum(tensors, metadata)})
        fsync_file(temporary)
        temporary.replace(path)


def _resume(
    network: TrainableNetwork, optimiser: torch.optim.Optimizer, path: Path, key: str
) -> tuple[int, list[dict[str, float]], torch.Tensor]:
    """Restore network and optimiser from the saved state; return its step, its curves and the losses summed since."""
    if not path.exists():
        return 0, [], torch.zeros(len(QUESTIONS))
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        if metadata["key"] != key:
            raise StoreError(f"{path} belongs to other data or settings; remove its folder, or set `resume=False`")
        # States written by earlier versions do not contain one.
        if metadata.pop("sha256", None) not in (None, _checksum(tensors, metadata)):
            raise ValueError("it does not match its checksum")
        state = {}
        with torch.no_grad():
            for number, (name, parameter) in enumerate(network.named_parameters()):
                parameter.copy_(tensors[name])
                state[number] = {moment: tensors[f"{name}.{moment}"] for moment in _MOMENTS}
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
        curves = parse_json(metadata["curves"])
        step = int(metadata["step"])
        if not isinstance(curves, list) or step < 0 or tensors[_SUMS].shape != (len(QUESTIONS),):
            raise ValueError("it has no curves, steps or sums")
        for point in curves:
            require(point, {"step": int}, "a point of the curves")
        return step, curves, tensors[_SUMS]
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise StoreError(f"{path} is damaged ({error}); remove its folder and start again") from error


def _checksum(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> str:
    """Return the SHA-256 of the state's tensors and metadata."""
    return json_sha256([arrays_digest({name: tensor.numpy() for name, tensor in tensors.items()}), dict(metadata)])
