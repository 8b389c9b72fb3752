"""Measures the quality of vectors and of taxonomic assignments."""
