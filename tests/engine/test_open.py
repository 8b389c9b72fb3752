"""Choosing the device and precision, and opening an embedder."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ednabed.engine.device import choose_device
from ednabed.engine.open import open_embedder
from ednabed.errors import UsageError
from ednabed.models.spec import Policy

torch = pytest.importorskip("torch")
no_gpu = pytest.mark.skipif(
    torch.cuda.is_available() or torch.backends.mps.is_available(), reason="a GPU is here, so forcing it is possible"
)


@no_gpu
def test_forcing_a_missing_gpu_is_an_error():
    with pytest.raises(UsageError, match="a GPU was requested but none can be used here"):
        choose_device(use_gpu=True)


def test_the_cpu_can_be_forced_and_its_description_names_the_precision():
    device = choose_device(use_gpu=False)
    assert device.name == "cpu"
    assert device.precision in ("fp32", "bf16")
    assert device.precision in device.description
    assert choose_device(use_gpu=False, precision="fp32").precision == "fp32"


def test_the_cpu_defaults_to_bf16_only_if_the_hardware_supports_it(monkeypatch):
    monkeypatch.setattr("ednabed.engine.device.cpu_has_bf16", lambda: False)
    assert choose_device(use_gpu=False).precision == "fp32"
    monkeypatch.setattr("ednabed.engine.device.cpu_has_bf16", lambda: True)
    assert choose_device(use_gpu=False).precision == "bf16"


def test_unsupported_precisions_are_refused():
    with pytest.raises(UsageError, match="CPUs do not support fp16"):
        choose_device(use_gpu=False, precision="fp16")
    with pytest.raises(UsageError, match="choose auto, fp32, bf16 or fp16"):
        choose_device(precision="fp8")


def test_the_choice_is_logged(caplog):
    with caplog.at_level("INFO", "ednabed"):
        choose_device(use_gpu=False)
    assert any("device: CPU" in record.getMessage() for record in caplog.records)


def test_kmer_runs_on_the_cpu_in_fp32_only(caplog):
    assert open_embedder("kmer6", use_gpu=True).encoder.device == "cpu"
    assert "a GPU was requested but kmer6 cannot use one" in caplog.text
    with pytest.raises(UsageError, match=r"choose `precision=.auto.`"):
        open_embedder("kmer6", precision="bf16")
    with pytest.raises(UsageError, match="neither layers nor poolings"):
        open_embedder("kmer6", Policy(layer=1))
    assert open_embedder("kmer6", use_gpu=False, precision="fp32").spec.dimension == 512
    assert open_embedder("kmer6-full").spec.dimension == 4096


def test_kmer_does_not_need_torch():
    code = "import sys; from ednabed.engine.open import open_embedder as o; o('kmer6'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "False"
