"""The steps of training, which a kill does not lose: from a batch by its number to a better network.

Every minute the state goes to one file (weights, moments of Adam, curves), under another name first. A run that is
started again goes on from there, with the batches that it would have had, to the same weights.
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

from ednabed.base.library_writes import library_writes
from ednabed.base.sealed import json_sha256
from ednabed.base.stored_json import parse_json, require
from ednabed.engine.progress import progress_bar
from ednabed.errors import StoreError
from ednabed.models.barcode.files import digest
from ednabed.store.files import fsync_file
from ednabed.training.networks import Network
from ednabed.training.objective import losses
from ednabed.training.records import QUESTIONS
from ednabed.training.sampling import Batch, Sampler

STATE = "state.safetensors"
_SAVE_SECONDS = 60.0
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
_SUMS = "sums_of_losses"
_AHEAD = 4


@dataclass(frozen=True)
class Plan:
    """How training goes.

    Attributes:
        steps: Batches.
        rate: Learning rate of Adam after ``warm_up`` steps; it then falls to 0 along a line.
        temperature: See ``objective.losses``.
        weights: Weight of each question.
        warm_up: Steps in which the rate rises.
        told: Steps between two points of the curves; validation takes place there too.
    """

    steps: int
    rate: float = 1e-3
    temperature: float = 0.07
    weights: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(QUESTIONS, 1.0))
    warm_up: int = 50
    told: int = 200

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        return self.rate * min(1.0, (step + 1) / self.warm_up) * (1 - step / self.steps)


def train(
    network: Network,
    sampler: Sampler,
    plan: Plan,
    folder: Path,
    key: str,
    validate: Callable[[], dict[str, float]],
    *,
    show_progress: bool | None = None,
) -> list[dict[str, float]]:
    """Train a network in place.

    Args:
        network: On the device on which it is to be trained.
        sampler: Gives batches by number.
        plan: See ``Plan``.
        folder: Work folder for the state; made if absent.
        key: Names data and settings; a state of another key is not taken up.
        validate: Called at every point of the curves; returns figures for them.
        show_progress: None shows a bar on a terminal only.

    Returns:
        The curves: at each point the step, the mean loss of each question since the point before, and what ``validate``
        returned.

    Raises:
        StoreError: The state is damaged or of another key, or weights or loss are not finite any more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimiser = torch.optim.Adam(network.parameters(), lr=plan.rate, betas=(0.9, 0.98), fused=True)
    step, curves, sums = _resume(network, optimiser, folder / STATE, key)
    saved = time.monotonic()
    with (
        progress_bar(plan.steps, done=step, show=show_progress, doing="training", unit="step") as bar,
        _ahead(network, sampler, step, plan.steps) as batches,
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
            if step % plan.told == 0 or step == plan.steps:
                point: dict[str, float] = {"step": step}
                since = step - int(curves[-1]["step"]) if curves else step
                for name, value in zip(QUESTIONS, sums.tolist(), strict=True):
                    point[f"loss_{name}"] = round(value / since, 4)
                sound = all(bool(torch.isfinite(parameter).all()) for parameter in network.parameters())
                if not sound or not all(map(math.isfinite, point.values())):
                    raise StoreError(
                        f"{folder}: weights or loss are not finite any more at step {step}; lower the learning rate "
                        "(--rate) and start again"
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
def _ahead(network: Network, sampler: Sampler, first: int, last: int) -> Iterator[Iterator[tuple[Batch, Any]]]:
    """Prepare batches in a thread, in order, some of them ahead."""
    queue: Queue[tuple[Batch, Any] | BaseException | None] = Queue(_AHEAD)
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
        # Raised again where it is waited for.
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
    network: Network,
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
    told = {"key": key, "step": str(step), "curves": json.dumps(curves)}
    with library_writes(temporary):
        save_file(tensors, temporary, {**told, "sha256": _checksum(tensors, told)})
        fsync_file(temporary)
        temporary.replace(path)


def _resume(
    network: Network, optimiser: torch.optim.Optimizer, path: Path, key: str
) -> tuple[int, list[dict[str, float]], torch.Tensor]:
    """Bring network and optimiser to the state that was saved; return its step, curves and sums of the losses since."""
    if not path.exists():
        return 0, [], torch.zeros(len(QUESTIONS))
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            told = file.metadata() or {}
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        if told["key"] != key:
            raise StoreError(f"{path} is of other data or settings; remove its folder, or give --no-resume")
        # States of the time before have none.
        if told.pop("sha256", None) not in (None, _checksum(tensors, told)):
            raise ValueError("it differs from its checksum")
        state = {}
        with torch.no_grad():
            for number, (name, parameter) in enumerate(network.named_parameters()):
                parameter.copy_(tensors[name])
                state[number] = {moment: tensors[f"{name}.{moment}"] for moment in _MOMENTS}
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
        curves = parse_json(told["curves"])
        step = int(told["step"])
        if not isinstance(curves, list) or step < 0 or tensors[_SUMS].shape != (len(QUESTIONS),):
            raise ValueError("it has no curves, steps or sums")
        for point in curves:
            require(point, {"step": int}, "a point of the curves")
        return step, curves, tensors[_SUMS]
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise StoreError(f"{path} is damaged ({error}); remove its folder and start again") from error


def _checksum(tensors: Mapping[str, torch.Tensor], told: Mapping[str, str]) -> str:
    """Return the SHA-256 of the state's values and of what it says of itself."""
    return json_sha256([digest({name: tensor.numpy() for name, tensor in tensors.items()}), dict(told)])
