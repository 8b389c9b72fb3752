"""``docs/code.md`` names files, functions and classes of the source and files of tests, which must exist.

The source is parsed, not imported. In "`reference/build.py`: `build_reference`, `BuildRequest.folder`", the file is
below ``src/ednabed``, and each name after the colon is defined in it; files named ``test_…`` are below ``tests``.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from test_imports import ORDER

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "ednabed"
TESTS = ROOT / "tests"
PAGE = ROOT / "docs" / "code.md"

NAME = r"`[A-Za-z_][\w.]*`"
FILE = re.compile(rf"`(?P<file>[\w/]+\.py)`(?::\s+(?P<names>{NAME}(?:(?:,|\s+and)\s+{NAME}(?!:))*))?")
"""A file, with the names that follow it after a colon; a name before another colon is that of the next file."""
LOOSE = re.compile(r"`((?:_[a-z]\w*|[A-Z]\w*)(?:\.\w+)?)`")
"""A private name, a class, a method or a constant, whether it follows a file or not."""


def mentions(text: str) -> list[tuple[str, list[str]]]:
    """Each file of a text with the names that follow it."""
    return [(found["file"], re.findall(r"`([\w.]+)`", found["names"] or "")) for found in FILE.finditer(text)]


def names_in(source: str) -> set[str]:
    """Names of functions, classes and variables of a module, and ``Class.name`` for what its classes contain."""
    found = set()

    def visit(body: list[ast.stmt], scope: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(scope + node.name)
            if isinstance(node, ast.ClassDef):
                visit(node.body, f"{scope}{node.name}.")
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [one for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)]
                found.update(scope + one.id for one in names if isinstance(one.ctx, ast.Store))

    visit(ast.parse(source).body, "")
    return found


@cache
def defined(path: Path) -> frozenset[str]:
    return frozenset(names_in(path.read_text(encoding="utf-8")))


def path_of(file: str) -> Path:
    return (TESTS if Path(file).name.startswith("test_") else PACKAGE) / file


def faults(text: str) -> list[str]:
    """What a text mentions and is not there, as ``FILE`` or ``FILE: NAME``, or ``NAME`` for a name without a file."""
    found = []
    for file, names in mentions(text):
        path = path_of(file)
        if not path.is_file():
            found.append(file)
        else:
            found += [f"{file}: {name}" for name in names if name not in defined(path)]
    known = {name for path in PACKAGE.rglob("*.py") for name in defined(path)}
    with_file = {name for _, names in mentions(text) for name in names}
    return found + [name for name in LOOSE.findall(text) if name not in with_file | known]


def test_everything_on_the_page_exists():
    text = PAGE.read_text(encoding="utf-8")
    assert len(mentions(text)) > 100
    assert not faults(text), "change docs/code.md together with the code"


def test_the_order_of_packages_is_that_of_the_imports():
    words = re.sub(r"\s+", " ", PAGE.read_text(encoding="utf-8"))
    assert f": {' → '.join(ORDER)}." in words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("`a/b.py`: `f`, `A.g` and\n  `_h` return `x.npy`. `a/test_b.py`", [("a/b.py", ["f", "A.g", "_h"]),
                                                                            ("a/test_b.py", [])]),
        ("`a.py`: `f` → `b.py`:\n`g`; `c.json`, `d`", [("a.py", ["f"]), ("b.py", ["g"])]),
        ("`a.py`: `f`, `b.py`: `g`", [("a.py", ["f"]), ("b.py", ["g"])]),
        ("`a.py`, `f`: (`b.py`: `C.__next__`)", [("a.py", []), ("b.py", ["C.__next__"])]),
    ],
)  # fmt: skip
def test_files_and_names_of_a_text(text, found):
    assert mentions(text) == found


def test_names_of_a_module():
    source = "A, b[0] = 1, 2\nC = D = 3\ne: int = 4\ndef f():\n    g = 5\nclass H:\n    i: int\n    def j(self): pass\n"
    assert names_in(source) == {"A", "C", "D", "e", "f", "H", "H.i", "H.j"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("`store/runs.py`: `Run.open`, `Run.folder`, `RECORDS`; `store/test_runs.py`; `Run`, `_batch_rows`", []),
        ("`store/run.py`: `Run`", ["store/run.py"]),
        ("`store/runs.py`: `Run.shut`", ["store/runs.py: Run.shut"]),
        ("`test_nothing.py`", ["test_nothing.py"]),
        ("`store/runs.py`: `reread`, `run.json`", ["store/runs.py: run.json"]),
        ("a `NoSuchClass` and `_no_such_function`, but `no_such_column`", ["NoSuchClass", "_no_such_function"]),
    ],
)
def test_planted_faults_are_found(text, found):
    assert faults(text) == found
