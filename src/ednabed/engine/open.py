"""Open an embedder by name on the best device: the one door through which every command and facade comes."""

from __future__ import annotations

import logging
import time

from ednabed.engine.device import choose_device
from ednabed.errors import UsageError
from ednabed.models.base import Embedder
from ednabed.models.load import computes_on_cpu, load_embedder, resolve
from ednabed.models.spec import Policy

log = logging.getLogger("ednabed")


def open_embedder(
    model: str,
    policy: Policy | None = None,
    *,
    use_gpu: bool | None = None,
    precision: str = "auto",
) -> Embedder:
    """Load a model with a policy.

    Args:
        model: Catalogue name, hub id, model folder or entry-point name.
        policy: See ``Policy``; None takes its defaults.
        use_gpu: True forces a GPU (a model that runs on the CPU only warns and does), False the CPU, None takes the
            best one present.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.

    Raises:
        UsageError: Unknown model, device, precision or policy.
        ModelError: Weights are absent or damaged.
    """
    if computes_on_cpu(resolve(model)):
        # Counts of k-mers are numpy on the CPU; torch (seconds to import) is not needed for them.
        if precision not in ("auto", "fp32"):
            raise UsageError(f"{model} computes in fp32 only, not {precision}; choose precision auto")
        if use_gpu:
            log.warning("a GPU was asked for and %s has no use for one; it runs on the CPU", model)
        return _loaded(model, policy, "cpu", "fp32")
    device = choose_device(use_gpu, precision)
    embedder = _loaded(model, policy, device.name, device.precision)
    encoder = embedder.encoder
    if (use_gpu and encoder.device.startswith("cpu")) or (precision != "auto" and encoder.precision != precision):
        raise UsageError(
            f"{model} runs on {encoder.device} in {encoder.precision} only; do not force another device or precision"
        )
    return embedder


def _loaded(model: str, policy: Policy | None, device: str, precision: str) -> Embedder:
    """Load, and log what was loaded and how long it took."""
    began = time.monotonic()
    embedder = load_embedder(model, policy, device=device, precision=precision)
    log.debug(
        "model %s, fingerprint %s, on %s in %s: loaded in %.1f s", embedder.spec.model, embedder.spec.fingerprint[:12],
        embedder.encoder.device, embedder.encoder.precision, time.monotonic() - began,
    )  # fmt: skip
    return embedder
