"""Helpers that every package may use; nothing here depends on sequences, vectors or ednabed's own files."""
