"""Choose, train, measure and search the FAISS index of a reference.

Up to ``FLAT_ROWS`` vectors the index is flat and search is exact. Above that, an inverted file with RaBitQ codes (2
bits per dimension; Gao et al., SIGMOD 2024 and 2025) returns candidates, which are then compared with the memory-mapped
vectors themselves. Scores are therefore exact to 1e-6, the file is small (a float16 copy inside would be seven times as
large), and building it needs no copy of the vectors. One bit is not enough: on 115,000 barcodes its candidates missed
2 % of the ten nearest however wide the search (``docs/decisions.md``).

The numbers of lists visited and of candidates compared are set when the index is built: they grow until the ten nearest
others of a sample are found with recall 0.99, and those of queries unlike all rows with recall 0.95 (``base.recall``).

FAISS trusts its files: if a size in one is wrong, it hangs, takes all memory or reads out of bounds. So the part of the
file that controls how it is read is checked against a hash before FAISS opens it, and the answers are checked too.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ednabed.base.arrays import FloatArray, Ints
from ednabed.base.files import sha256_file
from ednabed.base.library_writes import library_writes
from ednabed.base.recall import NEIGHBOURS, REFERENCE_TARGET, SEED, Pairs, Trial
from ednabed.base.topk import unit
from ednabed.errors import StoreError, UsageError
from ednabed.reference.layout import INDEX, VECTORS
from ednabed.reference.manifest import IndexFacts, ReferenceManifest
from ednabed.store.vectors import BLOCK_BYTES, VectorFile

log = logging.getLogger("ednabed")

FLAT_ROWS = 20_000
"""Up to this number of vectors, exact search takes a few milliseconds, and an index gains nothing."""
KINDS = ("auto", "flat", "ivf")

_TRAIN_PER_LIST = 64
_MAX_LISTS = 1024
_SAMPLE = 256
# For at most this many queries, waking the threads costs more than they save.
_FEW = 4
_WIDTHS = ((8, 4), (8, 8), (16, 8), (32, 8), (32, 16), (64, 16), (128, 16), (256, 32), (512, 64), (1024, 128))
"""Lists visited and candidates per hit, from quick to thorough."""
_SMALL = 4_000_000
_PAGES = 256
_PAGE = 4096


class DamagedIndex(StoreError):
    """The index file cannot be used; exact search still works."""


def choose_kind(rows: int, asked: str) -> str:
    """Return ``flat`` or ``ivf`` for a number of vectors. Raise UsageError if ``asked`` is not one of ``KINDS``."""
    if asked not in KINDS:
        raise UsageError(f"`index` {asked!r} is unknown; choose one of {', '.join(KINDS)}")
    if asked == "auto":
        return "flat" if rows <= FLAT_ROWS else "ivf"
    return asked


def list_count(rows: int) -> int:
    """Return the number of inverted lists for a number of vectors: a power of two near four times its square root.

    The maximum is 1,024: training more takes minutes, and up to a million vectors they were not faster.
    """
    lists = 2 ** round(np.log2(max(1.0, 4 * np.sqrt(rows))))
    # k-means needs a few vectors per list.
    return int(max(1, min(lists, _MAX_LISTS, rows // 4)))


def outgrown(facts: IndexFacts, rows: int) -> bool:
    """Return whether an index was trained on so few vectors that it should be trained again."""
    return rows > 2 * facts.trained_on


def flat_index(blocks: Iterator[FloatArray], dimension: int) -> Any:
    """Return a flat FAISS index of the unit vectors of all blocks, for other programs; ednabed does not read it."""
    import faiss

    index = faiss.IndexFlatIP(dimension)
    for block in blocks:
        index.add(unit(block))
    return index


def train_index(vectors: VectorFile) -> tuple[Any, IndexFacts]:
    """Return a trained, empty inverted file for the vectors of a file."""
    import faiss

    lists = list_count(vectors.rows)
    index: Any = faiss.index_factory(vectors.dimension, f"IVF{lists},RaBitQ2", faiss.METRIC_INNER_PRODUCT)
    # Suppresses FAISS's warning about few vectors on standard error: recall is measured anyway.
    index.cp.min_points_per_centroid = 1
    index.train(unit(vectors.take(_sample(vectors.rows, lists * _TRAIN_PER_LIST, SEED))))
    nprobe, factor = _WIDTHS[0]
    return index, IndexFacts("ivf", lists, trained_on=vectors.rows, nprobe=min(nprobe, lists), factor=factor)


def write(
    work: Path, asked: str, norms: FloatArray, old: Path | None, base: ReferenceManifest | None
) -> tuple[IndexFacts, bool]:
    """Write the index of a build whose vectors are written.

    Args:
        work: Folder of the build.
        asked: One of ``KINDS``.
        norms: Length of each vector.
        old: Folder of the build that this one extends, or None.
        base: Manifest of that build, or None.

    Returns:
        The facts about the index, and whether it was trained now.
    """
    vectors = VectorFile.open(work, VECTORS)
    path = work / INDEX
    if choose_kind(vectors.rows, asked) == "flat":
        if vectors.rows <= FLAT_ROWS:
            _save(flat_index(vectors.blocks(), vectors.dimension), path)
        return IndexFacts("flat"), False
    index: Any = None
    facts: IndexFacts | None = None
    if base is not None and old is not None and base.index.kind == "ivf" and not outgrown(base.index, vectors.rows):
        before = base.counts["sequences"]
        try:
            index = _open_to_grow(old / INDEX, base)
            add(index, _from(vectors, before))
            facts = measure_recall(index, base.index, vectors, _with_norms(vectors, norms))
        except DamagedIndex as error:
            log.warning("%s, so the index is trained again", error)
    # A wider search can compensate for lists that do not fit the added vectors, but only up to a point.
    retrained = facts is None or not facts.reached or (base is not None and _width(facts) > 4 * _width(base.index))
    if retrained:
        index, facts = train_index(vectors)
        add(index, vectors.blocks())
        facts = measure_recall(index, facts, vectors, _with_norms(vectors, norms))
    assert facts is not None
    # FAISS stores the width with the index, so programs that only read the file search with the measured width.
    index.nprobe = facts.nprobe
    _save(index, path)
    structure = path.stat().st_size - vectors.rows * (index.code_size + 8)
    return replace(facts, structure=structure, seal=seal(path, structure)), retrained


def _save(index: Any, path: Path) -> None:
    """Write an index to a file. Raise StoreError if that fails, and leave no partial file behind."""
    import faiss

    with library_writes(path):
        faiss.write_index(index, str(path))
        # If the last bytes of a file do not fit on the disk, FAISS only prints a message.
        found = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC).ntotal
        if found != index.ntotal:
            raise OSError(f"{found} of {index.ntotal} vectors")


def _width(facts: IndexFacts) -> int:
    return facts.nprobe * facts.factor


def _open_to_grow(path: Path, base: ReferenceManifest) -> Any:
    """Read an index into memory, about 50 bytes per vector, because a memory-mapped one cannot grow."""
    import faiss

    open_index(path, base.counts["sequences"], base.spec.dimension, base.index)
    if sha256_file(path) != base.files.get(INDEX, {}).get("sha256"):
        raise DamagedIndex(f"{path} does not match its checksum")
    return faiss.read_index(str(path))


def _from(vectors: VectorFile, before: int) -> Iterator[FloatArray]:
    """Yield the vectors from number ``before`` on."""
    first = 0
    for block in vectors.blocks():
        if first + len(block) > before:
            yield block[max(0, before - first) :]
        first += len(block)


def _with_norms(vectors: VectorFile, norms: FloatArray) -> Iterator[tuple[Ints, FloatArray, FloatArray]]:
    first = 0
    for block in vectors.blocks():
        rows = np.arange(first, first + len(block))
        yield rows, block, norms[first : first + len(block)]
        first += len(block)


def seal(path: Path, structure: int) -> str:
    """Return a hash of an index file: of all of it if it is small, else of its structure, its end and some pages.

    This takes a hundredth of a second for a file of 100 MB.
    """
    size = path.stat().st_size
    found = hashlib.sha256(f"{size}\n".encode())
    with path.open("rb") as file:
        if size <= _SMALL:
            found.update(file.read())
            return found.hexdigest()
        found.update(file.read(structure))
        for start in np.linspace(structure, size - _PAGE, _PAGES).astype(np.int64).tolist():
            file.seek(start)
            found.update(file.read(_PAGE))
    return found.hexdigest()


def add(index: Any, blocks: Iterator[FloatArray]) -> None:
    """Add the unit vectors of all blocks; they get the next row numbers."""
    for block in blocks:
        index.add(unit(block))


def _sample(rows: int, count: int, seed: int) -> Ints:
    """Return at most ``count`` random row numbers below ``rows``, ascending."""
    return np.sort(np.random.default_rng(seed).choice(rows, min(count, rows), replace=False))


def measure_recall(
    index: Any,
    facts: IndexFacts,
    vectors: VectorFile,
    blocks: Iterator[tuple[Ints, FloatArray, FloatArray]],
) -> IndexFacts:
    """Find the narrowest search that reaches the target (``base.recall``); return it with the measured recall.

    Args:
        index: The filled index.
        facts: The facts about it so far.
        vectors: All vectors.
        blocks: The same vectors block by block (row numbers, vectors, lengths), for the exact search.
    """
    chosen = _sample(vectors.rows, _SAMPLE, SEED + 1)
    trial = Trial(vectors.take(chosen), chosen, blocks, REFERENCE_TARGET)

    def search(nprobe: int, factor: int) -> Iterator[Pairs]:
        wide = (trial.k + 1) * factor
        # As many queries as have one block of candidates.
        step = max(1, BLOCK_BYTES // (4 * vectors.dimension * wide))
        for first in range(0, len(trial.queries), step):
            queries = trial.queries[first : first + step]
            ids = _ask(index, queries, wide, nprobe, vectors.rows)
            # Read, not mapped: the system maps 64 kB around each row, which would count as memory of the build.
            rows, inverse = np.unique(ids, return_inverse=True)
            candidates = unit(vectors.take(np.maximum(rows, 0)))[inverse.reshape(ids.shape)]
            scores = np.einsum("qkd,qd->qk", candidates, queries)
            query, column = np.nonzero(ids >= 0)
            yield query + first, ids[query, column], scores[query, column]

    measured = trial.narrowest(_WIDTHS, facts.lists, search)
    # In a reference of one sequence there is nothing else to find.
    return facts if measured is None else replace(facts, **vars(measured))


def refine(
    index: Any,
    queries: FloatArray,
    vectors: FloatArray,
    norms: FloatArray,
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
        k: Number of rows to find per query.
        nprobe: Lists visited.
        factor: Candidates per row to find.

    Returns:
        Query numbers, rows and cosines of the best ``k`` and of all that tie with the last, each of shape (c,).

    Raises:
        DamagedIndex: The index returns rows that do not exist.
    """
    import faiss

    queries = np.ascontiguousarray(queries, np.float32)
    # The settings were measured for ten hits; more hits are spread over more lists.
    nprobe = min(index.nlist, int(np.ceil(nprobe * max(1.0, k / NEIGHBOURS))))
    ids = _ask(index, queries, k * factor, nprobe, len(vectors))
    if len(queries) <= _FEW:
        scores = np.einsum("qkd,qd->qk", vectors[ids], queries)
    else:
        scores = np.empty(ids.shape, np.float32)
        # Reads the mapped vectors in place, on all cores; -1 (nothing found) gives minus infinity.
        faiss.fvec_inner_products_by_idx(  # type: ignore[attr-defined]  # missing from the stubs
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
    row = ids[query, column]
    # A damaged list may contain a row twice.
    _, once = np.unique(query * len(vectors) + row, return_index=True)
    return query[once], row[once], scores[query, column][once]


def _ask(index: Any, queries: FloatArray, width: int, nprobe: int, rows: int) -> Ints:
    """Return the index's candidate rows for unit queries, int64, shape (q, at most ``width``); -1 for none."""
    import faiss

    parameters = faiss.SearchParametersIVF()
    parameters.nprobe = nprobe
    try:
        _, ids = index.search(np.ascontiguousarray(queries, np.float32), min(width, rows), params=parameters)
    except RuntimeError as error:
        raise DamagedIndex(f"the index cannot be searched ({str(error).split('Error: ')[-1].strip()[:200]})") from error
    if ids.max(initial=-1) >= rows or ids.min(initial=0) < -1:
        raise DamagedIndex("the index returns vectors that do not exist")
    return np.asarray(ids, np.int64)


def open_index(path: Path, rows: int, dimension: int, facts: IndexFacts) -> Any:
    """Open an index file as a memory map.

    Raises:
        DamagedIndex: The file is missing, cannot be read, or does not belong to these vectors.
    """
    try:
        import faiss
    except ImportError as error:
        raise DamagedIndex(f"{path} cannot be read without FAISS ({error})") from error

    if not path.is_file():
        raise DamagedIndex(f"{path} is missing")
    try:
        if seal(path, facts.structure) != facts.seal:
            raise DamagedIndex(f"{path} is damaged")
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except (RuntimeError, MemoryError, OSError) as error:
        reason = str(error).split("Error: ")[-1].strip()[:200]
        raise DamagedIndex(f"{path} cannot be read ({reason})") from error
    found = (index.ntotal, index.d, getattr(index, "nlist", 0))
    if found != (rows, dimension, facts.lists):
        raise DamagedIndex(f"{path} has {found[0]} vectors of {found[1]} dimensions, expected {rows} of {dimension}")
    return index
