"""How the source is built: short functions, imports at the top, names defined once, documented errors, tests for all.

Each rule has exceptions with reasons, and a planted example that it must find. The lists of exceptions only shrink: an
exception that is no longer needed has to be removed. These tests read the source, without running it.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "ednabed"
TESTS = ROOT / "tests"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def trees() -> dict[str, ast.Module]:
    """Every module by name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ["ednabed", *path.relative_to(PACKAGE).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def functions(tree: ast.AST, scope: str) -> Iterator[tuple[str, Function]]:
    """Qualified name and node of every function, also of methods and of functions in functions."""
    for node in ast.iter_child_nodes(tree):
        name = scope
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{scope}.{node.name}"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield name, node
        yield from functions(node, name)


def is_command(node: Function | ast.ClassDef) -> bool:
    """Whether a function is a command or a group of the command line, whose parameters are its options."""
    names = [ast.unparse(d.func if isinstance(d, ast.Call) else d) for d in node.decorator_list]
    return any(name.rpartition(".")[2] in ("command", "group") for name in names)


def check_exceptions(found: Collection[str], allowed: Mapping[str, str]) -> None:
    """Fail if something found is not allowed, or if something allowed is no longer found."""
    assert not set(found) - set(allowed), "new, without a reason in the list of exceptions"
    assert not set(allowed) - set(found), "remove exceptions that are no longer needed"


# -- size --------------------------------------------------------------------------------------------------------------

MAX_LINES = 80
MAX_PARAMETERS = 8
MAX_MODULE_LINES = 450
PUBLIC = "the arguments are those that users type (DESIGN.md, README.md)"
MANY_PARAMETERS = {
    "ednabed.api.engine.EmbeddingEngine.__init__": PUBLIC,
    "ednabed.api.manager.DataManager.search": PUBLIC,
    "ednabed.api.manager.DataManager.search_table": PUBLIC,
}


def long_functions(tree: ast.AST, module: str) -> list[str]:
    """Functions with too many lines, from ``def`` to the end, without decorators."""
    return [name for name, node in functions(tree, module) if (node.end_lineno or 0) - node.lineno + 1 > MAX_LINES]


def many_parameters(tree: ast.AST, module: str) -> list[str]:
    """Functions with too many parameters; ``self`` and ``cls`` do not count, nor do commands."""
    found = []
    for name, node in functions(tree, module):
        given = node.args
        parameters = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        parameters += [one.arg for one in (given.vararg, given.kwarg) if one is not None]
        if len(parameters) - (parameters[:1] in (["self"], ["cls"])) > MAX_PARAMETERS and not is_command(node):
            found.append(name)
    return found


def test_functions_are_short():
    found = [name for module, tree in trees().items() for name in long_functions(tree, module)]
    assert not found


def test_functions_have_few_parameters():
    found = [name for module, tree in trees().items() for name in many_parameters(tree, module)]
    check_exceptions(found, MANY_PARAMETERS)


def test_modules_are_short():
    lines = {module: max((node.end_lineno or 0 for node in tree.body), default=0) for module, tree in trees().items()}
    assert not [module for module, count in lines.items() if count > MAX_MODULE_LINES]


def test_a_planted_long_function_is_found():
    body = "\n".join("        x = 1" for _ in range(MAX_LINES))
    assert long_functions(ast.parse(f"class A:\n    def f(self):\n{body}"), "m") == ["m.A.f"]
    assert long_functions(ast.parse(f"def g():\n    def f():\n{body}"), "m") == ["m.g", "m.g.f"]
    blank = "\n" * MAX_LINES
    assert long_functions(ast.parse(f"@c({blank})\ndef f(): pass\ndef g(): pass{blank}x = 1"), "m") == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def f(a, b, c, d, e, *, f, g, h, i): pass", ["m.f"]),
        ("def f(a, b, c, d, e, f, g, *h, **i): pass", ["m.f"]),
        ("class A:\n    def f(self, a, b, c, d, e, f, g, h): pass", []),
        ("class A:\n    def f(self, a, b, c, d, e, f, g, h, i): pass", ["m.A.f"]),
        ("@cli.command()\n@option\ndef f(a, b, c, d, e, f, g, h, i): pass", []),
        ("@command_of\ndef f(a, b, c, d, e, f, g, h, i): pass", ["m.f"]),
    ],
)  # fmt: skip
def test_planted_parameters_are_found(text, found):
    assert many_parameters(ast.parse(text), "m") == found


# -- imports inside functions ------------------------------------------------------------------------------------------

