"""Checks of what the vectors are worth."""
