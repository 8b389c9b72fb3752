"""A workspace that tests only copy, the page that serves a workspace, and a headless Chromium that visits it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser_support import SECONDS, Served, browser_path, make_workspace


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that tests only copy."""
    return make_workspace(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    """A browser; tests that need one are skipped if there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    pytest.importorskip("streamlit")
    path = browser_path()
    if path is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium; or set EDNABED_CHROMIUM)")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def served(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The page of a workspace for this module alone."""
    workspace = tmp_path_factory.mktemp("dash board") / "wörkspace"
    shutil.copytree(made, workspace)
    page = Served(workspace)
    yield page
    page.close()


@pytest.fixture
def visit(chromium, served, tmp_path):
    """A visitor: opens pages by their path, and checks that they request nothing from other hosts."""
    context = chromium.new_context(viewport={"width": 1400, "height": 1500}, accept_downloads=True)
    context.set_default_timeout(SECONDS * 1000)
    requested: list[str] = []
    context.on("request", lambda request: requested.append(request.url))

    def visit(path: str = "", address: str | None = None):
        page = context.new_page()
        page.goto(f"{address or served.address}/{path}")
        page.wait_for_selector("h1")
        return page

    yield visit
    foreign = [url for url in requested if url.startswith(("http", "ws")) and "127.0.0.1" not in url.split("/")[2]]
    context.close()
    assert foreign == [], "the page sent requests to other hosts"