EXTRA = "may be absent: it comes with an extra, or is imported by modules of an extra"
HEAVY = "takes long to import, and is needed by few calls"
COMPILED = "is compiled by numba, which takes long to import and may be absent"
FIRST_USE = "is loaded when it is first used, so that the command line starts quickly"
LAZY_PACKAGES = {
    **dict.fromkeys(("lancedb", "plotly", "starlette", "streamlit", "torch", "umap", "uvicorn"), EXTRA),
    "safetensors.torch": EXTRA,
    **dict.fromkeys(("biom", "faiss", "h5py", "huggingface_hub", "pyarrow", "scipy", "sklearn"), HEAVY),
    **dict.fromkeys(("filelock", "threadpoolctl", "tqdm"), HEAVY),
}
"""Packages that functions may import, and why; the parts of ``cli`` import everything in functions."""
LAZY_IMPORTS = {
    "ednabed imports ednabed.api": FIRST_USE,
    "ednabed.base.version imports importlib.metadata": FIRST_USE,
    "ednabed.base.version imports platform": FIRST_USE,
    "ednabed.dashboard.server imports ednabed.dashboard.connections": EXTRA,
    "ednabed.models.nucleotide_transformer.encoder imports ednabed.models.nucleotide_transformer.network": EXTRA,
    "ednabed.models.nucleotide_transformer.encoder imports ednabed.models.nucleotide_transformer.weights": EXTRA,
    "ednabed.search.divergence imports ednabed.search.diagonals_compiled": COMPILED,
    "ednabed.training.train imports ednabed.training.loop": EXTRA,
    "ednabed.training.train imports ednabed.training.networks": EXTRA,
}
"""Other imports inside functions, and why. A cycle is no reason: see the last test of this section."""


def imported(node: ast.AST) -> list[str]:
    """Modules that an import statement names; ``from ednabed import api`` names ``ednabed.api``."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module is not None:
        inner = [f"{node.module}.{alias.name}" for alias in node.names]
        return [name for name in inner if name in trees()] or [node.module]
    return []


def imports_in_functions(tree: ast.AST, module: str) -> list[str]:
    """``MODULE imports OTHER`` for every import inside a function that no package in the list allows."""
    names = {name for _, function in functions(tree, module) for node in ast.walk(function) for name in imported(node)}
    return [
        f"{module} imports {name}"
        for name in sorted(names)
        if not any(name == lazy or name.startswith(f"{lazy}.") for lazy in LAZY_PACKAGES)
    ]


def closure(module: str) -> set[str]:
    """All modules of ours that are imported when a module is imported."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        tree = trees()[waiting.pop()]
        for node in tree.body:
            for name in imported(node):
                if name in trees() and name not in found:
                    found.add(name)
                    waiting.append(name)
    return found


def test_imports_are_at_the_top():
    found = [
        one
        for module, tree in trees().items()
        if not module.startswith("ednabed.cli") and module != "ednabed.__main__"
        for one in imports_in_functions(tree, module)
    ]
    check_exceptions(found, LAZY_IMPORTS)


def test_a_cycle_is_no_reason():
    for one in LAZY_IMPORTS:
        module, _, other = one.partition(" imports ")
        if module != "ednabed" and {module, other} <= set(trees()):
            assert module not in closure(other), one


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def f():\n    from ednabed.store.runs import Run", ["m imports ednabed.store.runs"]),
        ("class A:\n    def f(self):\n        if 1:\n            import json", ["m imports json"]),
        ("def f():\n    from ednabed.store import runs", ["m imports ednabed.store.runs"]),
        ("def f():\n    import torch.nn\n    from sklearn.cluster import HDBSCAN", []),
        ("def f():\n    import torchlike", ["m imports torchlike"]),
        ("import json\nif TYPE_CHECKING:\n    import os", []),
    ],
)
def test_planted_imports_in_functions_are_found(text, found):
    assert imports_in_functions(ast.parse(text), "m") == found


# -- names -------------------------------------------------------------------------------------------------------------


def public_names(tree: ast.Module, module: str) -> list[str]:
    """Names of public classes and functions at the level of a module, except commands, and ``show`` of a view."""
    found = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            is_view = node.name == "show" and module.startswith("ednabed.dashboard.views.")
            if not is_view and not is_command(node):
                found.append(node.name)
    return found


