"""The main job uses nothing that Windows and macOS lack, and needs neither Triton nor FlashAttention.

Two checks. The sources are read for modules and names that only POSIX has. And the main job runs in a process in which
the POSIX-only modules cannot be imported by our code, and Triton and FlashAttention by no code at all. Other people's
code (the standard library, filelock, torch) may import POSIX modules: it guards such imports itself and has its own way
on Windows, which taking modules away here would not show.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "examples" / "okex2301_12s.fasta.gz"
POSIX_MODULES = {
    "fcntl", "pwd", "grp", "resource", "termios", "tty", "pty", "syslog", "posix", "readline", "curses", "crypt",
    "spwd", "nis",
}  # fmt: skip
ABSENT = {"triton", "flash_attn"}
POSIX_NAMES = {
    "os": {
        "fork", "forkpty", "getuid", "geteuid", "getgid", "getegid", "getpgid", "setsid", "killpg", "chown",
        "fchown", "mkfifo",
        "sched_getaffinity", "sched_setaffinity", "statvfs", "uname", "nice", "sysconf", "wait",
        "openpty", "posix_fallocate",
        "posix_fadvise", "pread", "pwrite", "sendfile", "getloadavg", "O_DIRECTORY",
    },
    "signal": {"SIGKILL", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGPIPE", "alarm", "setitimer", "pause"},
    "time": {"clock_settime", "tzset"},
}  # fmt: skip
SOURCES = sorted((ROOT / "src" / "ednabed").rglob("*.py"))


def not_portable(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            if node.module in POSIX_NAMES:
                found += [alias.name for alias in node.names if alias.name in POSIX_NAMES[node.module]]
        else:
            names = []
        found += [name for name in names if name.split(".")[0] in POSIX_MODULES | ABSENT]
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in POSIX_NAMES.get(node.value.id, ()):
                found.append(f"{node.value.id}.{node.attr}")
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value.startswith(("/tmp", "/dev/", "/proc"))
        ):
            found.append(node.value)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=[str(p.relative_to(ROOT / "src" / "ednabed")) for p in SOURCES])
def test_sources_use_nothing_that_only_posix_has(path):
    assert not_portable(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    ["import fcntl", "def f():\n    from resource import getrlimit", "import os\nos.fork()",
     "from signal import SIGKILL", "import triton.language", "x = '/tmp/x'", "import signal\nsignal.SIGALRM"],
)  # fmt: skip
def test_what_is_planted_is_found(source):
    assert len(not_portable(source)) == 1


def test_text_files_are_opened_with_their_encoding():
    """Without one, Windows reads and writes another encoding."""
    faults = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            has_encoding = any(keyword.arg == "encoding" for keyword in node.keywords)
            # Path.open(mode) and open(path, mode)
            first = 1 if isinstance(node.func, ast.Name) else 0
            modes = [a.value for a in node.args[first : first + 1] if isinstance(a, ast.Constant)]
            modes += [k.value.value for k in node.keywords if k.arg == "mode" and isinstance(k.value, ast.Constant)]
            is_text = (
                name == "open"
                and bool(modes)
                and isinstance(modes[0], str)
                and "b" not in modes[0]
                and len(modes[0]) < 4
            )
            if (name in ("read_text", "write_text") or is_text) and not has_encoding:
                faults.append(f"{path.name}, line {node.lineno}: {ast.unparse(node)}")
    assert faults == []


BARE = f"""
import builtins, importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {sorted(ABSENT)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
real = builtins.__import__

def guarded(name, globals=None, locals=None, fromlist=(), level=0):
    asks = (globals or {{}}).get("__name__", "")
    if level == 0 and asks.split(".")[0] == "ednabed" and name.split(".")[0] in {sorted(POSIX_MODULES)!r}:
        raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
    return real(name, globals, locals, fromlist, level)

builtins.__import__ = guarded
"""


def run_bare(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BARE + code],
        cwd=folder,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNDEFAULTENCODING": "0"},
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_guard_guards(tmp_path):
    code = """
for name in ("triton", "flash_attn", "triton.language"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        pass
    else:
        raise AssertionError(name)
try:
    exec("import fcntl", {"__name__": "ednabed.base.files", "__builtins__": builtins})
except ModuleNotFoundError:
    print("guarded")
exec("import tempfile, filelock", {"__name__": "other", "__builtins__": builtins})
"""
    assert run_bare(code, tmp_path) == "guarded\n"


def embed_bare(folder: Path, model: str) -> dict:
    arguments = ["embed", str(SAMPLE), "--output", "out", "--model", model, "--cpu", "--json"]
    out = run_bare(f"from ednabed.cli.main import main\nmain({arguments!r})", folder)
    assert (
        run_bare("from ednabed.cli.main import main\nmain(['runs', 'verify', 'out'])", folder)
        .strip()
        .endswith(": sound")
    )
    return json.loads(out)


@pytest.mark.parametrize("model", ["barcode-1", "kmer6"])
def test_the_sample_with_a_model_that_needs_no_framework(tmp_path, model):
    told = embed_bare(tmp_path, model)
    assert told["model"] == model
    assert told["counts"]["embedded"] == told["counts"]["read"] == 234
    assert told["dimension"] == 512


def test_the_sample_with_a_network(tmp_path, shared):
    folder = shared / "golden" / "nt_tiny" / "v2"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    told = embed_bare(tmp_path, str(folder))
    assert told["counts"]["embedded"] == 234
    assert told["compute"][0]["device"] == "cpu"
