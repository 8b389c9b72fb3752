"""Assignments stored next to a run: the results of ``ednabed classify --run`` for its distinct sequences.

They are in ``<run folder>.assignments/``, one Parquet file for each build of a reference and set of criteria, so that
the run itself does not change. A file is called ``<build>.<checksum>.parquet``; the checksum is the first 16
hexadecimal digits of the SHA-256 of its bytes. Files are replaced atomically, so a reader gets either the old file or
the new one. The schema metadata of a file state its run, build and criteria.

Files of schema 1, written by earlier versions, are read too (``assignments_old``).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ednabed.base.atomic import in_progress
from ednabed.base.files import check_name, fsync_file
from ednabed.base.locks import exclusive
from ednabed.base.parquet_files import checked_text, parquet_errors
from ednabed.base.stored_json import BadJson, brief, parse_json, require, typed
from ednabed.base.text import clean
from ednabed.base.times import utc_now
from ednabed.base.version import package_versions
from ednabed.errors import StoreError
from ednabed.store.assignment import ASSIGNMENT_COLUMNS, current_status
from ednabed.store.assignments_old import SCHEMA_1, columns_1, upgraded
from ednabed.store.runs import Run

SCHEMA = "ednabed.assignments/2"
_FACTS = b"ednabed.assignments"
_SHARES = {"source": str, "known": float, "queries": int}
_TRIES = 20
"""Maximum number of listings if files are replaced meanwhile."""
_FILE = re.compile(r"(?P<build>[A-Za-z0-9][A-Za-z0-9._-]*)\.(?P<checksum>[0-9a-f]{16})\.parquet")
COLUMNS = pa.schema([("digest", pa.string()), *(one for one in ASSIGNMENT_COLUMNS if one.name != "id")])
"""Columns of a file: those of assignments, with the digest of the sequence as the id."""


@dataclass(frozen=True)
class Facts:
    """Metadata of a file of assignments.

    Attributes:
        run: Identity of the run (``Run.identity``).
        label: Name of the run when it was classified: ``dataset/run_id``, otherwise its folder.
        build: Build of the reference.
        reference: Folder of the reference, relative to the workspace if it was in it.
        model: Model of the reference.
        fingerprint: Fingerprint of the function of the reference.
        calibrated: Time of the calibration (UTC, ISO 8601); None if there was none.
        criteria: Criteria for assigning a name: the fields of ``Criteria``, and ``align``.
        statuses: Status to number of distinct sequences.
        created: UTC, ISO 8601, with microseconds.
        software: Package versions.
        shares: For each marker, the assumed share of known species among the sequences: ``source`` (``estimated`` from
            them, ``fixed`` or ``default``), ``known`` (share whose species is in the reference), ``queries`` (number of
            distinct sequences to which the share applies) and ``lacking`` (share of sequences by what the reference
            lacks). Empty if nothing was calibrated, and in files of schema 1.
    """

    run: str
    label: str
    build: str
    reference: str
    model: str
    fingerprint: str
    calibrated: str | None
    criteria: dict[str, Any]
    statuses: dict[str, int]
    created: str
    software: dict[str, str]
    shares: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class KeptFile:
    """A file of assignments.

    Attributes:
        path: The file.
        facts: Its metadata.
    """

    path: Path
    facts: Facts

    def read(self, columns: Sequence[str] = COLUMNS.names) -> pa.Table:
        """Return columns of the assignments, one row per distinct sequence, in the form of ``COLUMNS``.

        Raises:
            FileNotFoundError: The file has just been replaced.
            StoreError: The file is damaged.
        """
        data = self.path.read_bytes()
        if _checksum(data) != _name(self.path)[1]:
            raise _damaged(self.path)
        with (
            parquet_errors(lambda _: _damaged(self.path)),
            pq.ParquetFile(pa.BufferReader(data)) as file,
        ):
            schema = file.schema_arrow.remove_metadata()
            if schema == columns_1(COLUMNS):
                return _require_values(checked_text(upgraded(file, columns, COLUMNS)))
            if schema != COLUMNS:
                raise _damaged(self.path)
            return _require_values(
                checked_text(file.read(list(columns)).select(list(columns)).replace_schema_metadata(None))
            )


def _require_values(table: pa.Table) -> pa.Table:
    """Reject rows without a digest or a status; only for use in a ``parquet_errors`` block."""
    for name in ("digest", "status"):
        if name in table.column_names and table.column(name).null_count:
            raise ValueError(f"a row has no {name}")
    return table


def folder_of(folder: Path) -> Path:
    """Return the folder for the assignments of a run folder."""
    # A link, or a path such as ".", does not have the name of the run folder itself.
    actual = folder.resolve() if folder.is_symlink() or folder.name in ("", "..") else folder
    return actual.with_name(f"{actual.name}.assignments")


def check_writable(run: Run) -> None:
    """Check that assignments can be written next to a run, before it is classified rather than after.

    Raises:
        StoreError: They cannot be written.
    """
    folder = folder_of(run.folder)
    existing = folder if folder.exists() else folder.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise StoreError(
            f"{folder}: the assignments of run {run.label} cannot be written there, next to the run; ask for write "
            "permission, or copy the run to a folder of your own"
        )


@dataclass(frozen=True)
class ClassifiedBy:
    """The reference and the criteria by which a run was classified; all attributes are as in ``Facts``."""

    build: str
    reference: str
    model: str
    fingerprint: str
    calibrated: str | None
    criteria: Mapping[str, Any]
    shares: Mapping[str, Any] = field(default_factory=dict)


def keep(run: Run, table: pa.Table, by: ClassifiedBy) -> KeptFile:
    """Save the assignments of a run, replacing earlier ones of the same build and criteria.

    Args:
        run: The run.
        table: Table with the schema ``COLUMNS`` and one row per distinct sequence of the run.
        by: The reference and the criteria.

    Raises:
        StoreError: Another process is saving assignments of this run.
    """
    check_name("build", by.build)
    facts = Facts(
        run=run.identity,
        label=run.label,
        statuses={row["values"]: row["counts"] for row in pc.value_counts(table.column("status")).to_pylist()},
        created=utc_now("microseconds"),
        software=package_versions(),
        **asdict(by),
    )
    folder = folder_of(run.folder)
    text = json.dumps({"schema": SCHEMA, **asdict(facts)}, ensure_ascii=False).encode()
    with (
        exclusive(folder / ".lock", "saving assignments of this run ('ednabed classify --run')"),
        in_progress(folder / by.build) as work,
    ):
        pq.write_table(table.cast(COLUMNS).replace_schema_metadata({_FACTS: text}), work, compression="zstd")
        fsync_file(work)
        saved = folder / f"{by.build}.{_checksum(work.read_bytes())}.parquet"
        work.replace(saved)
        kept = KeptFile(saved, facts)
        for path in _files(folder):
            if path != saved and _is_older(path, facts):
                path.unlink(missing_ok=True)
    return kept


def list_kept(folder: Path, identity: str) -> list[KeptFile]:
    """Return the files of assignments stored next to a run folder, newest first.

    Only the metadata at the end of each file is read; ``KeptFile.read`` reads the assignments.

    Args:
        folder: The run folder.
        identity: ``Run.identity`` of the run.

    Raises:
        StoreError: A file cannot be opened, has a schema that this version does not know, or belongs to another run.
    """
    found, faults = survey_kept(folder, identity)
    if faults:
        raise StoreError(faults[0])
    return found


def survey_kept(folder: Path, identity: str) -> tuple[list[KeptFile], list[str]]:
    """Return the files that ``list_kept`` returns, and the faults of the other files."""
    for attempt in range(_TRIES):
        found, faults, replaced = _survey(folder, identity)
        # The listing may miss both files if it happens just as the old one is replaced by the new one.
        seems_empty = not found and not faults and folder_of(folder).is_dir() and attempt < 3
        if not replaced and not seems_empty:
            break
        time.sleep(0.01 * attempt)
    return sorted(found, key=lambda kept: kept.facts.created, reverse=True), faults


def _survey(folder: Path, identity: str) -> tuple[list[KeptFile], list[str], bool]:
    """Return the files of assignments, the faults of other files, and whether a file was replaced meanwhile."""
    found: list[KeptFile] = []
    faults: list[str] = []
    replaced = False
    for path in _files(folder_of(folder)):
        try:
            kept = _open(path)
        except StoreError as error:
            faults.append(str(error))
            continue
        if kept is None:
            replaced = True
            continue
        if kept.facts.run != identity:
            faults.append(
                f"{path} contains the assignments of another run ({clean(kept.facts.label)[:200]}, identity "
                f"{clean(kept.facts.run[:12])}), "
                f"expected those of {folder} ({identity[:12]}); move it next to its run, or delete it and classify "
                "this run"
            )
            continue
        found.append(kept)
    return found, faults, replaced


def file_names(folder: Path) -> list[str]:
    """Return the names of the files stored next to a run folder; a name changes whenever its contents change."""
    return [path.name for path in _files(folder_of(folder))]


def verify_kept(run: Run) -> list[str]:
    """Read all assignments stored next to a run, check checksums and sequences, and return the faults found."""
    faults = []
    for path in _files(folder_of(run.folder)):
        try:
            kept = _open(path)
            if kept is not None:
                faults += [f"{path.parent.name}/{path.name} {fault}" for fault in _faults(run, kept)]
        except StoreError as error:
            faults.append(str(error))
    return faults


def _faults(run: Run, kept: KeptFile) -> list[str]:
    if kept.facts.run != run.identity:
        return [f"belongs to another run ({kept.facts.label}); move it next to its run, or delete it"]
    assigned = kept.read(["digest"]).column("digest")
    digests = pa.chunked_array(run.load_records(["digest"]).column("digest")).unique()
    if len(assigned) == len(digests) and pc.all(pc.is_in(digests, value_set=assigned.combine_chunks())).as_py():
        return []
    return [
        f"contains {len(assigned):,} sequences, which do not match the {len(digests):,} of the run; classify the run "
        "again"
    ]


def _files(folder: Path) -> list[Path]:
    """Return the files of assignments in a folder, sorted; other files are ignored."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _FILE.fullmatch(path.name))


