"""Write reads of distinct sequences in samples as AnnData (``.h5ad``): samples by features, like cells by genes.

``obs`` has one row per sample with its known metadata, and ``var`` has one row per distinct sequence with the columns
that ``obs`` has in ``h5ad``; ``X`` contains the reads, sparse (CSR) and float64, which represents every count exactly;
the vectors are ``varm["X_ednabed"]``.

Memory: ``var``, about 1 kB per distinct sequence, about 100 bytes per pair of feature and sample, and one block of
vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ednabed.base.text import clean
from ednabed.export.features import Feature, features, sample_names
from ednabed.export.h5ad import OBSM, cleaned, feature_frame, packages, write_vectors
from ednabed.export.ids import FeatureIds
from ednabed.export.names import Namer
from ednabed.export.place import atomic_target, check_target_file
from ednabed.export.report import Written
from ednabed.export.sample_terms import SampleTerms
from ednabed.export.selection import Selection

_NUMBERS = ("decimalLatitude", "decimalLongitude", "minimumDepthInMeters", "maximumDepthInMeters")


def write_h5ad_samples(
    selection: Selection, names: Namer, ids: FeatureIds, target: Path, *, about: Mapping[str, Any] | None = None
) -> Written:
    """Write an ``.h5ad`` file of samples by features, which appears complete or not at all.

    Args:
        selection: The sequences and records to write.
        names: Source of the names.
        ids: Ids of the features.
        target: The file.
        about: Content of ``uns["ednabed"]``: text or number by name.

    Raises:
        MissingPackage: anndata is not installed.
        UsageError: The target is a folder, a pipe or a device, or is in a run or a reference.
    """
    from scipy.sparse import csr_matrix

    check_target_file(target, "samples.h5ad")
    anndata, h5py, pandas = packages()
    samples = sample_names(selection.samples())
    row_of = {sample: row for row, sample in enumerate(samples)}
    terms = SampleTerms(selection.collection.record_schema.names)
    pairs: list[tuple[int, int, int]] = []

    def counted() -> Iterator[Feature]:
        for number, feature in enumerate(features(selection, names, ids, terms.columns)):
            terms.add(feature)
            pairs.extend((row_of[sample], number, reads) for sample, reads in feature.counts.items() if reads)
            yield feature

    var, records, reads = feature_frame(pandas, counted())
    triples = np.array(pairs, np.int64).reshape(-1, 3)
    shape = (len(samples), len(var))
    counts = csr_matrix((triples[:, 2].astype(np.float64), (triples[:, 0], triples[:, 1])), shape=shape)
    obs: dict[str, Any] = {
        "dataset": [clean(dataset) for dataset, _ in samples],
        "sample": [clean(name or "") for _, name in samples],
        "reads": np.asarray(counts.sum(axis=1)).ravel().astype(np.int64),
        "control": np.array([sample in terms.controls for sample in samples]),
    }
    for term in terms.terms():
        cells = [terms.cells.get(sample, {}).get(term, "") for sample in samples]
        numbers = np.array([float(cell) if cell else np.nan for cell in cells]) if term in _NUMBERS else None
        obs[term] = [clean(cell) for cell in cells] if numbers is None else numbers
    data = anndata.AnnData(
        X=counts,
        obs=pandas.DataFrame(obs, index=list(samples.values())),
        var=var,
        # A placeholder, so that the group has the layout of this anndata version; the vectors follow block by block.
        varm={OBSM: np.zeros((len(var), 1), np.float32)},
        uns={"ednabed": cleaned(about or {})},
    )
    with atomic_target(target, "samples.h5ad") as work:
        data.write_h5ad(work)
        with h5py.File(work, "r+") as file:
            write_vectors(file, f"varm/{OBSM}", selection)
    return Written(len(selection), records, len(samples), reads)
