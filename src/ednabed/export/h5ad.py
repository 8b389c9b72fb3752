"""Write distinct sequences with their vectors as AnnData (``.h5ad``), for scanpy and other programs.

``obs`` has one row per distinct sequence, indexed by its id (``ids``); the vectors are ``X``, float32, or
``obsm["X_ednabed"]`` without an ``X``; ``uns["ednabed"]`` records how they were computed. The file follows AnnData's
on-disk format (group ``anndata`` 0.1.0): ``obs`` is written by anndata, the vectors block by block.

Memory: ``obs``, about 1 kB per distinct sequence, and one block of vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ednabed.base.arrays import FloatArray
from ednabed.base.text import clean
from ednabed.export.features import Feature, features
from ednabed.export.ids import FeatureIds
from ednabed.export.names import Namer
from ednabed.export.place import atomic_target, check_target_file
from ednabed.export.report import Written
from ednabed.export.selection import Selection
from ednabed.extras import import_extra
from ednabed.sequences.lineage import RANKS, format_lineage
from ednabed.store.vectors import BLOCK_BYTES

OBSM = "X_ednabed"
OBS_COLUMNS = (
    "name", "digest", "length", "reads", "records", "samples", "datasets", "lineage", *RANKS, "rank", "confidence",
    "status", "taxon_id",
)  # fmt: skip
"""Columns of ``obs``. ``name`` is the id of the first record; ``reads`` counts a record without abundance as one;
``length`` is -1 and ``confidence`` NaN if unknown; text is empty if unknown."""


def write_h5ad(
    selection: Selection,
    names: Namer,
    ids: FeatureIds,
    target: Path,
    *,
    obsm: bool = False,
    about: Mapping[str, Any] | None = None,
) -> Written:
    """Write an ``.h5ad`` file, which appears complete or not at all.

    Args:
        selection: The sequences and records to write.
        names: Source of the names.
        ids: Ids of the features.
        target: The file.
        obsm: Put the vectors into ``obsm["X_ednabed"]`` instead of ``X``.
        about: Content of ``uns["ednabed"]``: text or number by name.

    Raises:
        MissingPackage: anndata is not installed.
        UsageError: The target is a folder, a pipe or a device, or is in a run or a reference.
    """
    check_target_file(target, "vectors.h5ad")
    anndata, h5py, pandas = packages()
    obs, records, reads = feature_frame(pandas, features(selection, names, ids))
    dimension = selection.collection.spec.dimension
    var = pandas.DataFrame(index=[f"dim_{index}" for index in range(0 if obsm else dimension)])
    data = anndata.AnnData(obs=obs, var=var, uns={"ednabed": cleaned(about or {})})
    with atomic_target(target, "vectors.h5ad") as work:
        data.write_h5ad(work)
        with h5py.File(work, "r+") as file:
            write_vectors(file, f"obsm/{OBSM}" if obsm else "X", selection)
    return Written(len(selection), records, None, reads)


def packages() -> tuple[Any, Any, Any]:
    """Return anndata, h5py and pandas. Raises MissingPackage if one of them is not installed."""
    anndata, h5py, pandas = (
        import_extra(module, "export", "an export as h5ad") for module in ("anndata", "h5py", "pandas")
    )
    return anndata, h5py, pandas


def cleaned(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of ``uns`` without characters that HDF5 cannot store."""
    return {key: clean(value) if isinstance(value, str) else value for key, value in about.items()}


def write_vectors(file: Any, name: str, selection: Selection) -> None:
    """Write the vectors of a selection, block by block, as an array of an AnnData file.

    Args:
        file: The open h5py file.
        name: Path of the array in the file; an existing array is replaced.
        selection: The sequences to export.
    """
    dimension = selection.collection.spec.dimension
    if name in file:
        del file[name]
    array = file.create_dataset(name, (len(selection), dimension), np.dtype("<f4"))
    array.attrs["encoding-type"] = "array"
    array.attrs["encoding-version"] = "0.2.0"
    first = 0
    for block in _blocks(selection):
        array[first : first + len(block)] = block
        first += len(block)


def _blocks(selection: Selection) -> Iterator[FloatArray]:
    """Yield the vectors in row order."""
    step = max(1, BLOCK_BYTES // (4 * selection.collection.spec.dimension))
    for first in range(0, len(selection), step):
        yield selection.collection.vectors_of(selection.rows[first : first + step])


def feature_frame(pandas: Any, all_features: Iterator[Feature]) -> tuple[Any, int, int]:
    """Return a data frame of features with ``OBS_COLUMNS``, indexed by their ids, the number of records and the reads.

    Args:
        pandas: The module.
        all_features: The features.
    """
    frames = []
    records = reads = 0
    while batch := list(islice(all_features, 4096)):
        columns: dict[str, Any] = {
            "name": [clean(feature.name or "") for feature in batch],
            "digest": ["" if feature.digest.startswith("key.") else feature.digest for feature in batch],
            "length": np.array([-1 if feature.length is None else feature.length for feature in batch], np.int64),
            "reads": np.array([feature.reads for feature in batch], np.int64),
            "records": np.array([feature.records for feature in batch], np.int64),
            "samples": np.array([sum(name is not None for _, name in feature.counts) for feature in batch], np.int64),
            "datasets": [clean(";".join(dict.fromkeys(dataset for dataset, _ in feature.counts))) for feature in batch],
            "lineage": [
                clean(format_lineage(feature.named.lineage)) if any(feature.named.lineage) else "" for feature in batch
            ],
            **{rank: [clean(feature.named.lineage[index]) for feature in batch] for index, rank in enumerate(RANKS)},
            "rank": [feature.named.rank for feature in batch],
            "confidence": np.array(
                [np.nan if feature.named.confidence is None else feature.named.confidence for feature in batch],
                np.float64,
            ),
            "status": [feature.named.status for feature in batch],
            "taxon_id": [clean(feature.named.taxon_id) for feature in batch],
        }  # fmt: skip
        frames.append(pandas.DataFrame(columns, index=[feature.id for feature in batch], columns=list(OBS_COLUMNS)))
        records += sum(feature.records for feature in batch)
        reads += sum(feature.reads for feature in batch)
    return pandas.concat(frames), records, reads
