"""Explain failures between this machine and the hub in a sentence that states the next step."""

from __future__ import annotations

import errno

from ednabed.models.catalog import ModelCard
from ednabed.models.weights import MODELS_VARIABLE, cache_folder, manual_folder

_BY_HAND = (
    "config.json, vocab.txt, tokenizer_config.json, special_tokens_map.json and the weights (model.safetensors, "
    "pytorch_model.bin, or the numbered parts of either with their .index.json)"
)


def transport_errors() -> tuple[type[Exception], ...]:
    """Return all exceptions that a request may raise, whichever HTTP library this version of huggingface_hub uses."""
    from huggingface_hub.errors import HfHubHTTPError

    return (OSError, *(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)))


def status_of(error: Exception) -> int | None:
    """Return the HTTP status of the response; None if there was no response."""
    code = getattr(getattr(error, "response", None), "status_code", None)
    return code if isinstance(code, int) else None


def reason_of(error: Exception) -> str:
    """Return the first line of an error message, else the name of its type."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def explain(card: ModelCard, error: Exception) -> str:
    """Return why the hub did not provide a card's files, and the next step."""
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, RevisionNotFoundError

    status = status_of(error)
    where = f"{card.hub_id} at {constants.ENDPOINT}"
    if getattr(error, "errno", None) == errno.ENOSPC:
        return (
            f"{card.name}: the disk of {cache_folder(card)} is full; free some space or set HF_HOME to a folder on "
            f"another disk, then run 'ednabed models fetch {card.name}' again; received data are kept"
        )
    if status is None:
        return without_network(card, f"cannot reach {constants.ENDPOINT}: {reason_of(error)}")
    if isinstance(error, RevisionNotFoundError):
        return f"{where} has no revision {card.revision or 'main'}; update ednabed, or copy the files here by hand"
    if isinstance(error, GatedRepoError) or status == 403:
        return (
            f"{where} is gated: its owner grants access on request; accept its terms on its page, "
            f"run 'hf auth login' (or set HF_TOKEN), then fetch again"
        )
    if status == 401:
        return (
            f"{where} does not exist or is private; check the spelling ('ednabed models list' shows the known ones), "
            f"or run 'hf auth login' (or set HF_TOKEN) with an account that has access"
        )
    if status == 404:
        return f"{where} does not exist; check the spelling ('ednabed models list' shows the known ones)"
    if status == 429:
        return (
            f"{constants.ENDPOINT} asks to slow down (HTTP 429); fetch {card.name} again later; received data are kept"
        )
    if status >= 500:
        return (
            f"{constants.ENDPOINT} has a server error (HTTP {status}); fetch {card.name} again later (received data "
            f"are kept), or set HF_ENDPOINT to a mirror"
        )
    return f"{where} answers HTTP {status} ({reason_of(error)}); check HF_ENDPOINT and HF_TOKEN"


def without_network(card: ModelCard, reason: str) -> str:
    """Return how to copy the files of a card to this machine, after the reason why they cannot be fetched."""
    from huggingface_hub import constants

    manual = manual_folder(card)
    target = (
        f"{manual}" if manual is not None else f"FOLDER/{card.name.replace('/', '--')} and set {MODELS_VARIABLE}=FOLDER"
    )
    page = f"{constants.ENDPOINT}/{card.hub_id}/tree/{card.revision or 'main'}"
    return (
        f"{card.name}: {reason}; on a machine with internet run 'ednabed models fetch {card.name}' and copy its "
        f"{cache_folder(card).name} folder to {cache_folder(card)} here, or put {_BY_HAND} from {page} into {target}, "
        f"or into any folder and give that folder as `model`"
    )
