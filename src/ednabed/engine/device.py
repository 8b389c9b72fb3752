"""Choose the device on which the network runs, and its precision.

``auto`` prefers CUDA, then Apple's MPS, then the CPU. Half precision is chosen only where the hardware supports it:
on a CPU without AMX or AVX512-BF16, bf16 is emulated and a hundred times slower, so it is never the default there.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ednabed.errors import UsageError
from ednabed.extras import import_extra, is_installed

log = logging.getLogger("ednabed")


@dataclass(frozen=True)
class Device:
    """The chosen device and precision.

    Attributes:
        name: ``cpu``, ``cuda`` or ``mps``.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        description: Text for people: the name of the GPU, or the CPU and the reason for this precision.
    """

    name: str
    precision: str
    description: str


def choose_device(use_gpu: bool | None = None, precision: str = "auto") -> Device:
    """Choose the device and precision.

    Args:
        use_gpu: True forces a GPU, False forces the CPU, None chooses the best available device.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.

    Raises:
        UsageError: A GPU was forced and none can be used, or the precision is unknown or not supported by the device.
        MissingPackage: A GPU or a precision other than fp32 was requested, and torch is not installed.
    """
    if precision not in ("auto", "fp32", "bf16", "fp16"):
        raise UsageError(f"precision '{precision}' is unknown; choose auto, fp32, bf16 or fp16")
    if not is_installed("torch") and not use_gpu and precision in ("auto", "fp32"):
        # Models that use another framework run on the CPU.
        return Device("cpu", "fp32", "CPU, fp32")
    torch = import_extra("torch", "nt", "a GPU or a precision other than fp32")
    gpu = None if use_gpu is False else available_gpu()
    if use_gpu and gpu is None:
        raise UsageError(
            "a GPU was requested but none can be used here (torch "
            f"{torch.__version__} sees neither CUDA nor Apple MPS); omit `use_gpu` to run on the CPU, or install "
            "the torch build for your GPU"
        )
    name = gpu or "cpu"
    if name == "cpu" and precision == "fp16":
        raise UsageError("CPUs do not support fp16; choose fp32, or bf16 if the CPU supports it")
    if name == "cpu" and precision == "bf16" and not cpu_has_bf16():
        raise UsageError("this CPU does not support bf16 (it has neither AMX nor AVX512-BF16); choose fp32")
    if precision == "auto":
        precision = _best_precision(name)
    device = Device(name, precision, _describe(name, precision))
    log.info("device: %s", device.description)
    return device


def available_gpu() -> str | None:
    """Return the kind of GPU that torch can use, ``cuda`` or ``mps``; None without a GPU or without torch."""
    if not is_installed("torch"):
        return None
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else None


def cpu_has_bf16() -> bool:
    """Return whether the CPU multiplies bf16 in hardware (AMX or AVX512-BF16)."""
    import torch

    # Both probes are private in torch; one that no longer exists counts as unsupported.
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, probe)()) for probe in probes if hasattr(torch.cpu, probe))


def _best_precision(name: str) -> str:
    import torch

    if name == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if name == "mps":
        return "fp32"
    return "bf16" if cpu_has_bf16() else "fp32"


def _describe(name: str, precision: str) -> str:
    import torch

    if name == "cuda":
        properties = torch.cuda.get_device_properties(0)
        return f"CUDA, {properties.name}, {properties.total_memory / 1e9:.0f} GB, {precision}"
    if name == "mps":
        return f"Apple MPS, {precision}"
    bf16 = "has bf16" if cpu_has_bf16() else "no bf16 in hardware"
    return f"CPU, {torch.get_num_threads()} threads, {bf16}, {precision}"
