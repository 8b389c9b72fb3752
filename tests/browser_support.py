"""A workspace with real samples, the page as users start it, and the actions of a user on it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from support import ednabed

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
OKEX = EXAMPLES / "okex2301_12s.fasta.gz"
SAMPLES = EXAMPLES / "okex2301_samples.tsv"
LABELS = EXAMPLES / "okex2301_12s_taxonomy.tsv"
# Anoplopoma fimbria, the most abundant variant of the sample, without its first base.
SABLEFISH = (
    "CACCGCGGTTATACGAGAGGCCCAAGTTGAAAGACATCGGCGTAAAGAGTGGTTAAGTAAAAACTAAACTAAAGTCGAACATCTTCAAGGCTGTTATACGCATCCG"
    "AAGACAAGAAGTTCAACCACGAAGGTGACTTTATTCGTACTGAACCCACGAAAGCTAGGACAC"
)
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
SECONDS = 300
"""Maximum time in seconds for any action on the page on a busy machine."""


def browser_path() -> str | None:
    """Return the path of a Chromium; None if there is none."""
    return os.environ.get("EDNABED_CHROMIUM") or next((path for path in map(shutil.which, NAMES) if path), None)


class Served:
    """The page of a workspace, in its own process."""

    def __init__(self, workspace: Path, *options: str, env: dict[str, str] | None = None) -> None:
        self.workspace = workspace
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ednabed", "--workspace", str(workspace), "dashboard", "--port", "0", *options],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", cwd=workspace,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **(env or {})},
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, line + self.process.stdout.read()
        self.address = found.group()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


def make_workspace(workspace: Path) -> Path:
    """A study of eDNA with its reference, and a labelled reference of fishes, calibrated."""
    steps = (
        ("embed", OKEX, "--labels", LABELS, "--samples", SAMPLES, "--dataset", "okex2301"),
        ("consolidate", "--no-calibrate"),
        ("embed", EXAMPLES / "fish_12s.tsv.gz", "--output", "labelled/fish_12s"),
        ("consolidate", "--runs-root", "labelled", "--output", "data/fish"),
    )  # fmt: skip
    for step in steps:
        done = ednabed("--workspace", workspace, *step, cwd=workspace)
        assert done.returncode == 0, done.stderr.decode()
    return workspace


def rest(page) -> None:
    """Wait until the page is completely drawn."""
    page.wait_for_function("!document.querySelector('[data-testid=stStatusWidget]')")
    page.wait_for_timeout(200)


def saved(page, button: str, folder: Path) -> Path:
    """Press a download button and return the file."""
    with page.expect_download() as download:
        page.get_by_role("button", name=button, exact=True).click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def upload(page, label: str, *paths: Path) -> None:
    """Give files to an upload box, and wait until the server has them."""
    box = page.get_by_test_id("stFileUploader").filter(has_text=label)
    box.locator("input[type=file]").set_input_files(list(paths))
    box.get_by_test_id("stFileChip").first.wait_for()
    rest(page)


def unfold(page, title: str) -> None:
    """Open a part of the page that may be folded."""
    part = page.locator("details").filter(has_text=title).first
    if part.get_attribute("open") is None:
        part.locator("summary").click()


def choose(page, label: str, text: str) -> None:
    """Choose an entry of a box by part of its text."""
    page.get_by_label(label, exact=True).first.click()
    page.get_by_role("option").filter(has_text=text).first.click()
    rest(page)


def cells(page) -> list[str]:
    """Return the cells of the tables; tables are drawn on a canvas, with their cells next to it for screen readers."""
    return page.evaluate("[...document.querySelectorAll('[role=gridcell]')].map(cell => cell.textContent)")


def until(true, seconds: float = SECONDS) -> None:
    """Wait until a function returns a true value."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.2)
