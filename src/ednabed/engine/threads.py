"""The number of threads that ednabed uses: every processor that the process may run on, or fewer if a limit is set.

A limit affects only the time, never a result. It reaches libraries in two ways: it is set in those already loaded,
while those loaded later read it from the environment, as do processes started in the meantime.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "LANCE_CPU_THREADS",
)
"""Variables of OpenMP (FAISS, torch, scikit-learn, Arrow), the libraries below numpy, numba (UMAP) and LanceDB."""
_limit: int | None = None


def cores() -> int:
    """Return the number of threads to use: the limit if one is set, else the processors this process may run on."""
    if _limit is not None:
        return _limit
    # Only Linux reports which processors a process may run on.
    affinity = getattr(os, "sched_getaffinity", None)
    return (os.cpu_count() or 1) if affinity is None else len(affinity(0))


@contextmanager
def limited_threads(threads: int | None) -> Iterator[None]:
    """Limit the threads of torch, FAISS, numpy, Arrow, LanceDB and ednabed's own pools within the block.

    Args:
        threads: At least 1; None sets no limit.
    """
    global _limit
    if threads is None:
        yield
        return
    before = _limit, {name: os.environ.get(name) for name in _VARIABLES}
    with ExitStack() as stack:
        _limit = threads
        os.environ.update(dict.fromkeys(_VARIABLES, str(threads)))
        _limit_loaded(threads, stack)
        try:
            yield
        finally:
            _limit = before[0]
            for name, value in before[1].items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _limit_loaded(threads: int, stack: ExitStack) -> None:
    """Set the limit in the libraries that are loaded, until the stack is closed; the others stay unloaded."""
    if "numpy" in sys.modules or "faiss" in sys.modules:
        from threadpoolctl import threadpool_limits

        stack.enter_context(threadpool_limits(threads))
    if "torch" in sys.modules:
        import torch

        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(threads)
    if "pyarrow" in sys.modules:
        import pyarrow as pa

        stack.callback(pa.set_cpu_count, pa.cpu_count())
        pa.set_cpu_count(threads)
