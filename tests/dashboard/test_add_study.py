"""A study is added on the page, with or without counts, using the functions of the page without a browser."""

from __future__ import annotations

import pytest

from ednabed.dashboard.jobs import Jobs
from ednabed.errors import UsageError

testing = pytest.importorskip("streamlit.testing.v1")
SEQUENCE = "GATTACAGATTACAGATTACAGATTACA"
TABLE = f"id\tsequence\tS1\tS2\na\t{SEQUENCE}\t3\t4\n".encode()


PAGE = """
from pathlib import Path
from ednabed.dashboard import settings
from ednabed.dashboard.parts import shown_errors
from ednabed.dashboard.views import studies
settings.set_settings(settings.Settings(Path({workspace!r})))
with shown_errors():
    studies._add()
"""


@pytest.fixture
def add(tmp_path, monkeypatch):
    """Fill in the form and send it; return the error shown and the arguments of the job, or None without a job."""
    started: list[list[str]] = []

    def start(self, title, arguments, **more):
        started.append(arguments)
        raise UsageError("started")

    monkeypatch.setattr(Jobs, "start", start)

    def send(*, files=(), counts=(), no_counts=False):
        shown = testing.AppTest.from_string(PAGE.format(workspace=str(tmp_path)), default_timeout=60).run()
        for key, tables in (("add_files", files), ("add_counts", counts)):
            if tables:
                shown.file_uploader(key=key).set_value([("t.tsv", table, "text/plain") for table in tables])
        shown.checkbox(key="add_no_counts").set_value(no_counts)
        shown.text_input[0].set_value("lake")
        shown.button[0].click().run()
        assert not shown.exception
        return shown.error[0].value, started[0] if started else None

    return send


@pytest.mark.skipif(
    not hasattr(getattr(testing, "AppTest", None), "file_uploader"), reason="this streamlit cannot test uploads"
)
class TestAdd:
    def test_a_table_of_sequences_and_counts_is_refused(self, add):
        error, arguments = add(files=[TABLE])
        assert arguments is None and "has ids, sequences and columns of whole numbers" in error

    def test_a_table_without_counts(self, add):
        _, arguments = add(files=[TABLE], no_counts=True)
        assert "--no-counts" in arguments and "--abundance" not in arguments

    def test_a_table_of_counts(self, add):
        _, arguments = add(counts=[TABLE])
        assert "--abundance" in arguments and "--no-counts" not in arguments

    def test_both(self, add):
        error, arguments = add(files=[TABLE], counts=[TABLE], no_counts=True)
        assert arguments is None and "contain no counts" in error
