"""Checksums, sizes, and names that cannot lead out of a folder."""

from __future__ import annotations

import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.base.files import check_name, file_entry, file_fault, folder_bytes, sha256_file
from ednabed.errors import UsageError


def test_checksum(tmp_path):
    path = tmp_path / "x"
    for data in (b"", b"a", bytes(range(256)) * 10_000):
        path.write_bytes(data)
        assert sha256_file(path) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "name", ["lake_2026", "a", "A.b-c_d", "9", "2026-01-01_00-00-00", "x" * 100, "contig", "com", "com10"]
)
def test_good_names(name):
    assert check_name("dataset", name) == name


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "../x", "a/b", "a\\b", "/abs", "C:", "C:\\x", ".hidden", "-x", "_x", "a b", "a\n", "a\0", "é",
        "x" * 101, "con", "CON", "nul", "Nul.txt", "com1", "LPT9.tar.gz", "aux", "prn", "x.", "a:b", "a*",
        "~", "$HOME", "a\tb", "a.", "٣",
    ],
)  # fmt: skip
def test_bad_names_are_refused(name):
    with pytest.raises(UsageError, match="cannot be a folder on every system"):
        check_name("dataset", name)


@given(st.text(max_size=20))
def test_every_accepted_name_is_one_plain_folder(name):
    try:
        check_name("dataset", name)
    except UsageError:
        return
    assert name.isascii()
    assert not set(name) & set('/\\:*?"<>|\0 ')
    assert name not in (".", "..")
    assert not name.startswith(".")


def test_a_file_that_does_not_match_its_entry(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    entry = file_entry(path)
    assert entry == {"sha256": hashlib.sha256(b"abc").hexdigest(), "bytes": 3}
    assert file_fault(path, entry) is None
    path.write_bytes(b"abd")
    assert file_fault(path, entry) == "does not match its checksum"
    path.write_bytes(b"abcd")
    assert file_fault(path, entry) == "has 4 bytes, expected 3"
    path.unlink()
    assert file_fault(path, entry) == "is missing"


def test_the_size_of_a_folder_counts_a_linked_file_once(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "x").write_bytes(b"abc")
    (tmp_path / "y").write_bytes(b"ab")
    os.link(tmp_path / "y", tmp_path / "z")
    assert folder_bytes(tmp_path) == 5
    assert folder_bytes(tmp_path / "nowhere") == 0
