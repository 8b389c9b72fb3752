"""The checks before the page is served."""

from __future__ import annotations

import importlib.util
import socket

import pytest

from ednabed.dashboard import server
from ednabed.dashboard.gate import MIN_TOKEN_LENGTH
from ednabed.dashboard.server import check_access, check_installed, serve
from ednabed.dashboard.settings import Settings
from ednabed.errors import StoreError, UsageError

TOKEN = "a-long-token-of-ours"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
@pytest.mark.parametrize("token", [None, TOKEN, "x" * MIN_TOKEN_LENGTH])
def test_this_machine_needs_no_token(host, token):
    check_access(host, token)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "lab.example.org", ""])
def test_other_machines_need_one(host):
    with pytest.raises(
        UsageError,
        match=r"`host` .*reachable from other machines; give `token` too.*ssh -L 8501:127\.0\.0\.1",
    ):
        check_access(host, None)
    check_access(host, TOKEN)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("token", ["", "short", " " * 30, f"  {'x' * (MIN_TOKEN_LENGTH - 1)}  "])
def test_an_invalid_token(host, token):
    message = rf"the token has {len(token.strip())} characters, expected at least 12; .*secrets"
    with pytest.raises(UsageError, match=message):
        check_access(host, token)


@pytest.mark.parametrize("absent", [("streamlit",), ("plotly",), ("streamlit", "plotly")])
def test_a_package_that_is_not_installed(monkeypatch, tmp_path, absent):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in absent else object())
    message = (
        rf'the dashboard needs {" and ".join(absent)}, not installed here; run: pip install "ednabed\[dashboard\]"'
    )
    with pytest.raises(UsageError, match=message):
        check_installed()
    with pytest.raises(UsageError, match=message):
        serve(Settings(tmp_path))


@pytest.fixture
def installed(monkeypatch):
    """All packages appear installed, and Streamlit is not configured."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(server, "_configure", lambda settings: None)


def test_a_workspace_that_is_not_a_folder(installed, tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("absent", "file"):
        with pytest.raises(StoreError, match=rf"{name} is not a folder; give an existing one as `workspace`"):
            serve(Settings(tmp_path / name), port=0)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_that_is_taken(installed, tmp_path, host):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as other:
        try:
            other.bind((host, 0))
        except OSError:
            pytest.skip(f"this machine has no {host}")
        other.listen()
        port = other.getsockname()[1]
        message = rf"port {port} of {host} is not available \(.*\), perhaps another page uses it; give another `port`"
        with pytest.raises(StoreError, match=message):
            serve(Settings(tmp_path), host, port, ready=lambda address: pytest.fail("is ready"))


@pytest.mark.parametrize("host", ["192.0.2.1", "name.invalid", "a..b", "ü..b", "ü" * 70, "a\x00b", "[::1]"])
def test_an_address_that_is_not_available(installed, tmp_path, host):
    with pytest.raises(StoreError, match="is not available"):
        serve(Settings(tmp_path), host, 0, token=TOKEN, ready=lambda address: pytest.fail("is ready"))


def test_nothing_is_bound_without_a_valid_token(installed, monkeypatch, tmp_path):
    monkeypatch.setattr(server, "_bind", lambda *_: pytest.fail("is bound"))
    with pytest.raises(UsageError):
        serve(Settings(tmp_path), "0.0.0.0", 0)
    with pytest.raises(UsageError):
        serve(Settings(tmp_path), "127.0.0.1", 0, token="short")
