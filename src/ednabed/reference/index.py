"""The FAISS index of a reference: chosen, trained, measured; and searched.

Up to ``FLAT_ROWS`` vectors the index is flat and search is exact. Above, an inverted file with RaBitQ codes (2 bits a
dimension; Gao et al., SIGMOD 2024 and 2025) names candidates, which are then compared with the memory-mapped vectors
themselves. So scores are exact to 1e-6, the file is small (a float16 copy inside would be seven times as large), and
building it holds no copy of the vectors. One bit is not enough: on 115,000 barcodes its candidates missed 2 % of the
ten nearest however wide the search (``docs/decisions.md``).

How many lists are visited and how many candidates are compared is set when the index is built: until the ten nearest
others of a sample are found with recall 0.99, and those of queries unlike all rows with 0.95.

FAISS trusts its files: it hangs, takes all memory or reads what is not there when a size in one is wrong. So what says
how the file is to be read is checked against a hash before FAISS sees it, and what it answers is checked too.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ednabed.base.library_writes import library_writes
from ednabed.errors import StoreError, UsageError
from ednabed.models.base import FloatArray
from ednabed.reference.layout import INDEX, VECTORS
from ednabed.reference.manifest import IndexFacts, ReferenceManifest
from ednabed.reference.topk import exact_candidates, unit
from ednabed.store.files import sha256_file
from ednabed.store.vectors import BLOCK_BYTES, VectorFile

log = logging.getLogger("ednabed")

FLAT_ROWS = 20_000
"""Up to so many vectors exact search takes a few milliseconds, and an index gains nothing."""
KINDS = ("auto", "flat", "ivf")

_TRAIN_PER_LIST = 64
_MOST_LISTS = 1024
_SAMPLE = 256
_NEIGHBOURS = 10
_WANTED = 0.99
_WANTED_STRANGERS = 0.95
_SEED = 20261122
# For so few queries, waking the threads costs more than they save.
_FEW = 4
_WIDTHS = ((8, 4), (8, 8), (16, 8), (32, 8), (32, 16), (64, 16), (128, 16), (256, 32), (512, 64), (1024, 128))
"""Lists visited and candidates a hit, from quick to thorough."""
_SMALL = 4_000_000
_PAGES = 256
_PAGE = 4096
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
    index: Any = faiss.index_factory(vectors.dimension, f"IVF{lists},RaBitQ2", faiss.METRIC_INNER_PRODUCT)
    # Few vectors are no reason for a warning on standard error: recall is measured.
    index.cp.min_points_per_centroid = 1
    index.train(unit(vectors.take(_sample(vectors.rows, lists * _TRAIN_PER_LIST, _SEED))))
    nprobe, factor = _WIDTHS[0]
    return index, IndexFacts("ivf", lists, trained_on=vectors.rows, nprobe=min(nprobe, lists), factor=factor)


def write(
    work: Path, asked: str, norms: npt.NDArray[np.float32], old: Path | None, base: ReferenceManifest | None
) -> tuple[IndexFacts, bool]:
    """Write the index of a build whose vectors are written.

    Args:
        work: Folder of the build.
        asked: One of ``KINDS``.
        norms: Length of each vector.
        old: Folder of the build on top of which this one is made, or None.
        base: Its manifest.

    Returns:
        What is known of the index, and whether it was trained now.
    """
    vectors = VectorFile.open(work, VECTORS)
    path = work / INDEX
    if choose_kind(vectors.rows, asked) == "flat":
        if vectors.rows <= FLAT_ROWS:
            _save(flat(vectors.blocks(), vectors.dimension), path)
        return IndexFacts("flat"), False
    index: Any = None
    facts: IndexFacts | None = None
    if base is not None and old is not None and base.index.kind == "ivf" and not outgrown(base.index, vectors.rows):
        before = base.counts["sequences"]
        try:
            index = _open_to_grow(old / INDEX, base)
            add(index, _from(vectors, before))
            facts = measure(index, base.index, vectors, norms, _with_norms(vectors, norms))
        except DamagedIndex as error:
            log.warning("%s, so the index is trained anew", error)
    # Lists that do not fit what was added can be made up for by a wider search only up to a point.
    retrained = facts is None or not facts.reached or (base is not None and _width(facts) > 4 * _width(base.index))
    if retrained:
        index, facts = train(vectors)
        add(index, vectors.blocks())
        facts = measure(index, facts, vectors, norms, _with_norms(vectors, norms))
    assert facts is not None
    # FAISS stores the width with the index: programs that only read the file then search as widely as was measured.
    index.nprobe = facts.nprobe
    _save(index, path)
    structure = path.stat().st_size - vectors.rows * (index.code_size + 8)
    return replace(facts, structure=structure, seal=seal(path, structure)), retrained


def _save(index: Any, path: Path) -> None:
    """Write an index to a file. Raises StoreError where that fails; nothing of the file is left then."""
    import faiss

    with library_writes(path):
        faiss.write_index(index, str(path))
        # When the last bytes of a file do not fit on the disk, FAISS only prints that.
        found = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC).ntotal
        if found != index.ntotal:
            raise OSError(f"{found} of {index.ntotal} vectors")


def _width(facts: IndexFacts) -> int:
    return facts.nprobe * facts.factor


def _open_to_grow(path: Path, base: ReferenceManifest) -> Any:
    """Read an index into memory, some 50 bytes a vector; mapped ones cannot grow."""
    import faiss

    open_index(path, base.counts["sequences"], base.spec.dimension, base.index)
    if sha256_file(path) != base.files.get(INDEX, {}).get("sha256"):
        raise DamagedIndex(f"{path} differs from its checksum")
    return faiss.read_index(str(path))


def _from(vectors: VectorFile, before: int) -> Iterator[FloatArray]:
    """Yield the vectors from number ``before`` on."""
    first = 0
    for block in vectors.blocks():
        if first + len(block) > before:
            yield block[max(0, before - first) :]
        first += len(block)


def _with_norms(
    vectors: VectorFile, norms: npt.NDArray[np.float32]
) -> Iterator[tuple[npt.NDArray[np.int64], FloatArray, npt.NDArray[np.float32]]]:
    first = 0
    for block in vectors.blocks():
        rows = np.arange(first, first + len(block))
        yield rows, block, norms[first : first + len(block)]
        first += len(block)


def seal(path: Path, structure: int) -> str:
    """Return a hash of an index file: of all of it where it is small, else of its structure, its end and some pages.

    Takes a hundredth of a second for a file of 100 MB.
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
    counts when it is as near as the tenth, so that ties do not count as errors. Half of the queries are strangers,
    unlike all that the reference holds: of those 0.95 is wanted, because what is new has its neighbours in many lists.

    Args:
        index: The filled index.
        facts: What is known of it.
        vectors: All vectors.
        norms: Their lengths, shape (n,).
        blocks: The same vectors block by block (row numbers, vectors, lengths), for the exact search.
    """
    chosen = _sample(vectors.rows, _SAMPLE, _SEED + 1)
    members = unit(vectors.take(chosen))
    queries = np.concatenate([members, _strangers(members)])
    # The row that a query is itself; a stranger is none.
    own = np.concatenate([chosen, np.full(len(chosen), -1)])
    k = min(_NEIGHBOURS, vectors.rows - 1)
    if k < 1:
        # A reference of one sequence: there is nothing else to find.
        return facts
    query, row, score = exact_candidates(queries, blocks, k + 1)
    best = _threshold(query, row, score, own, k)
    for nprobe, factor in _WIDTHS:
        nprobe = min(nprobe, facts.lists)
        found = np.zeros(len(own))
        # So many queries that their candidates are a block.
        step = max(1, BLOCK_BYTES // (4 * vectors.dimension * (k + 1) * factor))
        for first in range(0, len(own), step):
            some = slice(first, first + step)
            ids = _ask(index, queries[some], (k + 1) * factor, nprobe, vectors.rows)
            # Read, not mapped: the system maps 64 kB around each row, which would count as memory of the build.
            rows, place = np.unique(ids, return_inverse=True)
            near = unit(vectors.take(np.maximum(rows, 0)))[place.reshape(ids.shape)]
            scores = np.einsum("qkd,qd->qk", near, queries[some])
            right = (ids >= 0) & (ids != own[some, None]) & (scores >= best[some, None] - 1e-6)
            found[some] = np.minimum(right.sum(axis=1), k)
        recall, strangers = (float(part.mean() / k) for part in np.split(found, 2))
        facts = replace(
            facts,
            nprobe=nprobe,
            factor=factor,
            recall=recall,
            recall_strangers=strangers,
            measured_on=len(chosen),
            reached=recall >= _WANTED and strangers >= _WANTED_STRANGERS,
        )
        if facts.reached or (nprobe == facts.lists and factor == _WIDTHS[-1][1]):
            break
    return facts


def _strangers(members: FloatArray) -> FloatArray:
    """Return unit vectors at a cosine of 0.7 to some: with kmer6, as barcodes with 8 % of their letters changed."""
    noise = np.random.default_rng(_SEED + 2).standard_normal(members.shape).astype(np.float32)
    return unit(members + unit(noise))


def _threshold(
    query: npt.NDArray[np.int64],
    row: npt.NDArray[np.int64],
    score: npt.NDArray[np.float32],
    own: npt.NDArray[np.int64],
    k: int,
) -> npt.NDArray[np.float32]:
    """Return the score of the k-th nearest row of each query, its own left out."""
    best = np.full(len(own), -np.inf, np.float32)
    for i in range(len(own)):
        others = score[(query == i) & (row != own[i])]
        best[i] = -np.partition(-others, k - 1)[k - 1]
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
    # Settings were measured for ten hits; a list holds only so many.
    nprobe = min(index.nlist, int(np.ceil(nprobe * max(1.0, k / _NEIGHBOURS))))
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
    row = ids[query, column]
    # A damaged list may name a row twice.
    _, once = np.unique(query * len(vectors) + row, return_index=True)
    return query[once], row[once], scores[query, column][once]


def _ask(index: Any, queries: FloatArray, wide: int, nprobe: int, rows: int) -> npt.NDArray[np.int64]:
    """Return the row numbers that the index names for unit queries, int64, shape (q, at most ``wide``); -1 for none."""
    import faiss

    parameters = faiss.SearchParametersIVF()
    parameters.nprobe = nprobe
    try:
        _, ids = index.search(np.ascontiguousarray(queries, np.float32), min(wide, rows), params=parameters)
    except RuntimeError as error:
        raise DamagedIndex(f"the index cannot be searched ({str(error).split('Error: ')[-1].strip()[:200]})") from error
    if ids.max(initial=-1) >= rows or ids.min(initial=0) < -1:
        raise DamagedIndex("the index names vectors that are not there")
    return np.asarray(ids, np.int64)


def open_index(path: Path, rows: int, dimension: int, facts: IndexFacts) -> Any:
    """Open an index file by memory map.

    Raises:
        DamagedIndex: It is absent, cannot be read, or does not belong to these vectors.
    """
    try:
        import faiss
    except ImportError as error:
        raise DamagedIndex(f"{path} cannot be read without FAISS ({error})") from error

    if not path.is_file():
        raise DamagedIndex(f"{path} is absent")
    try:
        if seal(path, facts.structure) != facts.seal:
            raise DamagedIndex(f"{path} is damaged")
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except (RuntimeError, MemoryError, OSError) as error:
        reason = str(error).split("Error: ")[-1].strip()[:200]
        raise DamagedIndex(f"{path} cannot be read ({reason})") from error
    found = (index.ntotal, index.d, getattr(index, "nlist", 0))
    if found != (rows, dimension, facts.lists):
        raise DamagedIndex(f"{path} has {found[0]} vectors of {found[1]} dimensions, wanted {rows} of {dimension}")
    return index
