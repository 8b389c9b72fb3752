"""Find weights on this machine and check that their folder is complete, without network and without loading anything.

The package contains the weights of ednabed's own models. For other models, two locations are searched:
``EDNABED_MODELS/<name>`` for folders copied by hand, then the standard cache of ``huggingface_hub`` (``HF_HOME``),
whose layout is kept, so that other tools see the same files.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ednabed.base.stored_json import parse_json
from ednabed.errors import UsageError
from ednabed.models.catalog import ModelCard

MODELS_VARIABLE = "EDNABED_MODELS"
WEIGHT_FORMS = (
    ("model.safetensors", "model.safetensors.index.json", re.compile(r"model-\d{5}-of-\d{5}\.safetensors")),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", re.compile(r"pytorch_model-\d{5}-of-\d{5}\.bin")),
)
"""File names of weights, preferred first: each form is one file, or an index that names its shards."""
# A plain name that cannot lead out of the folder.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
COMMIT = re.compile(r"[0-9a-f]{40}")


def cache_folder(card: ModelCard) -> Path:
    """Return the folder of a card's repository in the cache of ``huggingface_hub``, whether it exists or not.

    Raises UsageError if the model has no weights.
    """
    if card.hub_id is None:
        raise UsageError(f"{card.name} has no weights, so there is nothing to fetch")
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{card.hub_id.replace('/', '--')}"


def packaged_folder(card: ModelCard) -> Path | None:
    """Return the folder of a model whose weights are in the package, None for other models."""
    folder = Path(__file__).parent / "data" / card.name
    return folder if card.family == "barcode" and (folder / "config.json").is_file() else None


def manual_folder(card: ModelCard) -> Path | None:
    """Return the folder of a card in ``EDNABED_MODELS``, whether it exists or not; None if that is not set.

    It has the card's name, in which ``/`` is replaced by ``--``.
    """
    root = os.environ.get(MODELS_VARIABLE)
    return Path(root).expanduser() / card.name.replace("/", "--") if root else None


def named_folder(name: str) -> Path | None:
    """Return the folder in ``EDNABED_MODELS`` of a model outside the catalogue; None if there is none."""
    root = os.environ.get(MODELS_VARIABLE)
    if not root or not _NAME.fullmatch(name):
        return None
    folder = Path(root).expanduser() / name
    return folder if (folder / "config.json").is_file() else None


def local_folder(card: ModelCard) -> Path | None:
    """Return the folder with config.json and the complete weights of a card, None if there is none. No network.

    ``EDNABED_MODELS`` is searched first. In the cache, a pinned card is found only at its revision; any other card is
    found at the commit that ``main`` had when it was fetched, or at the only commit in the cache.
    """
    if card.hub_id is None:
        return packaged_folder(card)
    manual = manual_folder(card)
    if manual is not None and (manual / "config.json").is_file() and not missing_files(manual):
        return manual
    repository = cache_folder(card)
    commit = card.revision or _cached_commit(repository)
    if commit is None:
        return None
    snapshot = repository / "snapshots" / commit
    return None if missing_files(snapshot) else snapshot


def revision_of(folder: Path) -> str | None:
    """Return the commit of a folder in the cache; None for any other folder."""
    return folder.name if folder.parent.name == "snapshots" and COMMIT.fullmatch(folder.name) else None


def missing_files(folder: Path) -> tuple[str, ...]:
    """Return the files that a model folder lacks; empty if config.json and all weights exist."""
    if not (folder / "config.json").is_file():
        return ("config.json",)
    for single, index, shard in WEIGHT_FORMS:
        if (folder / single).is_file():
            return ()
        if (folder / index).is_file():
            try:
                named = set(parse_json((folder / index).read_bytes())["weight_map"].values())
            except (ValueError, KeyError, TypeError, AttributeError):
                return (f"a readable {index}",)
            unexpected = [name for name in named if not (isinstance(name, str) and shard.fullmatch(name))]
            if unexpected or not named:
                return (f"plain file names of shards in {index}",)
            return tuple(sorted(name for name in named if not (folder / name).is_file()))
    return (" or ".join(single for single, _, _ in WEIGHT_FORMS),)


def _cached_commit(repository: Path) -> str | None:
    main = repository / "refs" / "main"
    if main.is_file():
        commit = main.read_text(encoding="ascii", errors="replace").strip()
        return commit if COMMIT.fullmatch(commit) else None
    snapshots = repository / "snapshots"
    commits = [entry.name for entry in snapshots.iterdir()] if snapshots.is_dir() else []
    return commits[0] if len(commits) == 1 and COMMIT.fullmatch(commits[0]) else None
