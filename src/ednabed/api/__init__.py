"""The guide's Python names: facades over everything to their left, without science of their own."""

from ednabed.api.engine import EmbeddingEngine
from ednabed.api.manager import DataManager, get_data_manager

__all__ = ["DataManager", "EmbeddingEngine", "get_data_manager"]
