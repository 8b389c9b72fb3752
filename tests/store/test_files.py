"""Atomic files, checksums, names that cannot lead out of a folder, and the lock."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.errors import StoreError, UsageError
from ednabed.store.files import check_name, exclusive, sha256_file, to_json, whole_file, write_atomic


def test_checksum(tmp_path):
    path = tmp_path / "x"
    for data in (b"", b"a", bytes(range(256)) * 10_000):
        path.write_bytes(data)
        assert sha256_file(path) == hashlib.sha256(data).hexdigest()


def test_atomic_text_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "deep" / "er" / "x.json"
    write_atomic(path, "old\n")
    write_atomic(path, "neu: ä\nβ\n")
    assert path.read_bytes() == "neu: ä\nβ\n".encode()
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]


def test_a_write_that_fails_leaves_the_old_text(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_atomic(path, "old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "new")
    assert path.read_text() == "old"


@pytest.mark.parametrize("times", [3, 1000])
def test_a_file_that_is_being_read_is_replaced_a_little_later(tmp_path, monkeypatch, times):
    """Windows cannot replace a file that another process has open."""
    path = tmp_path / "x.bin"
    path.write_bytes(b"old")
    real, tries = Path.replace, []

    def replace(self, target):
        tries.append(self)
        if len(tries) <= times:
            raise PermissionError(13, "in use", str(target))
        return real(self, target)

    def write():
        with whole_file(path) as work:
            work.write_bytes(b"new")

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    if times == 3:
        write()
    else:
        with pytest.raises(PermissionError, match="in use"):
            write()
    assert path.read_bytes() == (b"new" if times == 3 else b"old")
    assert [p.name for p in tmp_path.iterdir()] == ["x.bin"]


def test_json_has_one_form_and_no_nan():
    assert to_json({"b": 1, "a": ["é"]}) == '{\n  "b": 1,\n  "a": [\n    "é"\n  ]\n}\n'
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            to_json({"x": bad})


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


def test_the_lock_is_held_against_another_process_and_freed(tmp_path):
    lock = tmp_path / "work" / "lock"
    code = (
        "import sys\nfrom pathlib import Path\nfrom ednabed.store.files import exclusive\n"
        "with exclusive(Path(sys.argv[1]), 'testing'):\n    print('held')\n"
    )

    def other():
        return subprocess.run(
            [sys.executable, "-c", code, str(lock)], capture_output=True, text=True, timeout=60, check=False
        )

    with exclusive(lock, "testing"):
        done = other()
        assert done.returncode == 1
        assert "another process is testing; wait until it has finished" in done.stderr
        with pytest.raises(StoreError, match="another process is testing"), exclusive(lock, "testing"):
            pass
    assert other().stdout == "held\n"


def test_the_lock_is_freed_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), exclusive(tmp_path / "lock", "testing"):
            raise ZeroDivisionError
