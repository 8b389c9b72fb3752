"""The Hugging Face hub: check repository ids and fetch the weights of a repository to this machine.

``fetch`` transfers the files itself, using ``huggingface_hub``'s own requests: recent versions of its downloader delete
a partial file, which loses hours of a 10 GB model on a slow connection. Here, received data are kept and continued by
the next attempt or the next command, and a file gets its final name only after its hash is verified. Nothing is loaded.
"""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ednabed.base.files import fsync_file, sha256_file
from ednabed.base.text import human_bytes
from ednabed.base.version import __version__
from ednabed.errors import ModelError, UsageError
from ednabed.models.catalog import ModelCard
from ednabed.models.hub_errors import explain, reason_of, status_of, transport_errors, without_network
from ednabed.models.nucleotide_transformer.config import read_nt_config
from ednabed.models.weights import COMMIT, WEIGHT_FORMS, cache_folder, local_folder, missing_files

# Attempts without a single new byte before a transfer is abandoned; huggingface_hub retries several times in each.
FRUITLESS_ATTEMPTS = 2
_CHUNK = 2**18

_SIDE_FILES = ("config.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json")
_HUB_ID = re.compile(r"[A-Za-z0-9](?:[\w.-]{0,94}\w)?/[A-Za-z0-9](?:[\w.-]{0,94}\w)?", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class _RemoteFile:
    """A file to fetch. ``digest`` is its name in the cache: SHA-256 of large files, git's blob SHA-1 of small ones."""

    name: str
    size: int
    digest: str


def hub_card(hub_id: str) -> ModelCard:
    """Return a card for a repository outside the catalogue. Raises UsageError if this is not a hub id."""
    if not is_hub_id(hub_id):
        raise UsageError(f"'{hub_id}' is not a hub id; expected ORGANISATION/NAME")
    return ModelCard(
        name=hub_id,
        family="nucleotide-transformer",
        hub_id=hub_id,
        revision=None,
        dimension=None,
        max_tokens=None,
        parameters=None,
        licence="",
        size_bytes=None,
        notes="outside the catalogue: loads if it has a layout of the Nucleotide Transformer",
    )


def is_hub_id(text: str) -> bool:
    """Return whether a text has the form ORGANISATION/NAME that the hub allows."""
    return bool(_HUB_ID.fullmatch(text)) and ".." not in text and "--" not in text and not text.endswith(".git")


def fetch(card: ModelCard, *, progress: bool = True) -> Path:
    """Fetch the weights of a card to this machine and return their folder; immediately if they are already here.

    Args:
        card: The model to fetch; ``hub_card`` creates a card for a repository outside the catalogue.
        progress: Show a progress bar for each file, on a terminal only. False never shows one.

    Raises:
        UsageError: The model has no weights.
        ModelError: The hub cannot be reached, refuses access, or does not have the repository or revision; ednabed does
            not load this kind of network; the disk is too full; the transfer failed repeatedly; or a file arrived
            damaged.
    """
    existing = local_folder(card)
    if existing is not None:
        return existing
    repository = cache_folder(card)
    from filelock import FileLock
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise ModelError(without_network(card, "HF_HUB_OFFLINE is set"))
    with _hub_settings(progress):
        commit, files = _ask_hub(card)
        snapshot = repository / "snapshots" / commit
        _check_space(card, repository, [file for file in files if not (snapshot / file.name).is_file()])
        locks = repository.parent / ".locks" / repository.name
        for folder in (locks, repository / "blobs", repository / "refs", snapshot):
            folder.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / "ednabed.lock"):
            for file in files:
                _fetch_file(card, commit, file, repository)
            if card.revision is None:
                written = repository / "refs" / "main.ednabed"
                written.write_text(commit, encoding="ascii")
                written.replace(repository / "refs" / "main")
    missing = missing_files(snapshot)
    if missing:
        raise ModelError(
            f"{card.hub_id} at revision {commit} has no {', '.join(missing)} on the hub, so it cannot be loaded; "
            f"ask its authors for a complete upload"
        )
    return snapshot


def _ask_hub(card: ModelCard) -> tuple[str, list[_RemoteFile]]:
    """Return the commit and the files to fetch with their sizes on the hub, small files and indexes first."""
    from huggingface_hub import HfApi, constants

    api = HfApi(library_name="ednabed", library_version=__version__)
    try:
        info = api.model_info(str(card.hub_id), revision=card.revision, files_metadata=True, timeout=30)
    except transport_errors() as error:
        raise ModelError(explain(card, error)) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{constants.ENDPOINT} does not answer as a Hugging Face hub does ({type(error).__name__}); "
            f"check HF_ENDPOINT"
        ) from error
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
    files = []
    for name in _choose(card, siblings):
        sibling = siblings[name]
        size, digest = sibling.size, sibling.blob_id
        if sibling.lfs is not None:
            size, digest = sibling.lfs.size, sibling.lfs.sha256
        if not isinstance(size, int) or size < 0 or not _DIGEST.fullmatch(digest or ""):
            raise ModelError(
                f"{constants.ENDPOINT} does not give size and hash of {name} in {card.hub_id}; check HF_ENDPOINT"
            )
        files.append(_RemoteFile(name, size, str(digest)))
    commit = info.sha or ""
    if not COMMIT.fullmatch(commit) or (card.revision is not None and commit != card.revision):
        raise ModelError(
            f"{constants.ENDPOINT} gives revision '{commit}' of {card.hub_id}, expected {card.revision or 'a commit'}; "
            f"check HF_ENDPOINT"
        )
    return commit, files


