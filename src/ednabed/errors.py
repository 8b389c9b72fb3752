"""Every error that ednabed raises on purpose, and the exit code that the command line gives it.

A message is one sentence that states where (file, record), what was found, what was expected and the next step.
The library raises; only ``ednabed.cli`` prints and exits.
"""

from __future__ import annotations


class EdnabedError(Exception):
    """Base class of all errors that are shown to the user as one sentence. Exit code 1."""

    exit_code = 1


class UsageError(EdnabedError):
    """The request itself is invalid (an unknown model, two mutually exclusive options)."""

    exit_code = 2


class MissingPackage(EdnabedError):
    """A package that this task needs is not installed; the message names the extra that provides it."""

    exit_code = 2


class InputError(EdnabedError):
    """An input file cannot be read as sequences."""


class ModelError(EdnabedError):
    """A model is unknown, or its weights are missing, damaged or not what they claim to be."""


class StoreError(EdnabedError):
    """A run, table or checkpoint is damaged, incomplete, of an unknown schema or was created by another function."""


class EmbeddingError(EdnabedError):
    """An encoder failed on named records, or returned a vector that is not finite."""
