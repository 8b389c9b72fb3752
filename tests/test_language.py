"""The language of the program: names that say what a thing is, and messages that a reader of English understands.

``docs/glossary.md`` has the terms. These tests read the source, without running it.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
FILES = sorted((SOURCE / "ednabed").rglob("*.py"))
PAGES = sorted({ROOT / "README.md", *(ROOT / "docs").glob("*.md")} - {ROOT / "docs" / "accuracy.md"})
"""Pages written by hand; ``accuracy.md`` is generated."""

Found = list[tuple[int, str]]
"""Line and text of each finding."""


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts)


class Source:
    """The names that a source text defines, and its strings.

    Attributes:
        text: The text.
        names: Line and qualified name of every function, class, parameter, variable and attribute where it is defined.
        docstrings: Line and text of docstrings, also of constants.
        strings: Line and text of all other strings; the values in an f-string are left as ``{}``.
    """

    def __init__(self, text: str, module: str) -> None:
        self.text = text
        self.names: Found = []
        self.docstrings: Found = []
        self.strings: Found = []
        self._read(ast.parse(text), module)

    def _read(self, node: ast.AST, scope: str) -> None:
        kind = type(node)
        if kind is ast.Constant:
            if isinstance(node.value, str):
                self.strings.append((node.lineno, node.value))
            return
        if kind is ast.Expr and isinstance(node.value, ast.Constant):
            if isinstance(node.value.value, str):
                self.docstrings.append((node.lineno, node.value.value))
            return
        name = _defined(node, kind)
        if name:
            self.names.append((getattr(node, "lineno", 0), f"{scope}.{name}"))
        if kind is ast.JoinedStr:
            parts = [str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values]
            self.strings.append((node.lineno, "".join(parts)))
        elif kind is ast.FunctionDef or kind is ast.AsyncFunctionDef or kind is ast.ClassDef:
            scope = f"{scope}.{node.name}"
        for value in node.__dict__.values():
            if type(value) is list:
                for child in value:
                    # The fixed parts of an f-string are in its text.
                    if isinstance(child, ast.AST) and not (kind is ast.JoinedStr and isinstance(child, ast.Constant)):
                        self._read(child, scope)
            elif isinstance(value, ast.AST):
                self._read(value, scope)


_NAME_FIELDS = {
    ast.FunctionDef: "name", ast.AsyncFunctionDef: "name", ast.ClassDef: "name", ast.arg: "arg", ast.alias: "asname",
    ast.ExceptHandler: "name", ast.MatchAs: "name", ast.MatchStar: "name", ast.MatchMapping: "rest",
}  # fmt: skip


def _defined(node: ast.AST, kind: type[ast.AST]) -> str | None:
    if kind is ast.Name:
        return node.id if isinstance(node.ctx, ast.Store) else None
    if kind is ast.Attribute:
        return node.attr if isinstance(node.ctx, ast.Store) else None
    field = _NAME_FIELDS.get(kind)
    return getattr(node, field) if field else None


@cache
def source_of(path: Path) -> Source:
    return Source(path.read_text(encoding="utf-8"), module_of(path))


def listed(found: dict[str, Found]) -> str:
    return "\n".join(f"{name}:{line}: {text}" for name, all_ in found.items() for line, text in all_)


# -- names -------------------------------------------------------------------------------------------------------------

BANNED_NAMES = frozenset(
    [
        "told",
        "tell",
        "wanted",
        "stands",
        "nobody",
        "anew",
        "own",
        "some",
        "near",
        "every",
        "of",
        "beside",
        "place",
        "places",
        "least",
        "most",
    ]
)
"""Words that do not say what the thing is; a leading underscore does not change that."""
STORED = "stored under this name in calibration.json"
ALLOWED_NAMES = {
    "ednabed.taxonomy.calibration_old.OldRankModel.least": STORED,
    "ednabed.taxonomy.calibration_old.OldRankModel.most": STORED,
    "ednabed.taxonomy.logistic.Logistic.least": STORED,
    "ednabed.taxonomy.logistic.Logistic.most": STORED,
    "ednabed.maps.sequence_map.SequenceMap.most": "stored under this name in the metadata of a map",
}
"""Qualified name to the reason why it may have a banned name."""


def banned_names(source: Source) -> Found:
    """Line and qualified name of every definition that has a banned name."""
    return [one for one in source.names if one[1].rpartition(".")[2].strip("_") in BANNED_NAMES]


def test_names_say_what_a_thing_is():
    found = {str(path): banned_names(source_of(path)) for path in FILES}
    new = {path: [one for one in all_ if one[1] not in ALLOWED_NAMES] for path, all_ in found.items()}
    assert not any(new.values()), listed(new)
    present = {name for all_ in found.values() for _, name in all_}
    assert present == set(ALLOWED_NAMES), "remove exceptions that no longer occur"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("def told(): pass", ["m.told"]),
        ("class A:\n    def f(self, wanted=None): self.most = 1", ["m.A.f.wanted", "m.A.f.most"]),
        ("class A:\n    least: int", ["m.A.least"]),
        ("def f(*, of): pass", ["m.f.of"]),
        ("x = [1 for place in y]", ["m.place"]),
        ("if (own := f()): pass", ["m.own"]),
        ("for _, (a, every) in x: pass", ["m.every"]),
        ("from a import b as near", ["m.near"]),
        ("try: pass\nexcept E as some: pass", ["m.some"]),
        ("match x:\n    case [*places]: pass\n    case {**anew}: pass\n    case A() as beside: pass",
         ["m.places", "m.anew", "m.beside"]),
        ("with x as _nobody: pass", ["m._nobody"]),
        ("lambda stands: 1", ["m.stands"]),
        ("async def tell(): pass", ["m.tell"]),
        ("file.tell()\nf(most=1)\nfrom a import most\nnearest = most_common = 'own'", []),
    ],
)  # fmt: skip
def test_banned_names_are_found(text, names):
    assert sorted(name for _, name in banned_names(Source(text, "m"))) == sorted(names)


# -- messages ----------------------------------------------------------------------------------------------------------

FLAG = re.compile(r"(?<![\w-])--[a-z]")
COMMAND = re.compile(r"'(?:ednabed|qiime) [^']*'")
"""A complete command in quotes."""
PROGRAM = "arguments of a program that is run"
ALLOWED_FLAGS = {
    "ednabed.evaluate.consensus": PROGRAM,
    "ednabed.evaluate.external": PROGRAM,
    "ednabed.evaluate.mmseqs": PROGRAM,
    "ednabed.evaluate.ednabed_method": "settings of a method that was measured, as the command that applies them",
    "ednabed.evaluate.tools": PROGRAM,
}
"""Module to the reason why its strings may contain options of a command line."""


def flags(source: Source) -> Found:
    """Messages with an option of a command line, such as ``--output``, outside a complete command."""
    return [(line, text) for line, text in source.strings if FLAG.search(COMMAND.sub("", text))]


def test_the_library_does_not_speak_in_options():
    """It names the parameter in backticks; ``cli.words`` turns this into the option of the command that is running."""
    paths = [path for path in FILES if path.relative_to(SOURCE).parts[1] not in ("cli", "dashboard")]
    found = {module_of(path): flags(source_of(path)) for path in paths}
    new = {name: all_ for name, all_ in found.items() if name not in ALLOWED_FLAGS}
    assert not any(new.values()), listed(new)
    assert {name for name, all_ in found.items() if all_} == set(ALLOWED_FLAGS), (
        "remove exceptions that no longer occur"
    )


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("f('choose another --output')", 1),
        ("f(f'{path} exists; ' f'give --output {x}')", 1),
        ("f(f'{g(\"--run\")}')", 1),
        ("f('--run, or `run`')", 1),
        ("f(\"run 'ednabed embed --run', or --run\")", 1),
        ('f(f"run \'ednabed embed --run {x} " f"--output DIR\' first")', 0),
        ("'''A docstring with --run.'''", 0),
        ("x = 1\n'''A docstring of a constant with --run.'''", 0),
        ("f('choose another `output`; 1--2; a -- b; ---')", 0),
    ],
)
def test_options_in_messages_are_found(text, count):
    assert len(flags(Source(text, "m"))) == count


# -- phrases -----------------------------------------------------------------------------------------------------------

PHRASES = {
    r"so (?:many|few)(?! (?:\S+ )?that\b)": "N, the given number",
    r"anew": "again",
    r"nobody knows": "unknown",
    r"lea(?:ve|ves|ving|ft) away": "omit",
    r"can(?:not| be| not be)? be had": "is (not) available",
    r"of no account": "does not matter",
    r"lies? against": "aligns to",
    r"(?:is|are) told": "is reported",
    r"stands? twice": "is duplicated",
    r"tell whether": "return whether",
    r"without a rest": "completely",
    r"what is like nothing": "no related sequence",
}
"""Phrases that read as if translated, and what to write instead."""
_PHRASE = re.compile(rf"\b(?:{'|'.join(PHRASES)})\b".replace(" ", r"\s+"), re.IGNORECASE)


def phrases(text: str, first_line: int = 1) -> Found:
    """Line and text of every banned phrase of a text; a line may end inside of a phrase."""
    return [(first_line + text.count("\n", 0, m.start()), m[0]) for m in _PHRASE.finditer(text)]


def comments(text: str) -> Iterator[tuple[int, str]]:
    """First line and text of every block of comments, one line of text per line of source."""
    block: list[str] = []
    first = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            if not block or token.start[0] != first + len(block):
                if block:
                    yield first, "\n".join(block)
                block, first = [], token.start[0]
            block.append(token.string.lstrip("# "))
    if block:
        yield first, "\n".join(block)


def phrases_of_source(source: Source) -> Found:
    """Banned phrases of strings, docstrings and comments."""
    found = [one for line, string in source.strings + source.docstrings for one in phrases(string, line)]
    # Splitting a file into tokens is slow, and few files have a phrase anywhere.
    if _PHRASE.search(re.sub(r"\n\s*#", "\n", source.text)):
        found += [one for line, comment in comments(source.text) for one in phrases(comment, line)]
    return found


def test_phrases_are_english():
    found = {str(path): phrases_of_source(source_of(path)) for path in FILES}
    found |= {str(path): phrases(path.read_text(encoding="utf-8")) for path in PAGES}
    assert not any(found.values()), listed(found)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("raise E('at least so many rows')", [(1, "so many")]),
        ("x = f'{a} so ' f'few rows'", [(1, "so few")]),
        ('def f():\n    """Compute.\n\n    The map is laid out anew.\n    """', [(4, "anew")]),
        ("# A marker\n# is\n# told.\nx = 1", [(2, "is\ntold")]),
        ("x = 1  # Nobody knows.", [(1, "Nobody knows")]),
        ("x = 'cannot be had' + 'of no account' + 'leave away'",
         [(1, "cannot be had"), (1, "of no account"), (1, "leave away")]),
        ("'''Tell whether it lies against the other.'''", [(1, "Tell whether"), (1, "lies against")]),
        ("anew = stands_twice = 'so many rows that it is slow, so few that it is fast'  # nobody; renewed", []),
    ],
)  # fmt: skip
def test_phrases_are_found(text, found):
    assert phrases_of_source(Source(text, "m")) == found


def test_phrases_of_a_page_are_found():
    assert phrases("# Title\n\nIf a marker is missing, this is\ntold. So few are not.\n") == [
        (3, "is\ntold"), (4, "So few"),
    ]  # fmt: skip
