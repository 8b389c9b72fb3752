"""The version of ednabed, and those of the packages that computed a result."""

from __future__ import annotations

from contextlib import suppress

__version__ = "0.1.0"


def package_versions(*packages: str) -> dict[str, str]:
    """Return the versions of ednabed and of packages by name; those that are not installed are omitted."""
    # Imported here, because the command line imports this module at once.
    from importlib.metadata import PackageNotFoundError, version

    found = {"ednabed": __version__}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def software_versions(*packages: str) -> dict[str, str]:
    """Return the version of Python, the name of the system, and ``package_versions``."""
    import platform

    return {"python": platform.python_version(), "system": platform.system(), **package_versions(*packages)}
