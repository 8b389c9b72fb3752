"""Loading time of the dashboard: the first page of a workspace with 100,000 records, and a map of 50,000 points.

    python benchmarks/bench_dashboard.py [WORKSPACE]

WORKSPACE contains a reference and its map; without it, one is built from the shared COI barcodes (about five minutes).
A browser with an empty cache opens each address three times. The printed time ends when everything requested is drawn;
the time for an empty workspace shows what the browser and Streamlit take by themselves.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from playwright.sync_api import Browser, sync_playwright  # noqa: E402

from browser_support import Served, browser_path  # noqa: E402

COI = Path(os.environ.get("EDNABED_SHARED", ROOT.parent / "shared")) / "data" / "coi.tsv.gz"
TABLES = (
    "() => [...document.querySelectorAll('canvas')].length >= 2 && document.querySelectorAll('[role=gridcell]').length"
)
MAP = "() => { const g = document.querySelector('.js-plotly-plot'); return g?._fullData && g.querySelector('canvas') }"


def build_workspace(folder: Path) -> Path:
    for arguments in (["embed", str(COI), "--dataset", "coi"], ["consolidate", "--no-calibrate"], ["reference", "map"]):
        subprocess.run([sys.executable, "-m", "ednabed", "--workspace", str(folder), *arguments], check=True)
    return folder


def times(browser: Browser, address: str, drawn: str) -> list[float]:
    found = []
    for _ in range(3):
        context = browser.new_context(viewport={"width": 1400, "height": 1300})
        page = context.new_page()
        page.set_default_timeout(120_000)
        started = time.monotonic()
        page.goto(address)
        page.wait_for_selector("h1")
        page.wait_for_function(drawn)
        found.append(time.monotonic() - started)
        context.close()
    return found


def main() -> None:
    path = browser_path()
    if path is None:
        raise SystemExit("no Chromium on this machine; set EDNABED_CHROMIUM")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as running:
        workspace = Path(sys.argv[1]) if len(sys.argv) > 1 else build_workspace(Path(folder))
        (Path(folder) / "empty").mkdir()
        browser = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for name, served_folder, address, drawn in (
            ("first page, empty workspace", Path(folder) / "empty", "", "() => true"),
            ("first page", workspace, "", TABLES),
            ("map", workspace, "map", MAP),
        ):
            served = Served(served_folder.resolve())
            seconds = times(browser, f"{served.address}/{address}", drawn)
            served.close()
            print(f"{name:<28}{', '.join(f'{one:.2f}' for one in seconds)} s")
        browser.close()


if __name__ == "__main__":
    main()
