"""Optional packages that only some tasks need: extras of the installation, imported on demand."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from ednabed.errors import MissingPackage


def import_extra(module: str, extra: str, what: str) -> Any:
    """Import a module of an extra and return it.

    Args:
        module: Name of the module, which is also the name of its package.
        extra: The extra that installs it.
        what: What needs the module, for the message.

    Raises:
        MissingPackage: The module is not installed or cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackage(
            f'{what} needs {module}, which cannot be imported here ({error}); run: pip install "ednabed[{extra}]"'
        ) from error


def is_installed(module: str) -> bool:
    """Return whether a module is installed, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        # The module is blocked or has no spec.
        return False