def _choose(card: ModelCard, names: Collection[str]) -> list[str]:
    """Choose the files of a repository: never code, never formats of other frameworks."""
    if "config.json" not in names:
        raise ModelError(f"{card.hub_id} has no config.json on the hub, so it is not a model that ednabed can load")
    chosen = [name for name in _SIDE_FILES if name in names]
    for single, index, shard in WEIGHT_FORMS:
        if single in names:
            return [*chosen, single]
        if index in names:
            return [*chosen, index, *sorted(name for name in names if shard.fullmatch(name))]
    raise ModelError(
        f"{card.hub_id} has no weights as safetensors or pytorch_model.bin on the hub; nothing was fetched"
    )


def _check_space(card: ModelCard, repository: Path, files: list[_RemoteFile]) -> None:
    blobs = repository / "blobs"
    needed = sum(
        file.size - min(_size(_partial(blobs / file.digest)), file.size)
        for file in files
        if not (blobs / file.digest).is_file()
    )
    folder = next(folder for folder in (repository, *repository.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ModelError(
            f"{card.name} needs {human_bytes(needed)}, but {folder} has {human_bytes(free)} free; nothing was fetched: "
            f"free some space, or set HF_HOME to a folder on another disk"
        )


def _fetch_file(card: ModelCard, commit: str, file: _RemoteFile, repository: Path) -> None:
    """Add a file to the snapshot of a commit; without a transfer if it exists or was fetched for another commit."""
    snapshot, blob = repository / "snapshots" / commit, repository / "blobs" / file.digest
    if (snapshot / file.name).is_file():
        return
    if file.name not in _SIDE_FILES:
        # Checked before the large files are fetched, because a network of another kind cannot be loaded.
        read_nt_config(snapshot)
    # A file from an earlier fetch may be damaged by now; removing the snapshot and fetching again must repair it.
    if not blob.is_file() or _digest(blob, file) != file.digest:
        _transfer(card, commit, file, blob)
    _link(blob, snapshot / file.name)


def _transfer(card: ModelCard, commit: str, file: _RemoteFile, blob: Path) -> None:
    """Fetch one file into the cache: append to data received earlier, check the hash, then set its final name."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    url = hf_hub_url(str(card.hub_id), file.name, revision=commit)
    headers = build_hf_headers(library_name="ednabed", library_version=__version__)
    partial = _partial(blob)
    partial.touch()
    fruitless = 0
    while (received := _size(partial)) != file.size:
        if received > file.size:
            partial.unlink()
            partial.touch()
            continue
        try:
            with partial.open("ab") as out:
                http_get(
                    url,
                    out,
                    resume_size=received,
                    headers=headers,
                    expected_size=file.size,
                    displayed_filename=file.name,
                )
        except transport_errors() as error:
            if (status_of(error) or 500) < 500 or getattr(error, "errno", None) == errno.ENOSPC:
                raise ModelError(explain(card, error)) from error
            fruitless = 0 if _size(partial) > received else fruitless + 1
            if fruitless >= FRUITLESS_ATTEMPTS:
                raise ModelError(
                    f"{card.name}: the transfer of {file.name} failed after {human_bytes(_size(partial))} of "
                    f"{human_bytes(file.size)} ({reason_of(error)}); run 'ednabed models fetch {card.name}' again; "
                    f"received data are kept"
                ) from error
            time.sleep(1)
    if _digest(partial, file) != file.digest:
        partial.unlink()
        raise ModelError(
            f"{card.name}: {file.name} arrived damaged (its hash is not {file.digest}) and was deleted; "
            f"run 'ednabed models fetch {card.name}' again"
        )
    fsync_file(partial)
    partial.replace(blob)


def _link(blob: Path, pointer: Path) -> None:
    """Link a cached file under its own name with a relative link, or move it there if links are not allowed."""
    from huggingface_hub import constants

    pointer.unlink(missing_ok=True)
    if not getattr(constants, "HF_HUB_DISABLE_SYMLINKS", False):
        try:
            pointer.symlink_to(Path("..", "..", "blobs", blob.name))
        except OSError:
            # Windows without developer mode, or some network disks.
            pass
        else:
            return
    blob.replace(pointer)


def _partial(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}.ednabed.incomplete")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _digest(path: Path, file: _RemoteFile) -> str:
    if len(file.digest) == 64:
        return sha256_file(path)
    # Small files are identified by their git blob hash.
    return hashlib.sha1(b"blob %d\0" % file.size + path.read_bytes(), usedforsecurity=False).hexdigest()


@contextmanager
def _hub_settings(bars_shown: bool) -> Iterator[None]:
    """Change settings in huggingface_hub's module while it is used here, and restore them afterwards."""
    from huggingface_hub import constants
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    switch = not bars_shown and not are_progress_bars_disabled()
    if switch:
        disable_progress_bars()
    # An incomplete chunk is lost when the connection breaks; the default of 10 MB takes minutes on a slow connection.
    chunk, constants.DOWNLOAD_CHUNK_SIZE = constants.DOWNLOAD_CHUNK_SIZE, _CHUNK
    # No usage data are sent, and no other address is contacted.
    telemetry, constants.HF_HUB_DISABLE_TELEMETRY = constants.HF_HUB_DISABLE_TELEMETRY, True
    try:
        yield
    finally:
        constants.DOWNLOAD_CHUNK_SIZE = chunk
        constants.HF_HUB_DISABLE_TELEMETRY = telemetry
        if switch:
            enable_progress_bars()
