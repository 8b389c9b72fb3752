"""Tests of settings: real files are read with all their quirks, and unsupported settings are refused by name."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ednabed.errors import ModelError
from ednabed.models.nucleotide_transformer.config import read_nt_config
from ednabed.models.nucleotide_transformer.tokenizer import LAYOUTS

ABSENT = object()


@pytest.fixture
def folder(tmp_path: Path, draw: Callable[..., Any]) -> Callable[..., Path]:
    """Writes a config.json with changes."""

    def build(layout: str = "v2", **changes: object) -> Path:
        config = draw(layout)[0] | changes
        config = {key: value for key, value in config.items() if value is not ABSENT}
        (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return tmp_path

    return build


@pytest.mark.parametrize(
    ("layout", "k", "max_tokens", "gated", "position", "token_dropout", "eps"),
    [
        ("v1", 6, 1000, False, "absolute", True, 1e-12),
        ("agro", 6, 1024, False, "absolute", False, 1e-12),
        ("v2", 6, 2048, True, "rotary", False, 1e-12),
        ("v2_3mer", 3, 2048, True, "rotary", False, 1e-5),
        ("v1_sharded", 6, 1000, False, "absolute", True, 1e-12),
    ],
)
def test_real_files(
    golden: Path, layout: str, k: int, max_tokens: int, gated: bool, position: str, token_dropout: bool, eps: float
) -> None:
    config = read_nt_config(golden / "nt_tiny" / layout)
    assert (config.tokenizer.k, config.max_tokens, config.gated) == (k, max_tokens, gated)
    assert (config.position, config.token_dropout, config.eps) == (position, token_dropout, eps)
    assert config.ffn_bias is not gated


def test_last_of_repeated_keys_wins(folder: Callable[..., Path]) -> None:
    path = folder(layer_norm_eps=ABSENT) / "config.json"
    text = path.read_text(encoding="utf-8").rstrip("}")
    path.write_text(text + ', "layer_norm_eps": 1.0, "layer_norm_eps": 0.25}', encoding="utf-8")
    assert read_nt_config(path.parent).eps == 0.25


@pytest.mark.parametrize("gated_bias", [True, False])
def test_gated_feed_forward_may_have_a_bias(folder: Callable[..., Path], gated_bias: bool) -> None:
    config = read_nt_config(folder(add_bias_fnn=gated_bias))
    assert config.gated and config.ffn_bias is gated_bias


def test_harmless_values_are_accepted(folder: Callable[..., Path]) -> None:
    rope = {"rope_theta": 10000.0, "rope_type": "default"}
    read_nt_config(
        folder(model_type=ABSENT, auto_map={"AutoModel": "no.such.Code"}, rope_theta=10000, rope_parameters=rope)
    )


@pytest.mark.parametrize(
    ("layout", "key", "value", "supported"),
    [
        ("v2", "model_type", "bert", 'no value or "esm"'),
        ("v2", "is_folding_model", True, "no value or false"),
        ("v2", "esmfold_config", {"trunk": {}}, "no value"),
        ("v2", "emb_layer_norm_before", True, "no value or false"),
        ("v2", "is_decoder", True, "no value or false"),
        ("v2", "hidden_act", "relu", 'no value or "gelu"'),
        ("v2", "pad_token_id", 0, "1"),
        ("v2", "pad_token_id", True, "1"),
        ("v1", "mask_token_id", 32, "2"),
        ("v1", "mask_token_id", ABSENT, "2"),
        ("v2", "position_embedding_type", "relative_key", '"absolute" or "rotary"'),
        ("v2", "position_embedding_type", ABSENT, '"absolute" or "rotary"'),
        ("v2", "vocab_size", 33, "4105 or 4107 or 75"),
        ("v2", "vocab_size", [75], "4105 or 4107 or 75"),
        ("v2", "vocab_size", ABSENT, "4105 or 4107 or 75"),
        ("v2", "add_bias_fnn", "no", "no value or false or true"),
        ("v2", "token_dropout", ABSENT, "true or false"),
        ("v2", "token_dropout", 0, "true or false"),
        ("v2", "hidden_size", ABSENT, "a whole number from 1"),
        ("v2", "hidden_size", 16.5, "a whole number from 1"),
        ("v2", "num_hidden_layers", 0, "a whole number from 1"),
        ("v2", "num_hidden_layers", 10**9, "a whole number from 1 to 1000"),
        ("v2", "intermediate_size", "24", "a whole number from 1"),
        ("v2", "max_position_embeddings", 2, "a whole number from 4"),
        ("v2", "num_attention_heads", True, "a whole number from 1"),
        ("v2", "num_attention_heads", 3, "a divisor of hidden_size, which is 16"),
        ("v2", "num_attention_heads", 16, "an even head width"),
        ("v2", "layer_norm_eps", 0, "a finite number above 0"),
        ("v2", "rope_theta", 500000.0, "no value or 10000.0"),
        ("v2", "rope_scaling", {"type": "linear", "factor": 2.0}, "no value"),
        ("v2", "rope_parameters", {"rope_theta": 10000.0, "rope_type": "yarn"}, "no value or"),
    ],
)
def test_refusals_name_file_key_value_and_choice(
    folder: Callable[..., Path], layout: str, key: str, value: object, supported: str
) -> None:
    path = folder(layout, **{key: value})
    with pytest.raises(ModelError) as caught:
        read_nt_config(path)
    got = "is missing" if value is ABSENT else f"is {json.dumps(value)}"
    assert f"{path / 'config.json'}: {key} {got}, expected {supported}" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "config.json is missing"),
        (b"{", "config.json is not JSON"),
        (b"\xff\xfe{}", "config.json is not JSON"),
        (b"[" * 200_000, "config.json is not JSON"),
        (b'{"layer_norm_eps": NaN}', "config.json is not JSON .it has NaN"),
        (b"[1]", "config.json contains a JSON list, expected an object"),
    ],
)
def test_unreadable_files(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_nt_config(tmp_path)


def test_the_vocabulary_is_checked_if_it_exists(folder: Callable[..., Path]) -> None:
    path = folder()
    tokens = list(LAYOUTS[75].vocabulary)
    vocabulary = path / "vocab.txt"
    vocabulary.write_bytes("\r\n".join(tokens).encode() + b"\r\n")
    read_nt_config(path)
    vocabulary.write_text("\n".join(tokens[:-1]), encoding="utf-8")
    with pytest.raises(ModelError, match=r"vocab.txt: has 74 lines, expected 75.*nt-3mer-v2"):
        read_nt_config(path)
    tokens[7], tokens[8] = tokens[8], tokens[7]
    vocabulary.write_text("\n".join(tokens), encoding="utf-8")
    with pytest.raises(ModelError, match=r"vocab.txt: line 8 is 'AAC', expected 'AAT'"):
        read_nt_config(path)
    vocabulary.write_bytes(b"\xff")
    with pytest.raises(ModelError, match=r"vocab.txt cannot be read"):
        read_nt_config(path)


def test_v1_vocabulary_with_and_without_the_two_rowless_tokens(folder: Callable[..., Path]) -> None:
    path = folder("v1")
    tokens = list(LAYOUTS[4105].vocabulary)
    for extra in ([], ["<eos>", "<bos>"]):
        (path / "vocab.txt").write_text("\n".join(tokens + extra), encoding="utf-8")
        read_nt_config(path)


def test_settings_and_tokenizer_need_no_torch() -> None:
    code = (
        "import sys; from ednabed.models.nucleotide_transformer import config, encoder, packing, tokenizer;"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
