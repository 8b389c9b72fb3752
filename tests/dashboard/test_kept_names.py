"""Assignments kept next to a run, on the pages: created by Identify, shown by Search, used by exports.

Without a browser: Streamlit runs the views and returns what they show.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ednabed.dashboard.jobs import Jobs
from ednabed.store.assignments import list_kept
from ednabed.store.runs import find_run
from support import ednabed

testing = pytest.importorskip("streamlit.testing.v1")
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
BASES = (
    "CCACCGCGGTTATACGAGAGGCCCAAGTTGAAAGACATCGGCGTAAAGAGTGGTTAAGTAAAAACTAAACTAAAGTCGAACATCTTCAAGGCTGTTATACGCATCCGAAGACAAGAAGTTCAACCACGAAGG"
    "TGACTTTATTCGTACTGAACCCACGAAAGCTAGGACAC"
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """A study, its reference, and a reference of fishes; nothing is named."""
    folder = tmp_path_factory.mktemp("pages") / "ws"
    folder.mkdir()
    for arguments in (
        ("embed", EXAMPLES / "okex2301_12s.fasta.gz", "--dataset", "okex2301", "--model", "kmer6"),
        ("embed", EXAMPLES / "fish_12s.tsv.gz", "--output", "labelled/fish_12s", "--model", "kmer6"),
        ("consolidate", "--runs-root", "labelled", "--output", "data/fish", "--no-calibrate"),
        ("consolidate",),
    ):
        done = ednabed(*arguments, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def page(workspace: Path, body: str):
    script = (
        "from pathlib import Path\nfrom ednabed.dashboard.settings import Settings, set_settings\n"
        f"set_settings(Settings(Path({str(workspace)!r})))\n{body}\n"
    )
    shown = testing.AppTest.from_string(script, default_timeout=60).run()
    check(shown)
    return shown


def check(shown) -> None:
    assert [one.value for one in (*shown.exception, *shown.error)] == []


def names_found(workspace: Path) -> list[str]:
    shown = page(workspace, "from ednabed.dashboard.views import search\nsearch.show()")
    shown.selectbox(key="search_reference").set_value("data/reference")
    shown.text_area(key="search_letters").set_value(BASES)
    shown.button[0].click().run()
    check(shown)
    return [name for name in shown.dataframe[0].value["name"].tolist() if name]


def test_a_run_is_identified_and_its_names_are_shown(workspace):
    assert names_found(workspace) == []
    shown = page(workspace, "from ednabed.dashboard.views import identify\nidentify.show()")
    shown.radio(key="identify_source").set_value("a run of this workspace").run()
    shown.selectbox(key="identify_reference").set_value("data/fish")
    shown.button(key="identify_begin").click().run()
    check(shown)
    (job,) = Jobs(workspace).list()
    run = find_run(workspace, "okex2301")
    assert job.arguments[:3] == ["classify", "--run", run.label]
    until = time.monotonic() + 120
    while Jobs(workspace).list()[0].state != "done":
        assert time.monotonic() < until
        time.sleep(0.1)
    assert list_kept(run.folder, run.identity)
    assert "Anoplopoma" in " ".join(names_found(workspace))


@pytest.mark.parametrize(("choice", "asked"), [(0, None), (1, "NONE")])
def test_an_export_takes_the_newest_names_or_none(workspace, choice, asked):
    shown = page(
        workspace,
        "from ednabed.dashboard.status import reference_states, run_states\n"
        "from ednabed.dashboard.views import export\n"
        "from ednabed.dashboard.settings import settings\nw = settings().workspace\n"
        "export.show_export(run_states(w), reference_states(w))",
    )
    shown.selectbox[1].set_value("krona").run()
    shown.selectbox[2].set_value(choice)
    shown.button[0].click().run()
    check(shown)
    job = next(job for job in Jobs(workspace).list() if job.arguments[0] == "export")
    assert ("--assignments" in job.arguments) == (asked is not None)
    assert asked is None or job.arguments[job.arguments.index("--assignments") + 1] == asked


def test_the_map_shows_the_newest_names_or_none(workspace):
    done = ednabed("runs", "map", "okex2301", cwd=workspace)
    assert done.returncode == 0, done.stderr
    named = " ".join(done.stdout.decode().split()[-20:])
    shown = page(workspace, "from ednabed.dashboard.views import map as view\nview.show()")
    shown.radio(key="map_source").set_value("individual runs").run()
    shown.multiselect(key="map_runs").set_value([find_run(workspace, "okex2301").label]).run()
    check(shown)
    assert "classes: Actinopteri" in named
    for choice, found in (("newest assignments of each run", True), ("names of the records only", False)):
        shown.selectbox(key="map_names").set_value(choice).run()
        check(shown)
        shown.text_input(key="map_sought").set_value("Actinopteri").run()
        check(shown)
        assert ("No sequence on the map matches." in [one.value for one in shown.info]) != found
