"""Distinct sequences with their vectors as AnnData (``.h5ad``), for scanpy and others.

``obs`` has one row per distinct sequence, called by its id (``ids``); the vectors are ``X``, float32, or
``obsm["X_ednabed"]``, where ``X`` is absent; ``uns["ednabed"]`` says what made them. The file is that of AnnData's
on-disk format (group ``anndata`` 0.1.0): ``obs`` is written by anndata, the vectors block by block.

Memory: ``obs``, about 1 kB per distinct sequence, and one block of vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ednabed.export.features import Feature, features
from ednabed.export.ids import FeatureIds
from ednabed.export.names import Namer
from ednabed.export.place import check_target_file, whole_target
from ednabed.export.report import Written
from ednabed.export.selection import Selection
from ednabed.extras import needed
from ednabed.models.base import FloatArray
from ednabed.sequences.lineage import RANKS, format_lineage
from ednabed.store.files import clean
from ednabed.store.vectors import BLOCK_BYTES

OBSM = "X_ednabed"
OBS_COLUMNS = (
    "name", "digest", "length", "reads", "records", "samples", "datasets", "lineage", *RANKS, "rank", "confidence",
    "status", "taxon_id",
)  # fmt: skip
"""Columns of ``obs``. ``name`` is the id of the first record; ``reads`` counts a record without abundance as one;
``length`` is -1 and ``confidence`` NaN where unknown; a text is empty where unknown."""


def write_h5ad(
    selection: Selection,
    names: Namer,
    ids: FeatureIds,
    target: Path,
    *,
    obsm: bool = False,
    about: Mapping[str, Any] | None = None,
) -> Written:
    """Write an ``.h5ad`` file, which appears whole or not at all.

    Args:
        selection: What to write.
        names: Where names come from.
        ids: What features are called.
        target: The file.
        obsm: Put the vectors into ``obsm["X_ednabed"]`` instead of ``X``.
        about: What ``uns["ednabed"]`` says: name to text or number.

    Raises:
        MissingPackage: anndata is not installed.
        UsageError: The target is a folder, a pipe or a device, or lies in a run or a
            reference.
    """
    check_target_file(target, "vectors.h5ad")
    anndata, h5py, pandas = packages()
    obs, records, reads = feature_frame(pandas, features(selection, names, ids))
    dimension = selection.collection.spec.dimension
    var = pandas.DataFrame(index=[f"dim_{place}" for place in range(0 if obsm else dimension)])
    data = anndata.AnnData(obs=obs, var=var, uns={"ednabed": cleaned(about or {})})
    with whole_target(target, "vectors.h5ad") as work:
        data.write_h5ad(work)
        with h5py.File(work, "r+") as file:
            write_vectors(file, f"obsm/{OBSM}" if obsm else "X", selection)
    return Written(len(selection), records, None, reads)


def packages() -> tuple[Any, Any, Any]:
    """Return anndata, h5py and pandas. Raises MissingPackage where one of them is not installed."""
    anndata, h5py, pandas = (needed(module, "export", "an export as h5ad") for module in ("anndata", "h5py", "pandas"))
    return anndata, h5py, pandas


def cleaned(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``uns`` says, without characters that HDF5 cannot hold."""
    return {key: clean(value) if isinstance(value, str) else value for key, value in about.items()}


def write_vectors(file: Any, name: str, selection: Selection) -> None:
    """Write the vectors of a selection, block by block, as an array of an AnnData file.

    Args:
        file: The opened file of h5py.
        name: Path of the array in it; one that is there is replaced.
        selection: What is exported.
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
    """Yield the vectors in order of row."""
    step = max(1, BLOCK_BYTES // (4 * selection.collection.spec.dimension))
    for first in range(0, len(selection), step):
        yield selection.collection.vectors_of(selection.rows[first : first + step])


def feature_frame(pandas: Any, every: Iterator[Feature]) -> tuple[Any, int, int]:
    """Return the frame of features with ``OBS_COLUMNS``, called by their ids, the number of records and the reads.

    Args:
        pandas: The module.
        every: The features.
    """
    frames = []
    records = reads = 0
    while some := list(islice(every, 4096)):
        columns: dict[str, Any] = {
            "name": [clean(one.name or "") for one in some],
            "digest": ["" if one.digest.startswith("key.") else one.digest for one in some],
            "length": np.array([-1 if one.length is None else one.length for one in some], np.int64),
            "reads": np.array([one.reads for one in some], np.int64),
            "records": np.array([one.records for one in some], np.int64),
            "samples": np.array([sum(name is not None for _, name in one.counts) for one in some], np.int64),
            "datasets": [clean(";".join(dict.fromkeys(dataset for dataset, _ in one.counts))) for one in some],
            "lineage": [
                clean(format_lineage(one.named.lineage)) if any(one.named.lineage) else "" for one in some
            ],
            **{rank: [clean(one.named.lineage[place]) for one in some] for place, rank in enumerate(RANKS)},
            "rank": [one.named.rank for one in some],
            "confidence": np.array(
                [np.nan if one.named.confidence is None else one.named.confidence for one in some], np.float64
            ),
            "status": [one.named.status for one in some],
            "taxon_id": [clean(one.named.taxon_id) for one in some],
        }  # fmt: skip
        frames.append(pandas.DataFrame(columns, index=[one.id for one in some], columns=list(OBS_COLUMNS)))
        records += sum(one.records for one in some)
        reads += sum(one.reads for one in some)
    return pandas.concat(frames), records, reads
