"""Packages that only some tasks need: extras of the installation, imported where they are needed."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from ednabed.errors import MissingPackage


def needed(module: str, extra: str, what: str) -> Any:
    """Import a module of an extra.

    Args:
        module: Its name, also that of the package which has it.
        extra: The extra that installs it.
        what: What needs it, for the message.

    Raises:
        MissingPackage: It is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackage(
            f'{what} needs {module}, which cannot be imported here ({error}); run: pip install "ednabed[{extra}]"'
        ) from error


def installed(module: str) -> bool:
    """Tell whether a module is there, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        # A module that was blocked, or one without a spec.
        return False
