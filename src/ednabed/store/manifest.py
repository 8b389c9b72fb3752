"""``run.json``: the description and origin of a run, and the checksums of its files.

The file contains a hash of itself, and must be byte for byte what this module would write for its contents, so that
even a single flipped byte is detected. An unknown schema is rejected, not guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ednabed.base.sealed import Damaged, Seal, UnknownSchema, json_sha256
from ednabed.base.stored_json import BadJson, require, typed
from ednabed.errors import StoreError
from ednabed.models.spec import Spec

RUN_SCHEMA = "ednabed.run/1"
MANIFEST = "run.json"
_SEAL = Seal(RUN_SCHEMA, "manifest_sha256")
_INPUT = {"name": str, "sha256": str, "bytes": int, "read": int, "accepted": int}


@dataclass(frozen=True)
class RunManifest:
    """Contents of ``run.json``.

    Attributes:
        dataset: Name of the study, or None for a run written to a separate folder.
        run_id: Name of the run folder.
        created: UTC time, ISO 8601.
        spec: The function that computed the vectors.
        version: Name of a registered version, or None.
        inputs: One entry per file: name, sha256, bytes, read, accepted, rejected.
        labels: name and sha256 of the label file, or None.
        options: The other settings that decided which records are in the run: min_length, max_sequences.
        counts: read, embedded, rejected, distinct, truncated, ambiguous (records), labelled.
        compute: One entry for each attempt that computed something: device, precision, sequences.
        software: Package versions.
        files: File name to sha256 and bytes; a compressed form of the vectors also has ``original_sha256``, the
            checksum of the ``embeddings.npy`` written by ``embed``.
    """

    dataset: str | None
    run_id: str
    created: str
    spec: Spec
    version: str | None
    inputs: list[dict[str, Any]]
    labels: dict[str, Any] | None
    options: dict[str, Any]
    counts: dict[str, int]
    compute: list[dict[str, Any]]
    software: dict[str, str]
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_text(self) -> str:
        """Return the text of the file."""
        return _SEAL.text({"fingerprint": self.spec.fingerprint, **asdict(self), "spec": self.spec.to_dict()})

    @property
    def identity(self) -> str:
        """SHA-256 that identifies the run regardless of its location and the form of its vectors.

        It covers dataset, run_id, created, fingerprint, and the checksums of the records and of the vectors as
        originally written by ``embed``.
        """
        vectors = {
            entry.get("original_sha256", entry["sha256"])
            for name, entry in self.files.items()
            if name.startswith("embeddings.")
        }
        records = [entry["sha256"] for name, entry in self.files.items() if name == "records.parquet"]
        return json_sha256(
            {
                "dataset": self.dataset,
                "run_id": self.run_id,
                "created": self.created,
                "fingerprint": self.spec.fingerprint,
                "vectors": sorted(vectors),
                "records": records,
            }
        )

    @classmethod
    def read(cls, folder: Path) -> RunManifest:
        """Read ``run.json`` from a run folder.

        Raises:
            StoreError: The file is missing, damaged, or has a schema that this version does not know.
        """
        path = folder / MANIFEST
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            raise StoreError(f"{path} is missing, so {folder} is not a finished run of ednabed") from None
        damaged = f"{path} is damaged; restore the run from a backup or embed the input again"
        try:
            body = _SEAL.read(raw)
        except UnknownSchema as found:
            raise StoreError(
                f"{path} has schema {found}, but this version of ednabed reads {RUN_SCHEMA!r}; update ednabed"
            ) from None
        except Damaged:
            raise StoreError(damaged) from None
        fingerprint = body.pop("fingerprint", None)
        try:
            manifest = typed(cls, {**body, "spec": Spec.from_dict(body.get("spec"))})
            check_files(manifest.files)
            require(manifest.counts, {"embedded": int}, "counts")
            for entry in manifest.inputs:
                require(entry, _INPUT, "an input")
            for entry in manifest.compute:
                require(entry, {"device": str, "precision": str, "sequences": int}, "an entry of compute")
        except ValueError as error:
            raise StoreError(
                f"{path}: {error}; it was not written by this version of ednabed, so restore the run from a backup "
                "or embed the input again"
            ) from error
        if manifest.spec.fingerprint != fingerprint:
            raise StoreError(damaged)
        return manifest


def check_files(files: Mapping[str, Any]) -> None:
    """Check that every entry in a list of files is a plain file name with its checksum and size.

    Raises:
        BadJson: An entry is invalid.
    """
    for name, entry in files.items():
        if not name or name in (".", "..") or any(mark in name for mark in "/\\:\0"):
            raise BadJson(f"files contains the name {name[:60]!r}, expected names of files in this folder")
        require(entry, {"sha256": str, "bytes": int}, f"file {name!r}")
        if "original_sha256" in entry:
            require(entry, {"original_sha256": str}, f"file {name!r}")
