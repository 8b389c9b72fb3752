"""The models that ednabed knows by name: one frozen record per model, and the lookup by name or hub id.

This module contains data and no code beyond the lookup: it does not load, fetch or import anything. ``weights`` finds
the weights of a card, and ``load`` creates an encoder from it. A loaded encoder takes its dimension and token limit
from its own files; the values here help people to choose. The guides of the tools before ednabed name some models that
never existed: the error lists the nearest existing models.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType

from ednabed.errors import UsageError

NT_LICENCE = "CC-BY-NC-SA-4.0"
NO_WEIGHTS = "none needed"
OWN_LICENCE = "Apache-2.0"
DEFAULT_MODEL = "barcode-1"
"""The model that is used if none is named."""
ORGANISATION = "instadeepai/"


@dataclass(frozen=True)
class ModelCard:
    """Facts about a model that are known before anything is loaded.

    Attributes:
        name: Name on the command line.
        family: ``kmer``, ``barcode`` or ``nucleotide-transformer``: the code that loads it.
        hub_id: Repository on the Hugging Face hub; None if there are no weights or they are in the package.
        revision: Commit (40 hexadecimal digits) to fetch; None takes the newest commit at the first fetch, which is
            then kept as the spec's revision.
        dimension: Length of a vector; None if it is known only from the files (ids outside the catalogue).
        max_tokens: Token limit, including the class token; None if there is none or it is unknown.
        parameters: Number of parameters of the network, rounded; None if there are none or it is unknown.
        licence: Licence of the weights; see ``licence_text``.
        size_bytes: Size of the weights, rounded if the exact size is unknown; None if there are none.
        notes: One-line description for people.
    """

    name: str
    family: str
    hub_id: str | None
    revision: str | None
    dimension: int | None
    max_tokens: int | None
    parameters: int | None
    licence: str
    size_bytes: int | None
    notes: str


def _nt(
    name: str,
    repository: str,
    revision: str | None,
    dimension: int,
    max_tokens: int,
    parameters: int,
    size_bytes: int,
    notes: str,
) -> ModelCard:
    return ModelCard(
        name, "nucleotide-transformer", f"InstaDeepAI/{repository}", revision, dimension, max_tokens, parameters,
        NT_LICENCE, size_bytes, notes,
    )  # fmt: skip


CATALOGUE: tuple[ModelCard, ...] = (
    ModelCard(
        "kmer6", "kmer", None, None, 512, None, None, NO_WEIGHTS, None,
        "square-root 6-mer frequencies, projected to 512; the baseline for every model",
    ),
    ModelCard(
        "kmer6-full", "kmer", None, None, 4096, None, None, NO_WEIGHTS, None,
        "square-root 6-mer frequencies, not projected",
    ),
    ModelCard(
        "barcode-1", "barcode", None, None, 512, None, 9_453_568, OWN_LICENCE, 9_527_592,
        "trained on labelled barcodes of five markers, same vector for both strands; in the package",
    ),
    _nt("nt-500m-human-ref", "nucleotide-transformer-500m-human-ref", None,
        1280, 1000, 485_700_000, 1_943_000_000, "v1, human reference genome"),
    _nt("nt-500m-1000g", "nucleotide-transformer-500m-1000g", None,
        1280, 1000, 485_700_000, 1_943_000_000, "v1, human 1000 Genomes"),
    _nt("nt-2.5b-1000g", "nucleotide-transformer-2.5b-1000g", None,
        2560, 1000, 2_548_000_000, 10_191_000_000, "v1, human 1000 Genomes"),
    _nt("nt-2.5b-multi-species", "nucleotide-transformer-2.5b-multi-species",
        "b746b125aacd1b0970c05a32fd71ba726754542e",
        2560, 1000, 2_548_000_000, 10_191_395_533, "v1, 850 genomes without plants and viruses"),
    _nt("nt-v2-50m", "nucleotide-transformer-v2-50m-multi-species",
        "81b29e5786726d891dbf929404ef20adca5b36f1",
        512, 2048, 55_900_000, 223_642_688, "v2, 850 genomes without plants and viruses"),
    _nt("nt-v2-100m", "nucleotide-transformer-v2-100m-multi-species",
        "f34324c6fde36a4f635f0f1f06cac5d25acd6798",
        512, 2048, 97_900_000, 391_597_600, "v2, 850 genomes without plants and viruses"),
    _nt("nt-v2-250m", "nucleotide-transformer-v2-250m-multi-species",
        "c0f0359229f36ff6bc3a021247eefe0a9c344bd1",
        768, 2048, 235_100_000, 940_606_173, "v2, 850 genomes without plants and viruses"),
    _nt("nt-v2-500m", "nucleotide-transformer-v2-500m-multi-species", None,
        1024, 2048, 498_300_000, 1_993_000_000, "v2, 850 genomes without plants and viruses"),
    _nt("nt-v2-50m-3mer", "nucleotide-transformer-v2-50m-3mer-multi-species",
        "ff82eaf931e483feeb6bf7ecf03f1febe6b2fe76",
        512, 2048, 51_800_000, 207_152_202, "v2 with 3-mer tokens (codons)"),
    _nt("agro-nt-1b", "agro-nucleotide-transformer-1b",
        "b0e1ea1f53a2bf5bb29f8eab7a7e553bf06c1ab1",
        1500, 1024, 991_300_000, 3_965_239_677, "v1 layout, 48 plant genomes"),
)  # fmt: skip

LICENCE_TEXTS = MappingProxyType(
    {
        NT_LICENCE: "Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International: non-commercial use only, "
        "credit the authors (InstaDeep and partners), share derived weights under the same licence; "
        "text: https://creativecommons.org/licenses/by-nc-sa/4.0/legalcode",
        OWN_LICENCE: "Apache License 2.0: free for any use; text: https://www.apache.org/licenses/LICENSE-2.0",
        NO_WEIGHTS: "A formula of ednabed itself, without weights; ednabed is Apache-2.0.",
    }
)

# Names in older guides that were never on any hub, and the models that their authors most likely meant.
_NEVER_EXISTED = MappingProxyType(
    {
        "nucleotide-transformer-500m-1000-multi-species": "nt-v2-500m (multi-species), nt-500m-1000g (human)",
        "nucleotide-transformer-500m-multi-species": "nt-v2-500m (multi-species), nt-500m-1000g (human)",
        "nucleotide-transformer-500m": "nt-v2-500m (multi-species), nt-500m-human-ref, nt-500m-1000g (human)",
        "nucleotide-transformer-250m": "nt-v2-250m (multi-species; v1 has no 250M size)",
        "nucleotide-transformer-250m-1000-multi-species": "nt-v2-250m (multi-species; v1 has no 250M size)",
        "nucleotide-transformer-2.5b": "nt-2.5b-multi-species, nt-2.5b-1000g (human)",
        "nucleotide-transformer-2.5b-1000-multi-species": "nt-2.5b-multi-species",
        "nucleotide-transformer-250m-1000g": "nt-v2-250m (multi-species; v1 has no 250M size)",
        "nucleotide-transformer-250m-1000": "nt-v2-250m (multi-species; v1 has no 250M size)",
        "nucleotide-transformer-250m-multi-species": "nt-v2-250m",
    }
)

_BY_NAME = MappingProxyType({card.name: card for card in CATALOGUE})
_BY_REPOSITORY = MappingProxyType(
    {card.hub_id.lower().removeprefix(ORGANISATION): card for card in CATALOGUE if card.hub_id is not None}
)


def lookup(name: str) -> ModelCard | None:
    """Return the card of a name or hub id (with or without ``InstaDeepAI/``, any case), None if there is none.

    Raises UsageError for names that older guides use and that do not exist.
    """
    key = name.strip().lower()
    if key in _BY_NAME:
        return _BY_NAME[key]
    key = key.removeprefix(ORGANISATION)
    if key in _NEVER_EXISTED:
        raise UsageError(f"model '{name}' does not exist; nearest existing models: {_NEVER_EXISTED[key]}")
    return _BY_REPOSITORY.get(key)


def similar_names(name: str, others: Iterable[str] = ()) -> list[str]:
    """Return up to three similar known names, best first. ``others`` are names outside the catalogue."""
    names = {key: card.name for table in (_BY_NAME, _BY_REPOSITORY) for key, card in table.items()}
    names |= {other.lower(): other for other in others}
    key = name.strip().lower().removeprefix(ORGANISATION)
    close = difflib.get_close_matches(key, names, n=6, cutoff=0.5)
    return list(dict.fromkeys(names[match] for match in close))[:3]


def find_card(name: str, others: Iterable[str] = ()) -> ModelCard:
    """Return the card of a name or hub id (see ``lookup``).

    Raises UsageError, with the nearest names (including ``others``), if there is none.
    """
    card = lookup(name)
    if card is not None:
        return card
    close = similar_names(name, others)
    hint = f"; nearest: {', '.join(close)}" if close else ""
    raise UsageError(f"model '{name}' is unknown{hint}; 'ednabed models list' shows all")


def licence_text(licence: str) -> str:
    """Return the requirements of a licence in one line; only the name of the licence if they are unknown."""
    return LICENCE_TEXTS.get(licence, licence or "not stated: ask the authors of the model before use")