def _open(path: Path) -> KeptFile | None:
    """Open a file; return None if it has just been replaced."""
    try:
        with parquet_errors(lambda _: _damaged(path)), path.open("rb") as file:
            metadata = pq.read_schema(file).metadata or {}
        body = parse_json(metadata.get(_FACTS, b"null"))
    except FileNotFoundError:
        return None
    except BadJson:
        raise _damaged(path) from None
    if not isinstance(body, dict):
        raise _damaged(path)
    schema = body.pop("schema", None)
    if schema not in (SCHEMA, SCHEMA_1):
        raise StoreError(
            f"{path} has schema {brief(schema)}, but this version of ednabed reads {SCHEMA_1!r} and {SCHEMA!r}; "
            "update ednabed"
        )
    try:
        facts = _current(typed(Facts, body))
        for marker, shares in facts.shares.items():
            require(shares, _SHARES, f"marker {marker!r}")
    except BadJson:
        raise _damaged(path) from None
    if facts.build != _name(path)[0]:
        raise _damaged(path)
    return KeptFile(path, facts)


def _current(facts: Facts) -> Facts:
    """Return facts with the current names of the statuses."""
    statuses: Counter[str] = Counter()
    for status, count in facts.statuses.items():
        statuses[current_status(status)] += count
    return replace(facts, statuses=dict(statuses))


def _is_older(path: Path, facts: Facts) -> bool:
    """Return whether a file contains earlier assignments of the same build and criteria."""
    try:
        kept = _open(path)
    except StoreError:
        # A file that is damaged or from a newer version must not be removed.
        return False
    return kept is not None and (kept.facts.build, kept.facts.criteria) == (facts.build, facts.criteria)


def _name(path: Path) -> tuple[str, str]:
    """Return the build and the checksum from the name of a file."""
    parts = _FILE.fullmatch(path.name)
    assert parts is not None
    return parts["build"], parts["checksum"]


def _checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _damaged(path: Path) -> StoreError:
    return StoreError(
        f"{path} is damaged; delete it, and classify the run again with 'ednabed classify --run RUN --reference DIR'"
    )
