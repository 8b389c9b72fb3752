"""Which sequences the runs of two versions have in common, matched by digest, with their vectors and names.

Only the columns that are needed are read, batch by batch; held are 24 bytes for each distinct sequence, and the vectors
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

from ednabed.base.parquet_files import parquet_errors
from ednabed.errors import EdnabedError, StoreError
from ednabed.models.base import FloatArray
from ednabed.sequences.lineage import RANKS
from ednabed.sequences.records import flat
from ednabed.store.runs import RECORDS, Run
from ednabed.store.version_runs import fault, find_root, open_runs, run_address
from ednabed.store.versions import Version, Versions

Digests: TypeAlias = npt.NDArray[np.bytes_]
"""The 24 bytes behind each digest ``SQ.…``, dtype S24, shape (n,)."""

_LENGTH = 35
_MERGE = 1_000_000
_BATCH_ROWS = 65_536


@dataclass(frozen=True)
class Holding:
    """What a version has.

    Attributes:
        runs: Its runs, by fingerprint or assumed tag; the same run in two places counts once.
        sources: Those of them that have records, so that their sequences can be matched.
        assumed: How many of them are assumed to be of this version.
        records: Vectors in all of them.
        distinct: Distinct sequences in the runs that have records; None where no run has.
        datasets: Their datasets, sorted.
        unmatched: Runs without records (made by older tools), whose sequences nobody can match.
        elsewhere: Labels of runs tagged with the version that are not below the folder that was searched.
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
class _Open:
    """What is known of a version so far."""

    runs: list[Run] = field(default_factory=list)
    sources: list[Run] = field(default_factory=list)
    identities: set[str] = field(default_factory=set)
    assumed: int = 0
    records: int = 0
    datasets: set[str] = field(default_factory=set)
    unmatched: list[str] = field(default_factory=list)
    parts: list[Digests] = field(default_factory=list)

    def add_digests(self, digests: Digests) -> None:
        """Add distinct digests; parts are merged when they outgrow what is merged already, so the work stays linear."""
        self.parts.append(digests)
        waiting = sum(len(part) for part in self.parts[1:])
        if waiting > max(_MERGE, len(self.parts[0])):
            self.parts = [self.digests()]

    def digests(self) -> Digests:
        """Return the distinct digests, sorted."""
        return np.unique(np.concatenate([np.empty(0, "S24"), *self.parts]))


def hold(
    workspace: Path, versions: Versions, pair: tuple[Version, Version], root: Path | None
) -> tuple[tuple[Holding, Holding], tuple[Digests, Digests], list[str]]:
    """Find the runs of two versions and the digests of their sequences.

    Returns:
        What each version has, its distinct digests (sorted), and one sentence for each damaged run, which is left out.

    Raises:
        StoreError: ``root`` is named and is no folder.
    """
    place = find_root(workspace, root)
    runs, damaged = open_runs(place)
    sides = {version.name: _Open() for version in pair}
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
        side.datasets |= _dataset(run, place)
        if digests is None:
            side.unmatched.append(run_address(workspace, run))
        else:
            side.sources.append(run)
            side.add_digests(digests)
    first, second = (_close(versions, version.name, sides[version.name]) for version in pair)
    return (first[0], second[0]), (first[1], second[1]), damaged


def common_digests(first: Digests, second: Digests) -> Digests:
    """Return the digests that two sorted lists of distinct ones have in common, sorted."""
    return np.intersect1d(first, second, assume_unique=True)


def gather(
    holdings: tuple[Holding, Holding], chosen: Digests, ranks: Sequence[str]
) -> tuple[tuple[FloatArray, FloatArray], dict[str, npt.NDArray[np.str_]], dict[str, int]]:
    """Read vectors and names of some sequences that both versions have.

    A name is taken from any record of the sequence, whichever version it was embedded by; where records disagree at a
    rank, the sequence has no name there.

    Args:
        holdings: What each version has.
        chosen: Digests, sorted and distinct, shape (n,).
        ranks: Ranks of the names.

    Returns:
        The vectors of each version, float32, shape (n, d); by rank the names, shape (n,), empty where unknown; by rank
        the number of sequences whose records disagree.

    Raises:
        StoreError: A run changed meanwhile, or a vector is not finite.
    """
    lineages: list[set[str]] = [set() for _ in chosen]
    first, second = (_vectors(holding, chosen, lineages) for holding in holdings)
    names: dict[str, npt.NDArray[np.str_]] = {}
    conflicting: dict[str, int] = {}
    for rank in ranks:
        column = RANKS.index(rank)
        found = [{parts[column] for parts in (text.split(";") for text in texts)} - {""} for texts in lineages]
        names[rank] = np.array([next(iter(some)) if len(some) == 1 else "" for some in found], dtype=np.str_)
        conflicting[rank] = sum(len(some) > 1 for some in found)
    return (first, second), names, conflicting


