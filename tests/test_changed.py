"""The choice of tests for ``make check``."""

from __future__ import annotations

import pytest

from changed import ALWAYS, DOCS, belonging_tests

TEXTS = {
    "tests/search/test_where.py": "from ednabed.search.where import parse",
    "tests/cli/test_search_cli.py": "from cli_support import run",
    "tests/store/test_runs.py": "from ednabed.store.runs import Run\nfrom support import ednabed",
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("src/ednabed/search/where.py", {"tests/search/test_where.py"}),
        ("src/ednabed/cli/search.py", {"tests/cli/test_search_cli.py"}),
        ("src/ednabed/store/__init__.py", {"tests/store/test_runs.py"}),
        ("tests/support.py", {"tests/store/test_runs.py"}),
        ("tests/search/test_where.py", {"tests/search/test_where.py"}),
        ("README.md", {DOCS}),
        ("src/ednabed/models/weights.bin", set()),
    ],
)
def test_tests_that_belong_to_a_file(path, found):
    assert set(belonging_tests([path], TEXTS)) == found | set(ALWAYS)
