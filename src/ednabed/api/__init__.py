"""The guide's Python names: facades over everything to their left, without science of their own."""

from ednabed.api.engine import EmbeddingEngine

__all__ = ["EmbeddingEngine"]
