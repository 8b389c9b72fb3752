"""Matrix products on a CPU are the same with oneDNN's own weight layout and with plain ``F.linear``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ednabed.models.nucleotide_transformer import network
from ednabed.models.nucleotide_transformer.encoder import NucleotideTransformer
from ednabed.models.nucleotide_transformer.network import Linear

SEQUENCES = [b"ACGT" * 30, b"TTGACCANNGT" * 9, b"A" * 7]


@pytest.mark.parametrize("with_gelu", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_packed_products_are_plain_products(with_gelu: bool, with_bias: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    weight = torch.randn(48, 32, generator=rng)
    bias = torch.randn(48, generator=rng) if with_bias else None
    x = torch.randn(17, 32, generator=rng)
    expected = torch.nn.functional.linear(x.double(), weight.double(), None if bias is None else bias.double())
    if with_gelu:
        expected = torch.nn.functional.gelu(expected)
    with torch.inference_mode():
        got = Linear(weight, bias, with_gelu)(x)
    assert torch.allclose(got.double(), expected, atol=2e-5)


@pytest.mark.parametrize("layout", ["v1", "v2", "v2_3mer", "agro"])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 5e-6), ("bf16", 5e-2)])
def test_networks_agree_without_packing(
    shared: Path, layout: str, precision: str, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shared / "golden" / "nt_tiny" / layout

    def vectors() -> np.ndarray:
        model = NucleotideTransformer.load(folder, name=layout, precision=precision)
        return model.forward(model.tokenize(SEQUENCES))

    packed = vectors()
    monkeypatch.setattr(network, "_pack", lambda weight: None)
    plain = vectors()
    assert np.abs(packed - plain).max() < tolerance
