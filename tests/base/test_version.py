"""The version of ednabed, and those of packages."""

from __future__ import annotations

import platform
import re

import numpy as np

import ednabed
from ednabed.base.version import __version__, package_versions, software_versions


def test_the_package_has_the_version():
    assert ednabed.__version__ == __version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def test_packages_that_are_not_installed_are_omitted():
    assert package_versions("numpy", "no-such-package") == {"ednabed": __version__, "numpy": np.__version__}


def test_python_and_the_system_come_first():
    found = software_versions("numpy")
    assert list(found) == ["python", "system", "ednabed", "numpy"]
    assert found["python"] == platform.python_version()
