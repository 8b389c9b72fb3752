"""ednabed turns environmental-DNA sequences into vectors, manages them, searches them and assigns taxonomy.

The public names are facades over the library; they are imported on first use, so that the command line starts fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ednabed.base.version import __version__

if TYPE_CHECKING:
    from ednabed.api import DataManager, EmbeddingEngine, get_data_manager

__all__ = ["DataManager", "EmbeddingEngine", "__version__", "get_data_manager"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name in __all__:
        from ednabed import api

        return getattr(api, name)
    raise AttributeError(f"module 'ednabed' has no attribute {name!r}")
