"""Hints for scripts and options of the two older guides, which people type out of habit: the current command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath, PureWindowsPath

import click

SCRIPTS = {
    "run_pipeline": "embed",
    "run_embeddings": "table embed",
    "build_reference_index": "consolidate",
    "consolidate_embeddings": "consolidate",
    "compress_embeddings": "compress",
    "search_reference": "search",
    "manage_embedding_versions": "versions",
    "app": "dashboard",
}
"""Name of a script, without its extension, to the command that replaces it."""

_PAGE = "docs/from_the_guides.md maps all of them"
_VALIDATE = "'ednabed validate' compares sequences"
_INPUT = "the files need no option: 'ednabed {} FILE...'"
OPTIONS = {
    ("embed", "--input"): _INPUT.format("embed"),
    ("table import", "--input"): _INPUT.format("table import"),
    ("embed", "--validate-only"): _VALIDATE,
    ("table embed", "--validate-only"): _VALIDATE,
    ("table embed", "--input"): "bring the file into the table first: 'ednabed table import FILE...'",
}
"""Command and option of a guide to the current usage."""


def hint_for(error: click.ClickException, arguments: Sequence[str]) -> str | None:
    """Return what to type instead of a script or option of the older guides; None if it is not from them.

    Args:
        error: The error that click raised about the arguments.
        arguments: The arguments of the process.
    """
    if not isinstance(error, click.UsageError) or error.ctx is None:
        return None
    path = error.ctx.command_path.partition(" ")[2]
    if isinstance(error, click.NoSuchOption):
        hint = OPTIONS.get((path, error.option_name))
        return None if hint is None else f"hint: {hint} ({_PAGE})"
    if path:
        return None
    for word in arguments:
        # A folder may precede the name, in the notation of either system.
        name = PureWindowsPath(PurePosixPath(word).name).name.removesuffix(".py")
        if name in SCRIPTS:
            command = "validate" if "--validate-only" in arguments else SCRIPTS[name]
            return f"hint: {word} is now 'ednabed {command}'; 'ednabed {command} --help' lists its options ({_PAGE})"
    return None
