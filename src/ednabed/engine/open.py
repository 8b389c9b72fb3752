"""Open an embedder by name on the best device; every command and facade uses this function."""

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
        use_gpu: True forces a GPU (a CPU-only model logs a warning and runs on the CPU), False forces the CPU, None
            chooses the best available device.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.

    Raises:
        UsageError: Unknown model, device, precision or policy.
        ModelError: The weights are missing or damaged.
    """
    if computes_on_cpu(resolve(model)):
        # k-mers are counted by numpy on the CPU, without torch, which takes seconds to import.
        if precision not in ("auto", "fp32"):
            raise UsageError(f"{model} computes in fp32 only, not {precision}; choose `precision='auto'`")
        if use_gpu:
            log.warning("a GPU was requested but %s cannot use one; it runs on the CPU", model)
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
    """Load an embedder, and log what was loaded and how long it took."""
    began = time.monotonic()
    embedder = load_embedder(model, policy, device=device, precision=precision)
    log.debug(
        "model %s, fingerprint %s, on %s in %s: loaded in %.1f s", embedder.spec.model, embedder.spec.fingerprint[:12],
        embedder.encoder.device, embedder.encoder.precision, time.monotonic() - began,
    )  # fmt: skip
    return embedder
