"""``consolidated_metadata.json``: the contents of a build, how it was created, and the checksums of its files.

Like the manifest of a run, it contains a hash of itself and has one canonical form, so that a flipped byte is detected.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ednabed.base.sealed import Damaged, Foreign, Seal, UnknownSchema
from ednabed.base.stored_json import BadJson, require, typed
from ednabed.errors import StoreError
from ednabed.models.spec import Spec
from ednabed.store.manifest import check_files

REFERENCE_SCHEMA = "ednabed.reference/1"
METADATA = "consolidated_metadata.json"
_SEAL = Seal(REFERENCE_SCHEMA, "metadata_sha256")
_COUNTS = ("sequences", "records", "runs", "datasets", "letters")


class DamagedManifest(StoreError):
    """The file does not have the content with which it was written."""


@dataclass(frozen=True)
class Part:
    """One run in a reference.

    Attributes:
        identity: ``Run.identity``, which identifies a run wherever it is.
        dataset: Name of the study; taken from the path for a run outside a study's folder or of an older tool.
        run_id: Name of the run in the study.
        folder: Folder of the run when it was added, relative to the workspace if it was inside.
        source_file: File name of its vectors at that time.
        created: When the run was created (UTC, ISO 8601); for a folder of an older tool, when its vectors were written.
        assumed: Whether its origin is known only from a user (``--version``, or a tag with ``--assume``).
        records: Number of records in the run.
        first: Number of the first vector that this run added.
        sequences: Number of distinct sequences that this run added, that is, that no earlier run had.
        markers: Records by marker, if the records have such a column.
    """

    identity: str
    dataset: str
    run_id: str
    folder: str
    source_file: str
    created: str
    assumed: bool
    records: int
    first: int
    sequences: int
    markers: dict[str, int]

    @property
    def label(self) -> str:
        """``dataset/run_id``."""
        return f"{self.dataset}/{self.run_id}"


@dataclass(frozen=True)
class IndexFacts:
    """The index of a build, and the measurements on it.

    Attributes:
        kind: ``flat`` (exact) or ``ivf``.
        lists: Inverted lists; 0 for flat.
        trained_on: Number of vectors in the reference when the lists were trained.
        nprobe: Lists visited per query.
        factor: Candidates compared exactly per hit.
        recall: Share of the ten nearest others (by exact search) that the index finds; 1 for flat.
        recall_strangers: The same for queries unlike all rows (``index.measure_recall``).
        measured_on: Number of rows of the reference on which both were measured; 0 for flat.
        reached: Whether recall is at least 0.99, and that for strangers at least 0.95.
        structure: Bytes of the file before the first code, which control how the rest is read; 0 for flat.
        seal: SHA-256 of these bytes and of samples of the rest (``index.seal``); empty for flat.
    """

    kind: str
    lists: int = 0
    trained_on: int = 0
    nprobe: int = 0
    factor: int = 0
    recall: float = 1.0
    recall_strangers: float = 1.0
    measured_on: int = 0
    reached: bool = True
    structure: int = 0
    seal: str = ""


@dataclass(frozen=True)
class ReferenceManifest:
    """Content of ``consolidated_metadata.json``.

    Attributes:
        build: Name of the build's folder.
        created: UTC time, ISO 8601.
        spec: The function that computed all vectors.
        version: Name of its registered version at that time, or None.
        counts: sequences (vectors), records, runs, datasets, letters (number of bases).
        runs: One ``Part`` per run, in the order in which they were added.
        index: See ``IndexFacts``.
        software: Package versions.
        files: sha256 and bytes of each file, by name.
    """

    build: str
    created: str
    spec: Spec
    version: str | None
    counts: dict[str, int]
    runs: list[Part]
    index: IndexFacts
    software: dict[str, str]
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_text(self) -> str:
        """Return the text of the file."""
        return _SEAL.text({"fingerprint": self.spec.fingerprint, **asdict(self), "spec": self.spec.to_dict()})

    @classmethod
    def read(cls, folder: Path) -> ReferenceManifest:
        """Read the file of a reference, or of one of its builds.

        Raises:
            StoreError: The file is missing, damaged, or has a schema that this version does not know.
        """
        path = folder / METADATA
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            raise StoreError(f"{folder} contains no reference ({METADATA}); 'ednabed consolidate' builds one") from None
        damaged = f"{path} is damaged; rebuild the reference with 'ednabed consolidate --rebuild'"
        try:
            body = _SEAL.read(raw)
        except UnknownSchema as found:
            raise StoreError(
                f"{path} has schema {found}, this version of ednabed reads {REFERENCE_SCHEMA!r}; update ednabed"
            ) from None
        except Foreign:
            raise StoreError(
                f"{path} was not written by ednabed; move it away and build the reference with 'ednabed consolidate'"
            ) from None
        except Damaged:
            raise DamagedManifest(damaged) from None
        fingerprint = body.pop("fingerprint", None)
        try:
            manifest = typed(cls, {**body, "spec": Spec.from_dict(body.get("spec"))})
            check_files(manifest.files)
            require(manifest.counts, dict.fromkeys(_COUNTS, int), "counts")
            if min(manifest.counts.values()) < 0 or manifest.index.kind not in ("flat", "ivf"):
                raise BadJson("a count is below 0, or the kind of index is unknown")
        except ValueError as error:
            raise StoreError(
                f"{path}: {error}; it was not written by this version of ednabed, so rebuild the reference with "
                "'ednabed consolidate --rebuild'"
            ) from error
        if manifest.spec.fingerprint != fingerprint:
            raise DamagedManifest(damaged)
        return manifest
