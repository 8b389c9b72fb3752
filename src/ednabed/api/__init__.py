"""The Python API of the guides: facades over the other packages, without algorithms of their own."""

from ednabed.api.engine import EmbeddingEngine
from ednabed.api.manager import DataManager, get_data_manager

__all__ = ["DataManager", "EmbeddingEngine", "get_data_manager"]
