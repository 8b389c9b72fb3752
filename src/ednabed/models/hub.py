"""The Hugging Face hub: which repositories there can be, and how the weights of one get to this machine.

``fetch`` transfers the files itself, over ``huggingface_hub``'s own requests: recent versions of its downloader throw
a half-finished file away, which is hours of a 10 GB model on a slow line. Here what arrived is kept, taken up again
by the next attempt or the next command, and a file gets its name only after its hash is right. Nothing is loaded.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ednabed import __version__
from ednabed.errors import ModelError, UsageError
from ednabed.models.catalog import ModelCard
from ednabed.models.hub_errors import explain, reason_of, status_of, transport_errors, without_network
from ednabed.models.nucleotide_transformer.config import read_config
from ednabed.models.weights import COMMIT, WEIGHT_FORMS, cache_folder, local_folder, missing_files

# Attempts without a single new byte before a transfer is given up; huggingface_hub makes several inside each.
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
    """Return a card for a repository outside the catalogue. Raises UsageError when this is not a hub id."""
    if not is_hub_id(hub_id):
        raise UsageError(f"'{hub_id}' is not a hub id; wanted ORGANISATION/NAME")
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
        notes="outside the catalogue: loads when its layout is one of the Nucleotide Transformer's",
    )


def is_hub_id(text: str) -> bool:
    """Tell whether a text has the form ORGANISATION/NAME that the hub allows."""
    return bool(_HUB_ID.fullmatch(text)) and ".." not in text and "--" not in text and not text.endswith(".git")


def fetch(card: ModelCard, *, progress: bool = True) -> Path:
    """Bring the weights of a card to this machine and return their folder; at once when they are here already.

    Args:
        card: What to fetch; ``hub_card`` makes one for a repository outside the catalogue.
        progress: Show a bar for each file, on a terminal only. False never shows one.

    Raises:
        UsageError: The model has no weights.
        ModelError: The hub cannot be reached, refuses, has no such repository or revision; the network is of a kind
            that ednabed does not load; the disk is too full; the transfer broke again and again; or a file arrived
            damaged.
    """
    here = local_folder(card)
    if here is not None:
        return here
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
                _bring(card, commit, file, repository)
            if card.revision is None:
                written = repository / "refs" / "main.ednabed"
                written.write_text(commit, encoding="ascii")
                written.replace(repository / "refs" / "main")
    lacking = missing_files(snapshot)
    if lacking:
        raise ModelError(
            f"{card.hub_id} at revision {commit} has no {', '.join(lacking)} on the hub, so it cannot be loaded; "
            f"ask its authors for a complete upload"
        )
    return snapshot


def _ask_hub(card: ModelCard) -> tuple[str, list[_RemoteFile]]:
    """Return the commit and the files to fetch, small ones and indexes first, with what the hub says of their size."""
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
                f"{constants.ENDPOINT} gives no size and hash for {name} of {card.hub_id}; check HF_ENDPOINT"
            )
        files.append(_RemoteFile(name, size, str(digest)))
    commit = info.sha or ""
    if not COMMIT.fullmatch(commit) or (card.revision is not None and commit != card.revision):
        raise ModelError(
            f"{constants.ENDPOINT} gives revision '{commit}' of {card.hub_id}, wanted {card.revision or 'a commit'}; "
            f"check HF_ENDPOINT"
        )
    return commit, files


def _choose(card: ModelCard, names: Collection[str]) -> list[str]:
    """Pick the files of a repository: never code, never formats of other frameworks."""
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
            f"{card.name} needs {_readable(needed)}, {_readable(free)} free at {folder}; nothing was fetched: "
            f"make room, or set HF_HOME to a folder on another disk"
        )


def _bring(card: ModelCard, commit: str, file: _RemoteFile, repository: Path) -> None:
    """Make a file appear in the snapshot of a commit; at once when it is there or another commit has brought it."""
    snapshot, blob = repository / "snapshots" / commit, repository / "blobs" / file.digest
    if (snapshot / file.name).is_file():
        return
    if file.name not in _SIDE_FILES:
        # Before the large files: a network of another kind could not be loaded afterwards.
        read_config(snapshot)
    # What an earlier fetch brought may have been damaged since: removing the snapshot and fetching must mend it.
    if not blob.is_file() or _digest(blob, file) != file.digest:
        _transfer(card, commit, file, blob)
    _place(blob, snapshot / file.name)


def _transfer(card: ModelCard, commit: str, file: _RemoteFile, blob: Path) -> None:
    """Bring one file into the cache: append to what arrived before, check the hash, then give it its name."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    url = hf_hub_url(str(card.hub_id), file.name, revision=commit)
    headers = build_hf_headers(library_name="ednabed", library_version=__version__)
    partial = _partial(blob)
    partial.touch()
    fruitless = 0
    while (have := _size(partial)) != file.size:
        if have > file.size:
            partial.unlink()
            partial.touch()
            continue
        try:
            with partial.open("ab") as out:
                http_get(
                    url, out, resume_size=have, headers=headers, expected_size=file.size, displayed_filename=file.name
                )
        except transport_errors() as error:
            if (status_of(error) or 500) < 500 or getattr(error, "errno", None) == errno.ENOSPC:
                raise ModelError(explain(card, error)) from error
            fruitless = 0 if _size(partial) > have else fruitless + 1
            if fruitless >= FRUITLESS_ATTEMPTS:
                raise ModelError(
                    f"{card.name}: the transfer of {file.name} broke at {_readable(_size(partial))} of "
                    f"{_readable(file.size)} ({reason_of(error)}); run 'ednabed models fetch {card.name}' again, "
                    f"what arrived is kept"
                ) from error
            time.sleep(1)
    if _digest(partial, file) != file.digest:
        partial.unlink()
        raise ModelError(
            f"{card.name}: {file.name} arrived damaged (its hash is not {file.digest}) and was deleted; "
            f"run 'ednabed models fetch {card.name}' again"
        )
    with partial.open("rb+") as written:
        os.fsync(written.fileno())
    partial.replace(blob)