def _close(versions: Versions, name: str, side: _Open) -> tuple[Holding, Digests]:
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
    """Return the vector of each chosen sequence (that of its first record), and add the lineages of all its records."""
    run_of, row_of = np.full(len(chosen), -1), np.full(len(chosen), -1, np.int64)
    for number, run in enumerate(holding.sources if len(chosen) else []):
        for first, digests, labels in _batches(run):
            place = np.minimum(np.searchsorted(chosen, digests), len(chosen) - 1)
            rows = np.flatnonzero(chosen[place] == digests)
            where, earliest = np.unique(place[rows], return_index=True)
            new = run_of[where] < 0
            run_of[where[new]], row_of[where[new]] = number, first + rows[earliest[new]]
            for at, text in zip(place[rows].tolist(), labels.take(rows).to_pylist(), strict=True):
                if text is not None and text.count(";") == len(RANKS) - 1:
                    lineages[at].add(text)
    out: FloatArray | None = None
    for number, run in enumerate(holding.sources):
        mine = np.flatnonzero(run_of == number)
        if len(mine):
            vectors = run.take(row_of[mine])
            if not np.isfinite(vectors).all():
                raise StoreError(f"{run.folder}: a vector is not finite; embed the input again, or move the run away")
            out = np.empty((len(chosen), vectors.shape[1]), np.float32) if out is None else out
            out[mine] = vectors
    if out is None:
        return np.empty((0, 0), np.float32)
    if (run_of < 0).any():
        raise StoreError(f"{int((run_of < 0).sum())} sequences vanished from the runs meanwhile; run the command again")
    return out


def _dataset(run: Run, root: Path) -> set[str]:
    if run.manifest is not None:
        return set() if run.manifest.dataset is None else {run.manifest.dataset}
    parts = run.folder.relative_to(root).parts
    return {parts[0]} if len(parts) > 1 else set()


def _distinct(run: Run) -> Digests | None:
    """Return the distinct digests of a run, sorted; None for a run of an older tool without records or digests.

    Raises:
        StoreError: The records are damaged, or do not belong to the vectors.
    """
    path = run.folder / RECORDS
    if run.manifest is None and not (path.exists() and "digest" in run.record_schema.names):
        return None
    parts = [np.empty(0, "S24")]
    rows = 0
    for _, digests, _ in _batches(run):
        rows += len(digests)
        parts.append(np.unique(digests))
    wanted = run.vectors().rows
    if rows != wanted:
        raise StoreError(
            f"{run.folder}: {wanted} vectors and {rows} records do not belong together; 'ednabed runs verify' says "
            "which file is damaged"
        )
    return np.unique(np.concatenate(parts))


def _batches(run: Run) -> Iterator[tuple[int, Digests, Any]]:
    """Yield (number of the first row, digests, lineages as Arrow column) of a run. Raises StoreError when damaged."""
    import pyarrow as pa

    path = run.folder / RECORDS
    names = run.record_schema.names
    if "digest" not in names:
        raise StoreError(f"{path} has no column 'digest', by which sequences are matched; embed the input again")
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
    """Turn a column ``SQ.…`` into its bytes, all at once."""
    data, offsets = flat(column)
    letters = np.frombuffer(data, np.uint8)
    if (np.diff(offsets) != _LENGTH).any():
        raise StoreError(f"{path}: column 'digest' holds something other than 'SQ.' and 32 letters; embed it again")
    try:
        raw = base64.urlsafe_b64decode(letters.reshape(-1, _LENGTH)[:, 3:].tobytes())
    except ValueError:
        raw = b""
    # Letters that base64 does not have are passed over by the decoder.
    if len(raw) != 24 * len(column):
        raise StoreError(f"{path}: column 'digest' holds letters that no digest has; embed the input again")
    return np.frombuffer(raw, "S24")
