"""``ednabed dashboard``: what it refuses, and the settings with which it serves."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from cli_support import call_in
from ednabed.dashboard import server
from ednabed.dashboard.settings import Settings

TOKEN = "a-long-token-of-ours"


@pytest.fixture(autouse=True)
def no_token(monkeypatch):
    monkeypatch.delenv("EDNABED_TOKEN", raising=False)


@pytest.fixture
def served(monkeypatch) -> list[tuple]:
    """What would be served, after the checks of access."""
    calls: list[tuple] = []

    def serve(settings, host, port, *, token=None, ready=None):
        server.check_access(host, token)
        calls.append((settings, host, port, token))
        ready("http://127.0.0.1:8501")

    monkeypatch.setattr(server, "serve", serve)
    return calls


def call(capsys, workspace, *arguments) -> tuple[int, str, str]:
    return call_in(capsys, workspace, "dashboard", "--no-browser", *arguments)


def test_what_is_served(capsys, tmp_path, served, monkeypatch):
    code, out, err = call(capsys, tmp_path)
    assert (code, out) == (0, f"dashboard of {tmp_path.resolve()}: http://127.0.0.1:8501\n")
    assert "Ctrl-C stops it" in err
    assert served == [(Settings(tmp_path.resolve(), 200), "127.0.0.1", 8501, None)]
    arguments = ("--host", "0.0.0.0", "--port", 0, "--token", TOKEN, "--max-upload", 7)
    assert call(capsys, tmp_path, *arguments)[0] == 0
    assert served[-1] == (Settings(tmp_path.resolve(), 7), "0.0.0.0", 0, TOKEN)
    monkeypatch.setenv("EDNABED_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)
    assert call(capsys, ".", "--host", "0.0.0.0")[0] == 0
    assert served[-1] == (Settings(tmp_path.resolve(), 200), "0.0.0.0", 8501, TOKEN)


def test_the_token_is_never_printed(capsys, tmp_path, served):
    _, out, err = call(capsys, tmp_path, "--token", TOKEN)
    assert TOKEN not in out + err
    _, out, err = call(capsys, tmp_path, "--token", "secret")
    assert "secret" not in (out + err).replace("import secrets; print(secrets.", "")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", ""])
def test_other_machines_need_a_token(capsys, tmp_path, host):
    code, out, err = call(capsys, tmp_path, "--host", host)
    assert (code, out) == (2, "")
    assert f"--host {host} makes the page reachable from other machines; give --token too" in err
    assert "Traceback" not in err and len(err.splitlines()) <= 2


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_short_token(capsys, tmp_path, monkeypatch, host):
    code, out, err = call(capsys, tmp_path, "--host", host, "--token", "short")
    assert (code, out) == (2, "")
    assert "the token has 5 characters, expected at least 12" in err
    monkeypatch.setenv("EDNABED_TOKEN", "short")
    assert call(capsys, tmp_path, "--host", host)[0] == 2


def test_a_missing_workspace(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(server, "check_installed", lambda: None)
    code, out, err = call(capsys, tmp_path / "absent")
    assert (code, out) == (1, "")
    assert f"{tmp_path / 'absent'} is not a folder; give an existing one as --workspace" in err
    assert not (tmp_path / "absent").exists()


def test_a_package_that_is_not_installed(capsys, tmp_path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *m: None if name == "streamlit" else real(name, *m))
    monkeypatch.setattr(server, "_NEEDED", ("streamlit",))
    code, out, err = call(capsys, Path(tmp_path))
    assert (code, out) == (2, "")
    assert 'the dashboard needs streamlit, not installed here; run: pip install "ednabed[dashboard]"' in err


@pytest.mark.parametrize("arguments", [("--port", "-1"), ("--port", "65536"), ("--port", "x"), ("--max-upload", "0"),
                                       ("--max-upload", "10001"), ("extra",)])  # fmt: skip
def test_impossible_options(capsys, tmp_path, served, arguments):
    code, _, err = call(capsys, tmp_path, *arguments)
    assert code == 2 and "Error" in err
    assert served == []