def _place(blob: Path, pointer: Path) -> None:
    """Show a file of the cache under its own name: a relative link, or the file itself where links are not allowed."""
    from huggingface_hub import constants

    pointer.unlink(missing_ok=True)
    if not getattr(constants, "HF_HUB_DISABLE_SYMLINKS", False):
        try:
            pointer.symlink_to(Path("..", "..", "blobs", blob.name))
        except OSError:
            # Windows without developer mode, some network disks.
            pass
        else:
            return
    blob.replace(pointer)


def _partial(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}.ednabed.incomplete")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _digest(path: Path, file: _RemoteFile) -> str:
    with path.open("rb") as stream:
        if len(file.digest) == 64:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        # Small files are known by git's name for their content.
        return hashlib.sha1(b"blob %d\0" % file.size + stream.read(), usedforsecurity=False).hexdigest()


def _readable(n: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n >= size:
            return f"{n / size:.1f} {unit}"
    return f"{n} B"


@contextmanager
def _hub_settings(bars_shown: bool) -> Iterator[None]:
    """Set what huggingface_hub takes from its own module while it works for us, and put it back afterwards."""
    from huggingface_hub import constants
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    switch = not bars_shown and not are_progress_bars_disabled()
    if switch:
        disable_progress_bars()
    # A chunk that is not full when the line breaks is lost; its default of 10 MB is minutes on a slow line.
    chunk, constants.DOWNLOAD_CHUNK_SIZE = constants.DOWNLOAD_CHUNK_SIZE, _CHUNK
    # Nobody is told what runs here, and no other address is asked.
    telemetry, constants.HF_HUB_DISABLE_TELEMETRY = constants.HF_HUB_DISABLE_TELEMETRY, True
    try:
        yield
    finally:
        constants.DOWNLOAD_CHUNK_SIZE = chunk
        constants.HF_HUB_DISABLE_TELEMETRY = telemetry
        if switch:
            enable_progress_bars()