def same_names(modules: Mapping[str, ast.Module]) -> dict[str, list[str]]:
    """Name to modules, for every name that several modules define."""
    found: dict[str, list[str]] = defaultdict(list)
    for module, tree in modules.items():
        for name in public_names(tree, module):
            found[name].append(module)
    return {name: where for name, where in found.items() if len(where) > 1}


def test_a_public_name_is_defined_once():
    assert not same_names(trees())


def test_a_planted_second_name_is_found():
    one = "class Source: pass\ndef show(): pass\ndef _f(): pass\n@click.command()\ndef run(): pass"
    other = "def Source(): pass\ndef show(): pass\ndef _f(): pass\ndef run(): pass\nx = 1"
    modules = {"ednabed.a": ast.parse(one), "ednabed.dashboard.views.b": ast.parse(other)}
    assert same_names(modules) == {"Source": ["ednabed.a", "ednabed.dashboard.views.b"]}


# -- errors ------------------------------------------------------------------------------------------------------------


@cache
def errors() -> dict[str, set[str]]:
    """Every exception based on ``EdnabedError``, and the names of its bases, its own among them."""
    found = {"EdnabedError": {"EdnabedError"}}
    classes = [node for tree in trees().values() for node in tree.body if isinstance(node, ast.ClassDef)]
    while True:
        new = [(one.name, ast.unparse(base)) for one in classes for base in one.bases if one.name not in found]
        more = {name: {name, *found[base]} for name, base in new if base in found}
        if not more:
            return found
        found |= more


def raised(node: ast.AST, caught: Collection[str] = ()) -> set[str]:
    """Our exceptions that a function raises itself, except those that it catches."""
    found = set()
    if isinstance(node, ast.Raise) and node.exc is not None:
        name = ast.unparse(node.exc.func if isinstance(node.exc, ast.Call) else node.exc).rpartition(".")[2]
        found |= {name} & set(errors()) - set(caught)
    inside: Collection[str] = ()
    if isinstance(node, ast.Try):
        types = [ast.unparse(one.type) for one in node.handlers if one.type is not None]
        handled = set(re.findall(r"\w+", " ".join(types)))
        inside = {name for name, bases in errors().items() if bases & handled}
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            in_try = isinstance(node, ast.Try) and child in node.body
            found |= raised(child, {*caught, *inside} if in_try else caught)
    return found


def undocumented(tree: ast.Module, module: str) -> list[str]:
    """``FUNCTION raises ERROR`` for public functions whose docstring does not say so, or for ``__init__`` its class's.

    It may say so under "Raises:" or in a sentence, and may name a base of the exception.
    """
    found: list[str] = []

    def visit(body: list[ast.stmt], scope: str, class_doc: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                visit(node.body, f"{scope}.{node.name}", ast.get_docstring(node) or "")
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not is_command(node):
                if node.name.startswith("_") and node.name != "__init__":
                    continue
                doc = (ast.get_docstring(node) or "") + (class_doc if node.name == "__init__" else "")
                if doc.startswith("See ``"):
                    continue
                known = re.findall(r"\w+", doc) if re.search(r"\braises?\b", doc, re.IGNORECASE) else []
                lacking = [name for name in sorted(raised(node)) if not errors()[name] & set(known)]
                found.extend(f"{scope}.{node.name} raises {name}" for name in lacking)

    visit(tree.body, module, "")
    return found


def test_errors_are_documented():
    assert not [one for module, tree in trees().items() for one in undocumented(tree, module)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('def f():\n    """Do."""\n    raise StoreError("x")', ["m.f raises StoreError"]),
        ('def f():\n    """Do. Raises A."""\n    if 1:\n        raise errors.StoreError', ["m.f raises StoreError"]),
        ('class A:\n  """It.\n\n  Raises:\n    StoreError: x\n  """\n  def __init__(self):\n    raise StoreError', []),
        ('class A:\n    def f(self):\n        """Do."""\n        raise InputError', ["m.A.f raises InputError"]),
        ('def f():\n  """Do."""\n  try:\n    raise StoreError\n  except (EdnabedError, OSError):\n    pass', []),
        ('def f():\n  """Do."""\n  try:\n    g()\n  except OSError:\n    raise StoreError', ["m.f raises StoreError"]),
        ('def f():\n    """Do. Raise StoreError if not."""\n    raise StoreError', []),
        ('def _f():\n    raise StoreError\ndef g():\n    """Do."""\n    raise ValueError', []),
        ('def g():\n    """Do."""\n    raise UndecidedCounts', ["m.g raises UndecidedCounts"]),
        ('def g():\n    """Do. Raises InputError."""\n    raise UndecidedCounts', []),
    ],
)  # fmt: skip
def test_planted_errors_without_documentation_are_found(text, found):
    assert undocumented(ast.parse(text), "m") == found


