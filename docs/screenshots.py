"""Take the pictures for ``dashboard.md``: the page with the samples of the project, as shown by a browser.

    python docs/screenshots.py

It has the requirements of the tests (``pip install -e ".[map,dashboard,export,test]"`` and Chromium), and takes a
minute.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from playwright.sync_api import Page, sync_playwright  # noqa: E402

from browser_support import EXAMPLES, SABLEFISH, Served, browser_path, choose, make_workspace, rest, unfold, upload  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"


def studies(page: Page) -> None:
    page.get_by_text("Add a study").wait_for()


def the_map(page: Page) -> None:
    choose(page, "Reference", "data/fish")
    page.get_by_role("button", name="Lay out the map").click()
    page.locator(".js-plotly-plot").wait_for()
    choose(page, "Colour by", "order")


def search(page: Page) -> None:
    page.get_by_label("Sequence", exact=True).fill(SABLEFISH)
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_text("Coast lines").wait_for()


def identify(page: Page) -> None:
    unfold(page, "Identify sequences")
    choose(page, "Reference", "data/fish")
    upload(page, "Sequence files", EXAMPLES / "okex2301_12s.fasta.gz")
    page.get_by_role("button", name="Identify", exact=True).click()
    page.get_by_role("tab", name="Samples").click()
    page.get_by_text("Rarefied: the exact expectation").wait_for()


def discover(page: Page) -> None:
    unfold(page, "Look for new taxa")
    page.get_by_text("a run of this workspace").click()
    rest(page)
    page.get_by_role("button", name="Discover", exact=True).click()
    page.locator("strong", has_text="novel_1").wait_for()


ACTS = {"studies": (studies, 1000), "map": (the_map, 1060), "search": (search, 1480), "identify": (identify, 1480),
        "discover": (discover, 1060)}  # fmt: skip


def main() -> None:
    path = browser_path()
    if path is None:
        raise SystemExit("no Chromium on this machine (Debian: apt-get install chromium; or set EDNABED_CHROMIUM)")
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as running:
        workspace = Path(folder) / "my_study"
        workspace.mkdir()
        served = Served(make_workspace(workspace))
        browser = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for name, (act, height) in ACTS.items():
            page = browser.new_page(viewport={"width": 1280, "height": height})
            page.set_default_timeout(120_000)
            page.goto(f"{served.address}/{'' if name == 'studies' else name}")
            page.wait_for_selector("h1")
            act(page)
            rest(page)
            page.wait_for_timeout(2_000)
            page.screenshot(path=PICTURES / f"{name}.png")
            page.close()
            print(f"{name}: {PICTURES / f'{name}.png'}")
        browser.close()
        served.close()


if __name__ == "__main__":
    main()
