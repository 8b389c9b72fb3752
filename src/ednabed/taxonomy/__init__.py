"""Assign taxonomy to sequences, and find taxa that are not in a reference."""