# -- tests -------------------------------------------------------------------------------------------------------------

TESTED_THROUGH = {
    "api/test_engine_facade.py": "api.given",
    "cli": "cli",
    "cli/test_defaults_cli.py": "store.defaults",
    "cli/test_discover_cli.py": "taxonomy.discover workflows.discover",
    "cli/test_embed_counts_cli.py": "store.count_inputs",
    "cli/test_evaluate_cli.py": "evaluate.unseen",
    "cli/test_kept_cli.py": "export.missing workflows.identify_runs",
    "cli/test_main_cli.py": "__main__",
    "cli/test_reference_cli.py": "workflows.verify",
    "cli/test_runs_cli.py": "workflows.inventory",
    "cli/test_runs_remove_cli.py": "workflows.dependents",
    "cli/test_taxon_ids_cli.py": "taxonomy.bins",
    "dashboard/test_pages.py": "dashboard",
    "evaluate/test_accuracy.py": "evaluate.markdown evaluate.report_mixture",
    "evaluate/test_compare_versions.py": "evaluate.holdings evaluate.version_comparison",
    "export/test_exchange.py": "export.event_terms export.krona export.mdt export.qza export.sample_terms",
    "export/test_exports.py": "export.dwc export.fasta export.features export.h5ad_samples export.qiime2"
    " export.record_parquet export.record_tsv export.report export.training_sets",
    "models/test_hub.py": "models.hub_errors",
    "models/test_nt_encoder.py": "models.nucleotide_transformer.packing",
    "search/test_output.py": "search.text_writer",
    "search/test_where.py": "search.where_arrow search.where_sql search.where_tree search.where_types",
    "sequences/test_counts.py": "sequences.counts",
    "sequences/test_counts_forms.py": "sequences.artifact sequences.headerless",
    "sequences/test_dwca.py": "sequences.dwca sequences.zip_members",
    "sequences/test_lineage_forms.py": "sequences.lineage_forms sequences.taxon_names",
    "sequences/test_readers.py": "sequences.parquet sequences.sniffing sequences.stream",
    "sequences/test_tables.py": "sequences.numbers sequences.tables",
    "store/test_versions.py": "store.version_runs",
    "tables/test_fill.py": "tables.journals",
    "taxonomy/test_classify.py": "taxonomy.findings taxonomy.study",
    "taxonomy/test_draws.py": "taxonomy.regions",
    "test_kept_formats.py": "store.assignments_old",
    "test_seams.py": "base.parquet_files base.stored_json",
    "training/test_train.py": "training.networks",
}
"""Test file or folder to the modules and packages that it tests through others: a reader, a writer or a command that it
calls."""


def named_by_tests(texts: Collection[str]) -> set[str]:
    """Modules that tests import, or name in a text."""
    found = set()
    for text in texts:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= set(re.findall(r"ednabed(?:\.\w+)+", node.value))
            else:
                found |= set(imported(node))
    return found


def untested(modules: Collection[str], texts: Collection[str]) -> set[str]:
    """Modules that no test imports or names, neither themselves nor something in them."""
    named = named_by_tests(texts)
    return {one for one in modules if not any(name == one or name.startswith(f"{one}.") for name in named)}


def test_every_module_is_tested():
    here = Path(__file__).resolve()
    texts = [path.read_text(encoding="utf-8") for path in TESTS.rglob("*.py") if path.resolve() != here]
    known = [f"ednabed.{one}" for modules in TESTED_THROUGH.values() for one in modules.split()]
    without = untested(trees(), texts)
    through = {module: [one for one in known if f"{module}.".startswith(f"{one}.")] for module in without}
    assert not [module for module, found in through.items() if not found], "write a test that imports this module"
    assert not set(known) - {one for found in through.values() for one in found}, "remove what is tested directly"
    assert not [path for path in TESTED_THROUGH if not (TESTS / path).exists()]


def test_a_planted_module_without_a_test_is_found():
    modules = ["ednabed.a", "ednabed.a.b", "ednabed.c", "ednabed.d"]
    assert untested(modules, ["from ednabed.a.b import f", "monkeypatch.setattr('ednabed.c.x', 1)"]) == {"ednabed.d"}
    assert untested(modules, ["import ednabed.a\n# ednabed.c"]) == {"ednabed.a.b", "ednabed.c", "ednabed.d"}
