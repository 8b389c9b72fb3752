"""The packages stand in one order and import only what stands before them; only the command line prints and exits.

The order is that of the flow of data. Imports inside functions and under ``TYPE_CHECKING`` count too.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "ednabed"
ORDER = [
    "base", "sequences", "models", "engine", "store", "reference", "tables", "search", "taxonomy", "maps", "evaluate",
    "export", "training", "workflows", "api", "dashboard", "cli",
]  # fmt: skip
FREE = ("errors", "extras")
"""What every module may import: errors and packages of extras."""


def package_of(module: str) -> str:
    """``ednabed.store.runs`` -> ``store``; the package itself is ``__init__``, its ``__main__`` the command line."""
    parts = module.split(".")
    if parts[1:] == ["__main__"]:
        return "cli"
    return parts[1] if len(parts) > 1 else "__init__"


def imported(tree: ast.AST, module: str, is_package: bool) -> list[tuple[str, int]]:
    """Every module of ours that is imported, at any level, with its line."""
    found = []
    here = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            # ``from ednabed import store`` imports a package by its bare name.
            known = [*ORDER, "errors", "extras"]
            below = [alias.name for alias in node.names if name == "ednabed" and alias.name in known]
            found += [(f"{name}.{b}", node.lineno) for b in below] or [(name, node.lineno)]
        elif isinstance(node, ast.Call) and _is_import_call(node):
            found += [
                (a.value, node.lineno)
                for a in node.args[:1]
                if isinstance(a, ast.Constant) and isinstance(a.value, str)
            ]
    return [(name, line) for name, line in found if name == "ednabed" or name.startswith("ednabed.")]


def _is_import_call(node: ast.Call) -> bool:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in ("import_module", "__import__")


def wrong_imports(source: str, module: str, is_package: bool = False) -> list[str]:
    """Say which imports of a module point the wrong way."""
    own = package_of(module)
    wrong = []
    for name, line in imported(ast.parse(source), module, is_package):
        other = package_of(name)
        if other in FREE or other == own:
            continue
        if own in ORDER:
            bad = other not in ORDER or ORDER.index(other) > ORDER.index(own)
        else:
            # The package itself gives out its version and names of the api; errors import nothing, extras errors alone.
            bad = not (own == "__init__" and (name == "ednabed.base.version" or other == "api"))
        if bad:
            wrong.append(f"{module}, line {line}: {own} must not import {name}")
    return wrong


def wrong_output(source: str, module: str) -> list[str]:
    """Say where a module that is not the command line prints or ends the process."""
    if package_of(module) == "cli":
        return []
    wrong = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in ("print", "sys.exit", "exit", "quit", "os._exit", "builtins.print", "os.abort"):
                wrong.append(f"{module}, line {node.lineno}: {name}(")
        elif isinstance(node, ast.Raise) and node.exc is not None and "SystemExit" in ast.unparse(node.exc):
            wrong.append(f"{module}, line {node.lineno}: raise SystemExit")
    return wrong


def modules() -> list[tuple[Path, str, bool]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ["ednabed", *path.relative_to(PACKAGE).with_suffix("").parts]
        is_package = parts[-1] == "__init__"
        found.append((path, ".".join(parts[:-1] if is_package else parts), is_package))
    return found


MODULES = modules()
by_module = pytest.mark.parametrize(("path", "module", "is_package"), MODULES, ids=[m[1] for m in MODULES])


def test_all_packages_have_a_place_in_the_order():
    assert len(MODULES) > 50
    assert {package_of(module) for _, module, _ in MODULES} <= {*ORDER, *FREE, "__init__"}


@by_module
def test_imports_point_the_right_way(path, module, is_package):
    assert wrong_imports(path.read_text(encoding="utf-8"), module, is_package) == []


@by_module
def test_only_the_command_line_prints_and_exits(path, module, is_package):
    assert wrong_output(path.read_text(encoding="utf-8"), module) == []


HEAVY = ("torch", "lancedb", "faiss", "sklearn", "streamlit")


def top_level(source: str) -> list[str]:
    """Names of the modules imported when a module is imported, those under ``TYPE_CHECKING`` left out."""
    names, waiting = [], list(ast.parse(source).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
    return names


@by_module
def test_the_command_line_imports_nothing_heavy_at_once(path, module, is_package):
    # The catalogue is data that the command line reads at once, so what holds for it holds for the catalogue.
    if package_of(module) in ("cli", "__init__") or module in ("ednabed.models", "ednabed.models.catalog"):
        names = top_level(path.read_text(encoding="utf-8"))
        light = ("ednabed.base.text", "ednabed.base.version", "ednabed.errors", "ednabed.cli", "ednabed.models.catalog")
        ours = [n for n in names if n.startswith("ednabed") and n not in light and not n.startswith("ednabed.cli.")]
        assert ours == []
        assert not {n.split(".")[0] for n in names} & {*HEAVY, "numpy", "pyarrow", "huggingface_hub", "transformers"}


OF_TORCH = [
    *(f"ednabed.training.{name}" for name in ("loop", "networks", "objective")),
    *(f"ednabed.models.nucleotide_transformer.{name}" for name in ("network", "weights")),
]
"""Modules that are imported only after ``extras.import_extra`` found torch."""


@by_module
def test_packages_of_extras_are_imported_where_they_are_needed(path, module, is_package):
    names = {name.split(".")[0] for name in top_level(path.read_text(encoding="utf-8"))}
    assert not names & ({"lancedb", "lance"} if module in OF_TORCH else {"torch", "lancedb", "lance"})


# -- the checker is checked --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ednabed.sequences.fasta", "from ednabed.models.base import Tokens"),
        ("ednabed.models.kmer", "import ednabed.engine.embed"),
        ("ednabed.engine.embed", "def f():\n    from ednabed.store.runs import Run"),
        (
            "ednabed.engine.embed",
            "class A:\n    def f(self):\n        if 1:\n            import ednabed.api.engine as e",
        ),
        ("ednabed.store.runs", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ednabed.search import x"),
        ("ednabed.store.runs", "from ednabed import search"),
        ("ednabed.store.runs", "from ..search.hits import Hits"),
        ("ednabed.store.runs", "from .. import search"),
        ("ednabed.store.runs", "import importlib\nimportlib.import_module('ednabed.search.hits')"),
        ("ednabed.store.runs", "__import__('ednabed.cli.main')"),
        ("ednabed.search.runs", "from ednabed.taxonomy import assign"),
        ("ednabed.training.train", "from ednabed.api import EmbeddingEngine"),
        ("ednabed.workflows.search", "from ednabed.api import DataManager"),
        ("ednabed.api.engine", "from ednabed.cli.common import notice"),
        ("ednabed.dashboard.app", "from ednabed.cli import main"),
        ("ednabed.errors", "from ednabed.sequences import digest"),
        ("ednabed", "from ednabed.store import runs"),
        ("ednabed.cli.main", "from ednabed import __version__"),
        ("ednabed.engine.embed", "from ednabed.unheard_of import x"),
    ],
)
def test_a_planted_wrong_import_is_found(module, source):
    assert len(wrong_imports(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ednabed.store.runs", "from ednabed.errors import StoreError"),
        ("ednabed.store.runs", "from ednabed.base.files import check_name\nfrom .manifest import MANIFEST"),
        ("ednabed.store.runs", "from ednabed.engine.embed import Engine\nfrom ..models import base"),
        ("ednabed.store.runs", "import numpy\nfrom ednabedder import x"),
        ("ednabed.cli.main", "from ednabed.base.version import __version__\nfrom ednabed.api import EmbeddingEngine"),
        ("ednabed.cli.dashboard", "def f():\n    from ednabed.dashboard.server import serve"),
        ("ednabed.api.engine", "from ednabed.training import train"),
        ("ednabed", "from ednabed.base.version import __version__\ndef f():\n    from ednabed import api"),
    ],
)
def test_right_imports_pass(module, source):
    assert wrong_imports(source, module) == []


@pytest.mark.parametrize(
    "source",
    [
        "print('x')",
        "def f():\n    import sys\n    sys.exit(1)",
        "raise SystemExit(2)",
        "exit()",
        "import os\nos._exit(1)",
    ],
)
def test_planted_output_is_found_outside_the_command_line(source):
    assert len(wrong_output(source, "ednabed.store.runs")) == 1
    assert wrong_output(source, "ednabed.cli.main") == []


def test_words_that_only_look_like_output_pass():
    assert wrong_output("log.print('x')\nx = 'print(1)'\nfingerprint(1)\nraise ValueError", "ednabed.store.runs") == []


def test_heavy_imports_are_seen_where_they_count():
    assert top_level("import torch") == ["torch"]
    assert top_level("try:\n    import torch\nexcept ImportError:\n    pass") == ["torch"]
    assert top_level("class A:\n    import torch") == ["torch"]
    assert top_level("def f():\n    import torch") == []
    assert top_level("if TYPE_CHECKING:\n    import torch\nelse:\n    import faiss") == ["faiss"]
