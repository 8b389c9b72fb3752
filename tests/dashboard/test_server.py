"""What is checked before the page is served."""

from __future__ import annotations

import importlib.util
import socket

import pytest

from ednabed.dashboard import server
from ednabed.dashboard.gate import SHORTEST_TOKEN
from ednabed.dashboard.server import check_installed, check_place, serve
from ednabed.dashboard.settings import Settings
from ednabed.errors import StoreError, UsageError

TOKEN = "a-long-token-of-ours"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
@pytest.mark.parametrize("token", [None, TOKEN, "x" * SHORTEST_TOKEN])
def test_this_machine_needs_no_token(host, token):
    check_place(host, token)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "lab.example.org", ""])
def test_other_machines_need_one(host):
    with pytest.raises(
        UsageError, match=r"--host .*lets other machines in; give --token too.*ssh -L 8501:127\.0\.0\.1"
    ):
        check_place(host, None)
    check_place(host, TOKEN)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("token", ["", "short", " " * 30, f"  {'x' * (SHORTEST_TOKEN - 1)}  "])
def test_a_token_that_is_none(host, token):
    with pytest.raises(UsageError, match=rf"the token has {len(token.strip())} letters, wanted at least 12; .*secrets"):
        check_place(host, token)


@pytest.mark.parametrize("absent", [("streamlit",), ("plotly",), ("streamlit", "plotly")])
def test_a_package_that_is_not_installed(monkeypatch, tmp_path, absent):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in absent else object())
    told = rf'the dashboard needs {" and ".join(absent)}, not installed here; run: pip install "ednabed\[dashboard\]"'
    with pytest.raises(UsageError, match=told):
        check_installed()
    with pytest.raises(UsageError, match=told):
        serve(Settings(tmp_path))


@pytest.fixture
def installed(monkeypatch):
    """All packages count as there, and nothing is told to them."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(server, "_configure", lambda settings: None)


def test_a_workspace_that_is_none(installed, tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("absent", "file"):
        with pytest.raises(StoreError, match=rf"{name} is not a folder; name one that is there by --workspace"):
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
        told = rf"port {port} of {host} cannot be had \(.*\), perhaps another page has it; give another with --port"
        with pytest.raises(StoreError, match=told):
            serve(Settings(tmp_path), host, port, ready=lambda address: pytest.fail("is ready"))


@pytest.mark.parametrize("host", ["192.0.2.1", "name.invalid", "a..b", "ü..b", "ü" * 70, "a\x00b", "[::1]"])
def test_an_address_that_cannot_be_had(installed, tmp_path, host):
    with pytest.raises(StoreError, match="cannot be had"):
        serve(Settings(tmp_path), host, 0, token=TOKEN, ready=lambda address: pytest.fail("is ready"))


def test_nothing_is_bound_where_the_token_is_lacking(installed, monkeypatch, tmp_path):
    monkeypatch.setattr(server, "_bind", lambda *_: pytest.fail("is bound"))
    with pytest.raises(UsageError):
        serve(Settings(tmp_path), "0.0.0.0", 0)
    with pytest.raises(UsageError):
        serve(Settings(tmp_path), "127.0.0.1", 0, token="short")
