"""Text from users on a page: shown literally, and harmless as file names on every system."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ednabed.base.files import check_name
from ednabed.base.text import clean
from ednabed.dashboard.texts import cell, file_name, literal, message, time_text

# Any text that Python can hold, including lone surrogates.
anything = st.text(st.characters(), max_size=30)
MARKDOWN = [
    "*a*", "**a**", "_a_", "__a__", "`a`", "```a```", "~~a~~", "# a", "## a", "- a", "+ a", "* a", "1. a", "1) a",
    "> a", "[a](http://x.org)", "![a](x.png)", "<b>a</b>", "<script>alert(1)</script>", "&lt;b&gt;", "&#60;", "a|b",
    ":red[a]", ":material/home:", ":smile:", "$x^2$", "$$x$$", "a\\", "\\*a", "---", "***", "a\n\nb", "a  \nb", "\ta",
    "http://x.org", "<http://x.org>", "a@b.org", "a^2^", "==a==", "[^1]", "[x]: y", "{a}", "a -> b", "''a''", "a/b",
    "| a | b |\n|---|---|\n| 1 | 2 |", "Salmo_trutta_x", "=1+1", "S;1", "\u202eabc", "\x1b[2J", "~a~", "a\u2028b",
]  # fmt: skip


# -- literal -----------------------------------------------------------------------------------------------------------


@given(anything | st.sampled_from(MARKDOWN))
def test_every_mark_is_escaped_and_no_character_is_lost(text):
    found = literal(text)
    found.encode()
    assert len(found.splitlines()) <= 1
    found = found.replace("\u2060", "") if "\u2060" not in text else found
    # A backslash before a mark of ASCII stands for the mark (CommonMark, 2.4); no other is there.
    assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", found).replace("\u2060", "") == clean(text).replace("\u2060", "")
    bare = re.sub(r"\\[!-/:-@\[-`{-~]", "", found)
    assert not set(bare) & set("\\`*_{}[]()#+-.!|<>~$:&@^=\"'/")


class Shown(HTMLParser):
    """Extracts the text and the tags from HTML."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


@given(anything | st.sampled_from(MARKDOWN), st.sampled_from(["", "a ", "1. "]))
def test_a_reader_of_markdown_shows_the_text_and_nothing_else(text, before):
    module = pytest.importorskip("markdown_it")
    reader = module.MarkdownIt("commonmark").enable(["table", "strikethrough"])
    shown = Shown()
    # The page strips white space at the ends; between words, one blank is as good as many.
    shown.feed(reader.render(before.replace(".", "\\.") + literal(text.strip()).strip()))
    assert set(shown.tags) <= {"p"}
    assert shown.text.replace("\u2060", "").split() == (before + clean(text.strip())).split()


def test_parameters_in_a_message_lose_their_backticks():
    assert message("give another `output`, or set `resume=False`") == literal(
        "give another output, or set resume=False"
    )
    assert message("'a `b c` d'") == literal("'a `b c` d'")


# -- cells -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [(None, ""), ("", ""), ("Salmo", "Salmo"), ("=1+1", "'=1+1"), ("@x", "'@x"), ("-5", "-5"), ("a\tb\nc", "a b c"),
     ("-", "-"), ("<b>", "<b>")],
)  # fmt: skip
def test_cells(text, shown):
    assert cell(text) == shown


@given(anything)
def test_cells_are_one_line_and_begin_no_formula(text):
    shown = cell(text)
    shown.encode()
    assert len(shown.splitlines()) <= 1
    assert shown in (clean(text), f"'{clean(text)}")
    assert len(shown.strip()) == 1 or shown.strip()[:1] not in ("=", "@", "＝", "＠")


# -- names of files ----------------------------------------------------------------------------------------------------

NASTY = [
    "", ".", "..", "../../etc/passwd", "..\\..\\x", "C:\\x.fa", "C:x", "/", "\\", "a/b", "CON", "nul.fasta", "COM1",
    "a\x00b",
    "x" * 500 + ".fasta", "a.fasta ", "a.", "-rf", "--output", "~", "$HOME", "`id`", "a;b", "a b", "é.fa", "\ud800",
    "a:b", "a:stream", "x?.fa", "*", "<b>", "\u202egpj.fa", "a\nb", "_", "___", "....", "％", "a%2fb", "1_x",
    "desktop.ini",
]  # fmt: skip


@given(anything | st.sampled_from(NASTY), st.integers(0, 10_000))
@example("x-" + "y" * 79, 3)
def test_an_upload_has_a_single_safe_name(name, number):
    found = file_name(name, number)
    # The rule for all names in a workspace: one folder or file on every system, no device.
    assert check_name("upload", found) == found
    assert found.startswith(f"{number}_") and len(found) > len(f"{number}_")
    assert Path(found).name == found == PureWindowsPath(found).name
    folder = Path("/uploads").resolve()
    assert (folder / found).resolve().parent == folder
    assert found[len(f"{number}_")] not in "-._"


@given(anything, anything, st.integers(0, 999), st.integers(0, 999))
@example("1_x", "x", 1, 11)
@example("X", "x", 1, 2)
def test_two_uploads_never_have_one_name(one, other, first, second):
    # Also on systems that ignore case in file names.
    same = file_name(one, first).lower() == file_name(other, second).lower()
    assert not same or first == second


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("reads.fasta.gz", "7_reads.fasta.gz"), ("Meine Proben (2).csv", "7_Meine_Proben_2_.csv"),
        ("C:\\Users\\x\\a.fa", "7_a.fa"), ("../../a.fa", "7_a.fa"), ("", "7_upload"), ("...", "7_upload"),
        ("北.fa", "7_fa"), ("CON", "7_CON"), ("x" * 200 + ".fasta", "7_" + "x" * 74 + ".fasta"),
    ],
)  # fmt: skip
def test_the_safe_part_of_a_name_is_kept(name, kept):
    assert file_name(name, 7) == kept


# -- sizes and times ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (3599.7, "1 h 0 min"),
     (7800, "2 h 10 min"), (10**6, "277 h 46 min")],
)  # fmt: skip
def test_times(seconds, text):
    assert time_text(seconds) == text
