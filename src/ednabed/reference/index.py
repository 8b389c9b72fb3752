"""The FAISS index of a reference: chosen, trained, measured; and searched.

Up to ``FLAT_ROWS`` vectors the index is flat and search is exact. Above, an inverted file with RaBitQ codes (2 bits a
dimension; Gao et al., SIGMOD 2024 and 2025) names candidates, which are then compared exactly with the memory-mapped
vectors themselves. So scores are exact, the file is small (a float16 copy inside would be seven times as large), and
building it holds no copy of the vectors. One bit is not enough: on 115,000 barcodes its candidates missed 2 % of the
ten nearest however wide the search (``docs/decisions.md``).

How many lists are visited and how many candidates are compared is set when the index is built: until the ten nearest
others of a sample are found with recall 0.99.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ednabed.errors import StoreError, UsageError
from ednabed.models.base import FloatArray
from ednabed.reference.manifest import IndexFacts
from ednabed.reference.topk import exact_candidates, unit
from ednabed.store.vectors import VectorFile

FLAT_ROWS = 20_000
"""Up to so many vectors exact search takes a few milliseconds, and an index gains nothing."""
KINDS = ("auto", "flat", "ivf")

_TRAIN_PER_LIST = 64
_MOST_LISTS = 1024
_SAMPLE = 256
_NEIGHBOURS = 10
_WANTED = 0.99
_SEED = 20261122
# Queries whose candidates are held at once while recall is measured.
_MEASURED = 32
# For so few queries, waking the threads costs more than they save.
_FEW = 4
_WIDTHS = ((8, 4), (8, 8), (16, 8), (32, 8), (32, 16), (64, 16), (128, 16), (256, 32), (512, 64), (1024, 128))
"""Lists visited and candidates a hit, from quick to thorough."""
Pairs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]


class DamagedIndex(StoreError):
    """The index file cannot be used; exact search can."""


def choose_kind(rows: int, asked: str) -> str:
    """Return ``flat`` or ``ivf`` for a number of vectors. Raises UsageError when ``asked`` is not of ``KINDS``."""
    if asked not in KINDS:
        raise UsageError(f"--index {asked!r} is unknown; choose one of {', '.join(KINDS)}")
    if asked == "auto":
        return "flat" if rows <= FLAT_ROWS else "ivf"
    return asked


def list_count(rows: int) -> int:
    """Return the number of inverted lists for a number of vectors: a power of two near four times its root.

    At most 1,024: to train more takes minutes, and they were not faster up to a million vectors.
    """
    wanted = 2 ** round(np.log2(max(1.0, 4 * np.sqrt(rows))))
    # k-means wants a few vectors a list.
    return int(max(1, min(wanted, _MOST_LISTS, rows // 4)))


def outgrown(facts: IndexFacts, rows: int) -> bool:
    """Tell whether an index was trained on so few vectors that it should be trained again."""
    return rows > 2 * facts.trained_on


def flat(blocks: Iterator[FloatArray], dimension: int) -> Any:
    """Return a flat FAISS index of the unit vectors of all blocks, for other programs; ednabed does not read it."""
    import faiss

    index = faiss.IndexFlatIP(dimension)
    for block in blocks:
        index.add(unit(block))
    return index


def train(vectors: VectorFile) -> tuple[Any, IndexFacts]:
    """Return a trained, empty inverted file for the vectors of a file."""
    import faiss

    lists = list_count(vectors.rows)
    index = faiss.index_factory(vectors.dimension, f"IVF{lists},RaBitQ2", faiss.METRIC_INNER_PRODUCT)
    index.train(unit(vectors.take(_sample(vectors.rows, lists * _TRAIN_PER_LIST, _SEED))))
    return index, IndexFacts("ivf", lists=lists, trained_on=vectors.rows)


def add(index: Any, blocks: Iterator[FloatArray]) -> None:
    """Add the unit vectors of all blocks; they get the next row numbers."""
    for block in blocks:
        index.add(unit(block))


def _sample(rows: int, count: int, seed: int) -> npt.NDArray[np.int64]:
    """Return at most ``count`` of ``rows`` row numbers, ascending."""
    return np.sort(np.random.default_rng(seed).choice(rows, min(count, rows), replace=False))


def measure(
    index: Any,
    facts: IndexFacts,
    vectors: VectorFile,
    norms: npt.NDArray[np.float32],
    blocks: Iterator[tuple[npt.NDArray[np.int64], FloatArray, npt.NDArray[np.float32]]],
) -> IndexFacts:
    """Find the narrowest search that reaches recall 0.99 on a sample, and return it with the recall measured.

    The sample are vectors of the reference; what is sought are the ten nearest *others* of each, by exact search. A hit
    counts when it is as near as the tenth, so that ties do not count as errors.

    Args:
        index: The filled index.
        facts: What is known of it.
        vectors: All vectors.
        norms: Their lengths, shape (n,).
        blocks: The same vectors block by block (row numbers, vectors, lengths), for the exact search.
    """
    chosen = _sample(vectors.rows, _SAMPLE, _SEED + 1)
    queries = unit(vectors.take(chosen))
    k = min(_NEIGHBOURS, vectors.rows - 1)
    if k < 1:
        return facts
    query, row, score = exact_candidates(queries, blocks, k + 1)
    best = _threshold(query, row, score, chosen, k)
    for nprobe, factor in _WIDTHS:
        nprobe = min(nprobe, facts.lists)
        found = np.zeros(len(chosen))
        for first in range(0, len(chosen), _MEASURED):
            some = slice(first, first + _MEASURED)
            ids = _ask(index, queries[some], (k + 1) * factor, nprobe, vectors.rows)
            # Read, not mapped: the system maps 64 kB around each row, which would count as memory of the build.
            rows, place = np.unique(ids, return_inverse=True)
            near = unit(vectors.take(np.maximum(rows, 0)))[place.reshape(ids.shape)]
            scores = np.einsum("qkd,qd->qk", near, queries[some])
            right = (ids >= 0) & (ids != chosen[some, None]) & (scores >= best[some, None] - 1e-6)
            found[some] = np.minimum(right.sum(axis=1), k)
        recall = float(found.mean() / k)
        facts = replace(
            facts, nprobe=nprobe, factor=factor, recall=recall, measured_on=len(chosen), reached=recall >= _WANTED
        )
        if facts.reached or (nprobe == facts.lists and factor == _WIDTHS[-1][1]):
            break
    return facts


def _threshold(
    query: npt.NDArray[np.int64],
    row: npt.NDArray[np.int64],
    score: npt.NDArray[np.float32],
    chosen: npt.NDArray[np.int64],
    k: int,
) -> npt.NDArray[np.float32]:
    """Return the score of the k-th nearest other of each query."""
    best = np.full(len(chosen), -np.inf, np.float32)
    for i in range(len(chosen)):
        own = score[(query == i) & (row != chosen[i])]
        best[i] = -np.partition(-own, k - 1)[k - 1]
    return best


def refine(
    index: Any,
    queries: FloatArray,
    vectors: npt.NDArray[np.float32],
    norms: npt.NDArray[np.float32],
    k: int,
    nprobe: int,
    factor: int,
) -> Pairs:
    """Search the index and compare its candidates exactly.

    Args:
        index: The index.
        queries: Unit vectors, float32, shape (q, d).
        vectors: All vectors, memory-mapped, float32, C order, shape (n, d).
        norms: Their lengths, shape (n,).
        k: Rows wanted a query.
        nprobe: Lists visited.
        factor: Candidates a row wanted.

    Returns:
        Query numbers, rows, cosines of the best ``k`` and of all that tie with the last, each of shape (c,).

    Raises:
        DamagedIndex: The index names rows that are not there.
    """
    import faiss

    queries = np.ascontiguousarray(queries, np.float32)
    ids = _ask(index, queries, k * factor, nprobe, len(vectors))
    if len(queries) <= _FEW:
        scores = np.einsum("qkd,qd->qk", vectors[ids], queries)
    else:
        scores = np.empty(ids.shape, np.float32)
        # Reads the mapped vectors where they lie, on all cores; -1 (nothing found) gives minus infinity.
        faiss.fvec_inner_products_by_idx(  # type: ignore[attr-defined]  # absent from the stubs
            faiss.swig_ptr(scores),
            faiss.swig_ptr(queries),
            faiss.swig_ptr(vectors),
            faiss.swig_ptr(ids),
            vectors.shape[1],
            len(queries),
            ids.shape[1],
        )
    missing = ids < 0
    scores /= norms[ids]
    scores[missing] = -np.inf
    if ids.shape[1] > k:
        last = -np.partition(-scores, k - 1, axis=1)[:, k - 1]
        kept = scores >= (last - 2e-6)[:, None]
        kept &= ~missing
    else:
        kept = ~missing
    query, column = np.nonzero(kept)
    return query, ids[query, column], scores[query, column]


def _ask(index: Any, queries: FloatArray, wide: int, nprobe: int, rows: int) -> npt.NDArray[np.int64]:
    """Return the row numbers that the index names for unit queries, int64, shape (q, at most ``wide``); -1 for none."""
    import faiss

    parameters = faiss.SearchParametersIVF()
    parameters.nprobe = nprobe
    _, ids = index.search(np.ascontiguousarray(queries, np.float32), min(wide, rows), params=parameters)
    if ids.max(initial=-1) >= rows or ids.min(initial=0) < -1:
        raise DamagedIndex("the index names vectors that are not there")
    return np.asarray(ids, np.int64)


def open_index(path: Path, rows: int, dimension: int, facts: IndexFacts) -> Any:
    """Open an index file by memory map.

    Raises:
        DamagedIndex: It is absent, cannot be read, or does not belong to these vectors.
    """
    import faiss

    if not path.is_file():
        raise DamagedIndex(f"{path} is absent")
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except (RuntimeError, MemoryError) as error:
        reason = str(error).split("Error: ")[-1].splitlines()[0][:200]
        raise DamagedIndex(f"{path} cannot be read ({reason})") from error
    found = (index.ntotal, index.d, getattr(index, "nlist", 0))
    if found != (rows, dimension, facts.lists):
        raise DamagedIndex(f"{path} has {found[0]} vectors of {found[1]} dimensions, wanted {rows} of {dimension}")
    return index
