"""Packages that only some exports need, imported when they are."""

from __future__ import annotations

import importlib
from typing import Any

from ednabed.errors import UsageError


def needed(module: str, package: str, what: str) -> Any:
    """Import a module.

    Args:
        module: Its name.
        package: The package that has it.
        what: The format that needs it, for the message.

    Raises:
        UsageError: It is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"an export as {what} needs {package}, which cannot be imported here ({error}); "
            'pip install "ednabed[export]"'
        ) from error
