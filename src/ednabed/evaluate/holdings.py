"""The runs of two versions, and the vectors and names of sequences that both have embedded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ednabed.base.arrays import FloatArray, Ints
from ednabed.base.parquet_files import parquet_errors
from ednabed.errors import EdnabedError, StoreError
from ednabed.reference.loose import LooseRuns
from ednabed.reference.sources import source_of
from ednabed.sequences.lineage import RANKS
from ednabed.store.runs import RECORDS, Run
from ednabed.store.version_runs import fault, find_root, open_runs, run_address
from ednabed.store.versions import Version, Versions

_COLUMNS = ("digest", "lineage")
_DIGEST = r"^SQ\.[A-Za-z0-9_-]{32}$"


@dataclass
class Holding:
    """The runs and records of a version.

    Attributes:
        version: The version.
        runs: Its runs, by fingerprint or assumed tag; a run that exists twice counts once.
        assumed: Number of runs that are assumed to belong to this version.
        records: Total number of vectors in the runs.
        distinct: Distinct sequences in the runs that have records; None if no run has records.
        datasets: Datasets of the runs, sorted.
        unmatched: Runs without records (created by older tools), whose sequences cannot be matched.
        elsewhere: Labels of runs tagged with the version that are not below the searched folder.
    """

    version: Version
    runs: list[Run] = field(default_factory=list)
    assumed: int = 0
    records: int = 0
    distinct: int | None = None
    datasets: list[str] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "version": self.version.name,
            "model": self.version.spec.model,
            "fingerprint": self.version.fingerprint,
            "dimension": self.version.spec.dimension,
            "created": self.version.created,
            "description": self.version.description,
            "runs": len(self.runs),
            "assumed": self.assumed,
            "datasets": self.datasets,
            "records": self.records,
            "distinct": self.distinct,
            "unmatched_runs": self.unmatched,
            "tagged_elsewhere": self.elsewhere,
        }


def find_holdings(
    workspace: Path, versions: Versions, names: Sequence[str], root: Path | None
) -> tuple[list[Holding], list[LooseRuns | None], list[str]]:
    """Find the runs of versions.

    Returns:
        The holding of each version; the sequences of its runs that have records, None if there is none; and one
        sentence for each damaged run, which is omitted.

    Raises:
        StoreError: ``root`` is given but is not a folder, or a run changed in the meantime.
    """
    runs_root = find_root(workspace, root)
    runs, damaged = open_runs(runs_root)
    holdings = {name: Holding(versions.get(name)) for name in names}
    matched: dict[str, list[Run]] = {name: [] for name in names}
    seen: set[str] = set()
    for run in runs:
        try:
            found = versions.of_run(run)
            if found is None or found[0].name not in holdings or run.identity in seen:
                continue
            has_digests, rows = _has_digests(run), run.vectors().rows
        except (EdnabedError, OSError) as error:
            damaged.append(fault(run.folder, error))
            continue
        name, assumed = found[0].name, found[1]
        seen.add(run.identity)
        holdings[name].runs.append(run)
        holdings[name].assumed += assumed
        holdings[name].records += rows
        if has_digests:
            matched[name].append(run)
        else:
            holdings[name].unmatched.append(run_address(workspace, run))
    collections: list[LooseRuns | None] = []
    for name, holding in holdings.items():
        sources = [source_of(run, runs_root, workspace) for run in matched[name]]
        collections.append(LooseRuns(sources, _COLUMNS) if sources else None)
        holding.distinct = None if collections[-1] is None else collections[-1].rows
        holding.datasets = sorted({dataset for run in holding.runs for dataset in _dataset(run, runs_root)})
        holding.elsewhere = sorted(tag.run for key, tag in versions.tags_of(name).items() if key not in seen)
    return list(holdings.values()), collections, damaged


def take_vectors(collection: LooseRuns, rows: Ints) -> FloatArray:
    """Return the vectors of rows, float32, shape (n, d). Raises StoreError if one is not finite."""
    vectors = collection.vectors_of(rows)
    for row in rows[~np.isfinite(vectors).all(axis=1)].tolist():
        source = collection.sources[int(collection.parts_of(collection.positions_of(row))[0])]
        raise StoreError(f"{source.run.folder}: a vector is not finite; embed the input again, or move the run away")
    return vectors


def names_of(
    both: Sequence[tuple[LooseRuns, Ints]], ranks: Sequence[str]
) -> dict[str, tuple[npt.NDArray[np.str_], int]]:
    """Return the names of sequences at each rank, and the number of sequences whose records disagree about it.

    A name is taken from any record of the sequence, whichever version embedded it. If the records disagree, the
    sequence has no name at that rank.

    Args:
        both: The collection of each version, and the rows of the n sequences in it; empty if there are none.
        ranks: Ranks of the names.

    Returns:
        For each rank the names, shape (n,), empty if unknown, and the number.
    """
    lineages: list[set[str]] = [set() for _ in both[0][1]] if both else []
    for collection, rows in both:
        if "lineage" in collection.record_schema.names:
            positions = [collection.positions_of(row) for row in rows.tolist()]
            owner = np.repeat(np.arange(len(rows)), [len(part) for part in positions])
            texts = collection.take_records(np.concatenate(positions), ["lineage"]).column("lineage").cast(pa.string())
            for number, text in zip(owner.tolist(), texts.to_pylist(), strict=True):
                if text is not None and text.count(";") == len(RANKS) - 1:
                    lineages[number].add(text)
    found = {}
    for rank in ranks:
        names = [{text.split(";")[RANKS.index(rank)] for text in texts} - {""} for texts in lineages]
        agreed = np.array([min(texts) if len(texts) == 1 else "" for texts in names], dtype=np.str_)
        found[rank] = agreed, sum(len(texts) > 1 for texts in names)
    return found


def _has_digests(run: Run) -> bool:
    """Return whether a run has records with digests; older tools wrote none.

    Raises:
        StoreError: The records are damaged, or do not match the vectors.
    """
    path = run.folder / RECORDS
    if run.manifest is None and not (path.exists() and "digest" in run.record_schema.names):
        return False
    columns = [name for name in _COLUMNS if name in run.record_schema.names]
    if "digest" not in columns:
        raise StoreError(f"{path} has no column 'digest', which is needed to match sequences; embed the input again")
    records = run.load_records(columns)
    with parquet_errors(run.damaged_records):
        digests, *_ = (records.column(name).cast(pa.string()) for name in columns)
    if not pc.all(pc.match_substring_regex(digests, _DIGEST), skip_nulls=False).as_py():
        raise StoreError(
            f"{path}: column 'digest' contains values other than 'SQ.' and 32 characters; embed the input again"
        )
    n_vectors = run.vectors().rows
    if len(digests) != n_vectors:
        raise StoreError(
            f"{run.folder}: {n_vectors} vectors and {len(digests)} records do not belong together; 'ednabed runs "
            "verify' shows which file is damaged"
        )
    return True


def _dataset(run: Run, root: Path) -> set[str]:
    if run.manifest is not None:
        return set() if run.manifest.dataset is None else {run.manifest.dataset}
    parts = run.folder.relative_to(root).parts
    return {parts[0]} if len(parts) > 1 else set()
