"""Find the sequences that the runs of two versions have in common, by digest, and read their vectors and names.

Only the required columns are read, batch by batch. Memory holds 24 bytes for each distinct sequence, and the vectors
and names of the sample.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ednabed.base.arrays import FloatArray
from ednabed.base.parquet_files import parquet_errors
from ednabed.errors import EdnabedError, StoreError
from ednabed.sequences.lineage import RANKS
from ednabed.sequences.records import flat
from ednabed.store.runs import RECORDS, Run
from ednabed.store.version_runs import fault, find_root, open_runs, run_address
from ednabed.store.versions import Version, Versions

Digests: TypeAlias = npt.NDArray[np.bytes_]
"""The 24 bytes encoded by each digest ``SQ.…``, dtype S24, shape (n,)."""

_DIGEST_LENGTH = 35
_MERGE_ROWS = 1_000_000
_BATCH_ROWS = 65_536


@dataclass(frozen=True)
class Holding:
    """The runs and records of a version.

    Attributes:
        runs: Its runs, by fingerprint or assumed tag; a run that exists twice counts once.
        sources: The runs that have records, so that their sequences can be matched.
        assumed: Number of runs that are assumed to belong to this version.
        records: Total number of vectors in the runs.
        distinct: Distinct sequences in the runs that have records; None if no run has records.
        datasets: Datasets of the runs, sorted.
        unmatched: Runs without records (created by older tools), whose sequences cannot be matched.
        elsewhere: Labels of runs tagged with the version that are not below the searched folder.
    """

    runs: list[Run]
    sources: list[Run]
    assumed: int
    records: int
    distinct: int | None
    datasets: list[str]
    unmatched: list[str]
    elsewhere: list[str]


@dataclass
class _Side:
    """The runs and digests of a version found so far."""

    runs: list[Run] = field(default_factory=list)
    sources: list[Run] = field(default_factory=list)
    identities: set[str] = field(default_factory=set)
    assumed: int = 0
    records: int = 0
    datasets: set[str] = field(default_factory=set)
    unmatched: list[str] = field(default_factory=list)
    parts: list[Digests] = field(default_factory=list)

    def add_digests(self, digests: Digests) -> None:
        """Add distinct digests; parts are merged once they outnumber the merged digests, so the work stays linear."""
        self.parts.append(digests)
        waiting = sum(len(part) for part in self.parts[1:])
        if waiting > max(_MERGE_ROWS, len(self.parts[0])):
            self.parts = [self.digests()]

    def digests(self) -> Digests:
        """Return the distinct digests, sorted."""
        return np.unique(np.concatenate([np.empty(0, "S24"), *self.parts]))


def find_holdings(
    workspace: Path, versions: Versions, pair: tuple[Version, Version], root: Path | None
) -> tuple[tuple[Holding, Holding], tuple[Digests, Digests], list[str]]:
    """Find the runs of two versions and the digests of their sequences.

    Returns:
        The holding of each version, its distinct digests (sorted), and one sentence for each damaged run, which is
        omitted.

    Raises:
        StoreError: ``root`` is given but is not a folder.
    """
    runs_root = find_root(workspace, root)
    runs, damaged = open_runs(runs_root)
    sides = {version.name: _Side() for version in pair}
    for run in runs:
        try:
            found = versions.of_run(run)
            if found is None or found[0].name not in sides:
                continue
            identity = run.identity
            side = sides[found[0].name]
            if identity in side.identities:
                continue
            digests = _distinct(run)
            rows = run.vectors().rows
        except (EdnabedError, OSError) as error:
            damaged.append(fault(run.folder, error))
            continue
        side.identities.add(identity)
        side.runs.append(run)
        side.assumed += found[1]
        side.records += rows
        side.datasets |= _dataset(run, runs_root)
        if digests is None:
            side.unmatched.append(run_address(workspace, run))
        else:
            side.sources.append(run)
            side.add_digests(digests)
    first, second = (_close(versions, version.name, sides[version.name]) for version in pair)
    return (first[0], second[0]), (first[1], second[1]), damaged


def common_digests(first: Digests, second: Digests) -> Digests:
    """Return the digests that occur in both of two arrays of sorted, distinct digests, sorted."""
    return np.intersect1d(first, second, assume_unique=True)


def gather(
    holdings: tuple[Holding, Holding], chosen: Digests, ranks: Sequence[str]
) -> tuple[tuple[FloatArray, FloatArray], dict[str, npt.NDArray[np.str_]], dict[str, int]]:
    """Read the vectors and names of selected sequences that both versions have.

    A name is taken from any record of the sequence, whichever version embedded it. If the records disagree at a rank,
    the sequence has no name at that rank.

    Args:
        holdings: The holding of each version.
        chosen: Digests of the selected sequences, sorted and distinct, shape (n,).
        ranks: Ranks of the names.

    Returns:
        The vectors of each version, float32, shape (n, d); the names by rank, shape (n,), empty if unknown; and by rank
        the number of sequences whose records disagree.

    Raises:
        StoreError: A run changed in the meantime, or a vector is not finite.
    """
    lineages: list[set[str]] = [set() for _ in chosen]
    first, second = (_vectors(holding, chosen, lineages) for holding in holdings)
    names: dict[str, npt.NDArray[np.str_]] = {}
    conflicting: dict[str, int] = {}
    for rank in ranks:
        column = RANKS.index(rank)
        found = [{parts[column] for parts in (text.split(";") for text in texts)} - {""} for texts in lineages]
        names[rank] = np.array([next(iter(texts)) if len(texts) == 1 else "" for texts in found], dtype=np.str_)
        conflicting[rank] = sum(len(texts) > 1 for texts in found)
    return (first, second), names, conflicting


def _close(versions: Versions, name: str, side: _Side) -> tuple[Holding, Digests]:
    digests = side.digests()
    elsewhere = [tag.run for identity, tag in versions.tags_of(name).items() if identity not in side.identities]
    holding = Holding(
        runs=side.runs,
        sources=side.sources,
        assumed=side.assumed,
        records=side.records,
        distinct=len(digests) if side.sources else None,
        datasets=sorted(side.datasets),
        unmatched=side.unmatched,
        elsewhere=sorted(elsewhere),
    )
    return holding, digests


def _vectors(holding: Holding, chosen: Digests, lineages: list[set[str]]) -> FloatArray:
    """Return the vector of each chosen sequence (from its first record), and add the lineages of all its records."""
    run_of, row_of = np.full(len(chosen), -1), np.full(len(chosen), -1, np.int64)
    for number, run in enumerate(holding.sources if len(chosen) else []):
        for first, digests, labels in _batches(run):
            position = np.minimum(np.searchsorted(chosen, digests), len(chosen) - 1)
            rows = np.flatnonzero(chosen[position] == digests)
            found, earliest = np.unique(position[rows], return_index=True)
            new = run_of[found] < 0
            run_of[found[new]], row_of[found[new]] = number, first + rows[earliest[new]]
            for at, text in zip(position[rows].tolist(), labels.take(rows).to_pylist(), strict=True):
                if text is not None and text.count(";") == len(RANKS) - 1:
                    lineages[at].add(text)
    out: FloatArray | None = None
    for number, run in enumerate(holding.sources):
        in_run = np.flatnonzero(run_of == number)
        if len(in_run):
            vectors = run.take(row_of[in_run])
            if not np.isfinite(vectors).all():
                raise StoreError(f"{run.folder}: a vector is not finite; embed the input again, or move the run away")
            out = np.empty((len(chosen), vectors.shape[1]), np.float32) if out is None else out
            out[in_run] = vectors
    if out is None:
        return np.empty((0, 0), np.float32)
    if (run_of < 0).any():
        raise StoreError(
            f"{int((run_of < 0).sum())} sequences disappeared from the runs in the meantime; run the command again"
        )
    return out


def _dataset(run: Run, root: Path) -> set[str]:
    if run.manifest is not None:
        return set() if run.manifest.dataset is None else {run.manifest.dataset}
    parts = run.folder.relative_to(root).parts
    return {parts[0]} if len(parts) > 1 else set()


def _distinct(run: Run) -> Digests | None:
    """Return the distinct digests of a run, sorted; None if an older tool wrote it without records or digests.

    Raises:
        StoreError: The records are damaged, or do not match the vectors.
    """
    path = run.folder / RECORDS
    if run.manifest is None and not (path.exists() and "digest" in run.record_schema.names):
        return None
    parts = [np.empty(0, "S24")]
    rows = 0
    for _, digests, _ in _batches(run):
        rows += len(digests)
        parts.append(np.unique(digests))
    n_vectors = run.vectors().rows
    if rows != n_vectors:
        raise StoreError(
            f"{run.folder}: {n_vectors} vectors and {rows} records do not belong together; 'ednabed runs verify' "
            "shows which file is damaged"
        )
    return np.unique(np.concatenate(parts))


def _batches(run: Run) -> Iterator[tuple[int, Digests, Any]]:
    """Yield (number of the first row, digests, lineages as Arrow column) of a run; raise StoreError if damaged."""
    import pyarrow as pa

    path = run.folder / RECORDS
    names = run.record_schema.names
    if "digest" not in names:
        raise StoreError(f"{path} has no column 'digest', which is needed to match sequences; embed the input again")
    columns = [name for name in ("digest", "lineage") if name in names]
    first = 0
    for batch in run.record_batches(_BATCH_ROWS, columns):
        with parquet_errors(run.damaged_records):
            digests = batch.column("digest").cast(pa.string())
            known = "lineage" in names
            labels = batch.column("lineage").cast(pa.string()) if known else pa.nulls(len(batch), pa.string())
        yield first, _digest_bytes(digests, path), labels
        first += len(batch)


def _digest_bytes(column: Any, path: Path) -> Digests:
    """Decode a column of ``SQ.…`` digests into bytes, all at once."""
    data, offsets = flat(column)
    characters = np.frombuffer(data, np.uint8)
    if (np.diff(offsets) != _DIGEST_LENGTH).any():
        raise StoreError(
            f"{path}: column 'digest' contains values other than 'SQ.' and 32 characters; embed the input again"
        )
    try:
        raw = base64.urlsafe_b64decode(characters.reshape(-1, _DIGEST_LENGTH)[:, 3:].tobytes())
    except ValueError:
        raw = b""
    # The decoder skips characters that are not in the base64 alphabet.
    if len(raw) != 24 * len(column):
        raise StoreError(
            f"{path}: column 'digest' contains characters that do not occur in digests; embed the input again"
        )
    return np.frombuffer(raw, "S24")
