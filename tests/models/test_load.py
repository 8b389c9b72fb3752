"""Tests of resolving names, and of encoders of other distributions."""

import importlib
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.errors import EdnabedError, ModelError, UsageError
from ednabed.models import load
from ednabed.models.base import Encoder
from ednabed.models.catalog import CATALOGUE, find_card
from ednabed.models.spec import Policy
from ednabed.models.weights import cache_folder

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("EDNABED_SHARED", ROOT.parent / "shared"))
TINY = SHARED / "golden" / "nt_tiny"
needs_shared = pytest.mark.skipif(not TINY.is_dir(), reason="the golden fixtures are not here (EDNABED_SHARED)")


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("EDNABED_MODELS", raising=False)
    monkeypatch.chdir(tmp_path)


class Site:
    """A folder on the import path for test distributions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, distribution: str, models: dict[str, str], code: str | None = None) -> None:
        module = distribution.replace("-", "_")
        if code is not None:
            (self.folder / f"{module}.py").write_text(code, encoding="utf-8")
        info = self.folder / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n", encoding="utf-8")
        lines = [f"{name} = {module}:{function}" for name, function in models.items()]
        (info / "entry_points.txt").write_text("\n".join(["[ednabed.models]", *lines, ""]), encoding="utf-8")
        importlib.invalidate_caches()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    known = set(sys.modules)
    yield Site(folder)
    for name in set(sys.modules) - known:
        if getattr(sys.modules[name], "__file__", None) and str(folder) in str(sys.modules[name].__file__):
            del sys.modules[name]


def blocks_of_the_guide(language: str) -> list[str]:
    text = (ROOT / "docs" / "adding_a_model.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def test_the_example_in_the_guide_works(site: Site) -> None:
    (project,) = blocks_of_the_guide("toml")
    (code,) = blocks_of_the_guide("python")
    name, function = re.search(r'^(\w+) = "ednabed_composition:(\w+)"$', project, re.M).groups()
    site.install("ednabed-composition", {name: function}, code)

    embedder = load.load_embedder("composition", Policy(strand="both"))
    encoder = embedder.encoder
    sequences = [b"ACGT", b"AANAC", b"NNN"]
    tokens = encoder.tokenize(sequences)
    assert tokens.lengths.tolist() == [4, 4, 0]
    vectors = encoder.forward(tokens)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, [[0.25] * 4, [0.75, 0.25, 0, 0], [0] * 4])
    alone = np.concatenate([encoder.forward(encoder.tokenize([s])) for s in sequences])
    np.testing.assert_array_equal(vectors, alone)
    assert encoder.tokenize([]).offsets.tolist() == [0]
    assert embedder.spec.model == "composition"
    assert re.fullmatch("[0-9a-f]{64}", embedder.spec.fingerprint)
    # As a search with stored vectors does.
    assert load.load_embedder("composition", embedder.spec.policy).spec == embedder.spec
    with pytest.raises(UsageError, match="neither layers nor poolings"):
        load.load_encoder("composition", layer=1)


def test_third_party_names_ignore_case_and_help_the_misspelt(site: Site) -> None:
    site.install("other-pack", {"composition": "load"})
    assert load.resolve("Composition").entry_point is not None
    with pytest.raises(UsageError, match="nearest: composition"):
        load.resolve("compositon")


@pytest.mark.parametrize("name", ["kmer6", "nt-v2-50m", "KMER6"])
def test_a_third_party_may_not_take_a_name_of_the_catalogue(site: Site, name: str) -> None:
    site.install("rude-pack", {name: "load"}, "raise SystemExit('imported')")
    with pytest.raises(
        ModelError, match=r"rude-pack 1\.0 announces a model '.*', which is a name in ednabed's own catalogue"
    ):
        load.load_encoder(name)
    assert load.load_encoder("kmer6-full").dimension == 4096


def test_two_distributions_with_one_name_are_refused(site: Site) -> None:
    site.install("pack-a", {"twin": "load"})
    site.install("pack-b", {"Twin": "load"})
    with pytest.raises(
        ModelError, match=r"announced by .*pack-[ab] 1\.0 and by .*pack-[ab] 1\.0; uninstall all but one"
    ):
        load.resolve("twin")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("raise RuntimeError('no licence key')", r"cannot be loaded \(RuntimeError: no licence key\)"),
        ("import not_there_at_all", r"cannot be loaded \(ModuleNotFoundError: "),
        ("x = 1", r"cannot be loaded \(AttributeError: "),
        ("def load(**_): raise ValueError('boom')", r"cannot be loaded \(ValueError: boom\)"),
        ("def load(path): pass", r"cannot be loaded \(TypeError: "),
        ("def load(**_): return 7", "returned a int, expected an ednabed Encoder"),
        (
            "from ednabed.models.kmer import KmerEncoder\n"
            "def load(**_):\n    e = KmerEncoder()\n    del e.tokenizer, e.architecture\n    return e",
            "does not state its architecture, tokenizer",
        ),
        (
            "from ednabed.models.kmer import KmerEncoder\n"
            "def load(**_):\n    e = KmerEncoder()\n    e.weights = 'v1'\n    return e",
            "states its weights as 'v1'",
        ),
    ],
)
def test_a_broken_third_party_is_named(site: Site, code: str, expected: str) -> None:
    site.install("broken-pack", {"broken": "load"}, code)
    with pytest.raises(ModelError, match=expected) as caught:
        load.load_encoder("broken")
    assert "'broken' of broken-pack 1.0" in str(caught.value)
    assert load.load_encoder("kmer6").dimension == 512


def test_errors_that_a_third_party_raises_on_purpose_pass(site: Site) -> None:
    code = "from ednabed.errors import ModelError\ndef load(**_): raise ModelError('run pack fetch')"
    site.install("polite-pack", {"polite": "load"}, code)
    with pytest.raises(ModelError, match=r"^run pack fetch$"):
        load.load_encoder("polite")


@pytest.mark.parametrize(("name", "dimension"), [("kmer6", 512), ("kmer6-full", 4096), ("KMER6", 512)])
def test_kmer_profiles(name: str, dimension: int) -> None:
    encoder = load.load_encoder(name)
    assert isinstance(encoder, Encoder)
    assert (encoder.name, encoder.dimension) == (name.lower(), dimension)
    for settings in ({"layer": 0}, {"pooling": "mean"}):
        with pytest.raises(UsageError, match="neither layers nor poolings"):
            load.load_encoder(name, **settings)
        with pytest.raises(UsageError, match="neither layers nor poolings"):
            load.load_embedder(name, Policy(**settings))


def test_the_cards_of_kmer_profiles_are_correct() -> None:
    for card in CATALOGUE:
        if card.family == "kmer":
            encoder = load.load_encoder(card.name)
            assert (encoder.dimension, encoder.max_tokens) == (card.dimension, card.max_tokens)


@pytest.mark.parametrize("name", ["nt-v2-50m", "InstaDeepAI/nucleotide-transformer-v2-50m-multi-species"])
def test_missing_weights_name_the_command(name: str) -> None:
    with pytest.raises(
        ModelError, match=r"the weights of nt-v2-50m are not on .*; run 'ednabed models fetch nt-v2-50m'$"
    ):
        load.load_encoder(name)


def test_missing_weights_of_another_hub_id() -> None:
    with pytest.raises(ModelError, match=r"run 'ednabed models fetch org/name'$"):
        load.load_encoder("org/name")
    with pytest.raises(ModelError, match="nearest in the catalogue: nt-v2-50m"):
        load.load_encoder("InstaDeepAI/nucleotide-transformer-v2-50m-multi-specie")


def test_an_incomplete_manual_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDNABED_MODELS", str(tmp_path))
    (tmp_path / "nt-v2-50m").mkdir()
    (tmp_path / "nt-v2-50m" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path / "nt-v2-50m")
    with pytest.raises(ModelError, match=r"nt-v2-50m lacks model\.safetensors or pytorch_model\.bin\)"):
        load.load_encoder("nt-v2-50m")


def test_wrong_names_in_guides_are_answered() -> None:
    size = "nucleotide-transformer-"
    for name, real in (
        ("250m-1000g", "nt-v2-250m"),
        ("250m-1000-multi-species", "nt-v2-250m"),
        ("500m-1000-multi-species", "nt-v2-500m"),
        ("2.5b", "nt-2.5b-multi-species"),
    ):
        for written in (f"InstaDeepAI/{size}{name}", f"{size}{name}"):
            with pytest.raises(UsageError, match=f"does not exist; nearest existing models: {real}"):
                load.load_encoder(written)


@pytest.mark.parametrize(
    "name",
    ["../x", "..", "a/../b", "/nowhere/at/all", "C:\\models\\x", "C:x", "\\\\server\\share", "~/model", "./x", "a/b/c",
     "InstaDeepAI/..", "..\\x"],
)  # fmt: skip
def test_paths_without_a_model_are_never_looked_up_as_names(name: str) -> None:
    with pytest.raises(ModelError, match=r"the folder does not exist|the folder has no config"):
        load.resolve(name)


def test_an_empty_name_is_not_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="model '' is unknown"):
        load.resolve("")
    assert load.resolve(".").folder == Path()


@given(st.text(max_size=50))
def test_any_text_is_found_or_gives_an_error(text: str) -> None:
    try:
        found = load.resolve(text)
    except EdnabedError:
        return
    assert found.card is not None or found.folder is not None


@needs_shared
@pytest.mark.parametrize("layout", ["v1", "v2", "v2_3mer", "agro", "v1_sharded_bin"])
def test_a_folder_loads_under_its_own_name(layout: str) -> None:
    embedder = load.load_embedder(str(TINY / layout), Policy(layer=1, pooling="cls", max_tokens=100))
    spec = embedder.spec
    assert (spec.model, spec.layer, spec.pooling, spec.max_tokens) == (layout, 1, "cls", 100)
    assert spec.revision is None
    assert spec.weights.startswith("sha256:")
    vectors = embedder.encoder.forward(embedder.encoder.tokenize([b"ATTCCGATTCCGATTCCG"]))
    assert vectors.shape == (1, spec.dimension)


@needs_shared
def test_a_card_loads_from_the_cache_with_licence_and_revision(tmp_path: Path) -> None:
    card = find_card("nt-v2-50m")
    folder = cache_folder(card) / "snapshots" / str(card.revision)
    folder.mkdir(parents=True)
    for name in ("config.json", "vocab.txt", "model.safetensors"):
        (folder / name).write_bytes((TINY / "v2" / name).read_bytes())
    spec = load.load_embedder("nt-v2-50m").spec
    assert (spec.model, spec.licence, spec.revision) == ("nt-v2-50m", card.licence, card.revision)
    assert spec.dimension == 64
    assert spec.fingerprint == load.load_embedder(str(TINY / "v2")).spec.fingerprint


@needs_shared
def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    for name, layout in (("config.json", "v1"), ("model.safetensors", "v2")):
        (tmp_path / name).write_bytes((TINY / layout / name).read_bytes())
    with pytest.raises(ModelError):
        load.load_encoder(str(tmp_path))
