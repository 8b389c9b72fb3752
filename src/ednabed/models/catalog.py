"""The models that ednabed knows by name: one frozen record each, and the lookup by name or hub id.

Data, no code beyond the lookup: nothing is loaded, fetched or imported here. ``weights`` finds those of a card,
``load`` makes an encoder of it. Dimension and token limit of a loaded encoder come from its own files; those written
here are for people who choose. The guides of the tools before ednabed name some models that never existed: they are
answered with the nearest real ones.
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
"""What is taken where no model is named."""
ORGANISATION = "instadeepai/"


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model before anything is loaded.

    Attributes:
        name: Name on the command line.
        family: ``kmer``, ``barcode`` or ``nucleotide-transformer``: the code that loads it.
        hub_id: Repository on the Hugging Face hub; None where there are no weights, or where they are in the package.
        revision: Commit (40 hexadecimal digits) that is fetched; None takes the newest one at the first fetch, whose
            commit is then kept as the spec's revision.
        dimension: Length of a vector; None where only the files know it (ids outside the catalogue).
        max_tokens: Token limit, class token counted; None where there is none or it is not known.
        parameters: Parameters of the network, rounded; None where there are none or it is not known.
        licence: Licence of the weights; see ``licence_text``.
        size_bytes: Size of the weights, rounded where the exact figure is not known; None where there are none.
        notes: One line for people.
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
        "square-root 6-mer frequencies, projected to 512; the yardstick beside every model",
    ),
    ModelCard(
        "kmer6-full", "kmer", None, None, 4096, None, None, NO_WEIGHTS, None,
        "square-root 6-mer frequencies, not projected",
    ),
    ModelCard(
        "barcode-1", "barcode", None, None, 512, None, 9_453_568, OWN_LICENCE, 9_527_592,
        "learned on labelled barcodes of five markers, both strands alike; in the package",
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
        "name the authors (InstaDeep and partners), pass derived weights on under the same licence; "
        "text: https://creativecommons.org/licenses/by-nc-sa/4.0/legalcode",
        OWN_LICENCE: "Apache License 2.0: free for any use; text: https://www.apache.org/licenses/LICENSE-2.0",
        NO_WEIGHTS: "A formula of ednabed itself, no weights; ednabed is Apache-2.0.",
    }
)

# Names in older guides that no hub ever held, and what their authors most likely meant.
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
    """Return the card of a name or hub id (with or without ``InstaDeepAI/``, any case), None where there is none.

    Raises UsageError for the names that older guides use and that do not exist.
    """
    key = name.strip().lower()
    if key in _BY_NAME:
        return _BY_NAME[key]
    key = key.removeprefix(ORGANISATION)
    if key in _NEVER_EXISTED:
        raise UsageError(f"model '{name}' does not exist; nearest real ones: {_NEVER_EXISTED[key]}")
    return _BY_REPOSITORY.get(key)


def nearest(name: str, others: Iterable[str] = ()) -> list[str]:
    """Return up to three known names that resemble this one, best first. ``others`` are names outside the catalogue."""
    names = {key: card.name for table in (_BY_NAME, _BY_REPOSITORY) for key, card in table.items()}
    names |= {other.lower(): other for other in others}
    key = name.strip().lower().removeprefix(ORGANISATION)
    close = difflib.get_close_matches(key, names, n=6, cutoff=0.5)
    return list(dict.fromkeys(names[match] for match in close))[:3]


def find_card(name: str, others: Iterable[str] = ()) -> ModelCard:
    """Return the card of a name or hub id (see ``lookup``).

    Raises UsageError, with the nearest names (``others`` included), when there is none.
    """
    card = lookup(name)
    if card is not None:
        return card
    close = nearest(name, others)
    hint = f"; nearest: {', '.join(close)}" if close else ""
    raise UsageError(f"model '{name}' is unknown{hint}; 'ednabed models list' shows all")


def licence_text(licence: str) -> str:
    """Say what a licence asks for, in one line; the licence's own name where nothing more is known."""
    return LICENCE_TEXTS.get(licence, licence or "not stated: ask the authors of the model before use")
