"""Tests of the catalogue: complete cards, and names as people write them."""

import json
import re
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.errors import UsageError
from ednabed.models.barcode.config import read_barcode_config
from ednabed.models.barcode.kmers import SpacedKmers
from ednabed.models.catalog import (
    CATALOGUE,
    DEFAULT_MODEL,
    NT_LICENCE,
    ModelCard,
    find_card,
    licence_text,
    lookup,
    similar_names,
)
from ednabed.models.weights import local_folder

PUBLISHED = json.loads(files("ednabed").joinpath("models/data/nt_published.json").read_text(encoding="utf-8"))


def test_names_and_hub_ids_are_unique_and_lower_case() -> None:
    names = [card.name for card in CATALOGUE]
    ids = [card.hub_id for card in CATALOGUE if card.hub_id is not None]
    assert len(set(names)) == len(names) == 13
    assert len(set(ids)) == len(ids) == 10
    assert all(name == name.lower() for name in names)


@pytest.mark.parametrize("card", CATALOGUE, ids=lambda card: card.name)
def test_a_card_is_complete(card: ModelCard) -> None:
    assert card.dimension is not None
    assert card.notes
    if card.family == "kmer":
        assert (card.hub_id, card.revision, card.size_bytes, card.max_tokens) == (None, None, None, None)
        return
    if card.family == "barcode":
        assert (card.hub_id, card.revision, card.max_tokens, card.licence) == (None, None, None, "Apache-2.0")
        assert "any use" in licence_text(card.licence)
        assert card.parameters is not None and card.size_bytes is not None
        return
    assert card.licence == NT_LICENCE
    assert "non-commercial" in licence_text(card.licence)
    assert card.max_tokens in (1000, 1024, 2048)
    assert card.parameters is not None and card.size_bytes is not None
    assert card.parameters * 4 == pytest.approx(card.size_bytes, rel=0.005)
    assert card.revision is None or re.fullmatch("[0-9a-f]{40}", card.revision)


def test_the_default_comes_with_the_package_and_is_what_its_card_says() -> None:
    assert DEFAULT_MODEL == "barcode-1"
    card = find_card(DEFAULT_MODEL)
    folder = local_folder(card)
    assert folder is not None
    config = read_barcode_config(folder)
    assert (config.dimension, config.licence) == (card.dimension, card.licence) == (512, "Apache-2.0")
    columns = SpacedKmers(config.patterns).columns
    assert card.parameters == pytest.approx(columns * config.dimension, rel=0.01)
    assert card.size_bytes == pytest.approx((folder / "model.safetensors").stat().st_size, rel=0.01)


@pytest.mark.parametrize("entry", PUBLISHED["models"], ids=lambda entry: entry["model_id"])
def test_cards_agree_with_the_published_facts(entry: dict) -> None:
    card = find_card(entry["model_id"])
    assert card.revision == entry["revision"]
    assert card.dimension == entry["dim"] == len(entry["vector"])
    safetensors = [facts["size"] for name, facts in entry["files"].items() if name.endswith(".safetensors")]
    bins = [facts["size"] for name, facts in entry["files"].items() if name.endswith(".bin")]
    assert card.size_bytes == sum(safetensors or bins)


@pytest.mark.parametrize("card", CATALOGUE, ids=lambda card: card.name)
def test_a_card_is_found_by_every_spelling(card: ModelCard) -> None:
    spellings = [card.name, card.name.upper(), f" {card.name} "]
    if card.hub_id is not None:
        spellings += [card.hub_id, card.hub_id.lower(), card.hub_id.removeprefix("InstaDeepAI/"), card.hub_id.upper()]
    for spelling in spellings:
        assert find_card(spelling) is card


def test_the_large_multi_species_model_is_real() -> None:
    assert find_card("InstaDeepAI/nucleotide-transformer-2.5b-multi-species").name == "nt-2.5b-multi-species"


@pytest.mark.parametrize("prefix", ["", "InstaDeepAI/", "INSTADEEPAI/"])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nucleotide-transformer-500m-1000-multi-species", ["nt-v2-500m", "nt-500m-1000g"]),
        ("nucleotide-transformer-250m-1000g", ["nt-v2-250m"]),
        ("nucleotide-transformer-250m-1000", ["nt-v2-250m"]),
        ("nucleotide-transformer-250m-multi-species", ["nt-v2-250m"]),
    ],
)
def test_names_that_never_existed_give_existing_ones(prefix: str, name: str, expected: list[str]) -> None:
    with pytest.raises(UsageError, match="does not exist; nearest existing models: ") as caught:
        find_card(prefix + name)
    offered = str(caught.value).split("nearest existing models: ")[1]
    assert all(re.search(rf"\b{re.escape(real)}\b", offered) for real in expected)
    assert all(find_card(real) for real in expected)


def test_unknown_names_give_the_nearest_and_the_list_command() -> None:
    with pytest.raises(UsageError) as caught:
        find_card("nt-v2-50")
    assert "model 'nt-v2-50' is unknown; nearest: nt-v2-50m" in str(caught.value)
    assert "ednabed models list" in str(caught.value)
    with pytest.raises(UsageError, match=r"^model 'qqqqqqqq' is unknown; 'ednabed models list' shows all$"):
        find_card("qqqqqqqq")


def test_nearest_includes_other_names() -> None:
    assert similar_names("compositon", ["composition"]) == ["composition"]
    assert similar_names("InstaDeepAI/nucleotide-transformer-v2-50m-multi-specie")[0] == "nt-v2-50m"


@given(st.text(max_size=40))
def test_any_text_gives_a_card_or_a_usage_error(text: str) -> None:
    try:
        assert lookup(text) is None or find_card(text) in CATALOGUE
    except UsageError as error:
        assert text in str(error)


def test_a_licence_that_is_not_stated_is_reported() -> None:
    assert "not stated" in licence_text("")
    assert licence_text("MIT") == "MIT"
