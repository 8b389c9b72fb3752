"""Search in a workspace, and what is reported about it; ``DataManager`` and the command have more tests."""

from __future__ import annotations

import io
import json

import pytest

from ednabed import get_data_manager
from ednabed.errors import UsageError
from ednabed.search.hits import SearchOptions
from ednabed.search.queries import Query
from ednabed.workflows.search import QueryInput, Searcher, write_answers
from reference_support import add_run, letters_of


@pytest.fixture
def workspace(tmp_path):
    add_run(tmp_path, "lake", "a", [1, 2], columns={"lineage": ["K;P;C;O;F;G;G s", None]})
    return tmp_path


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "give exactly one query"),
        ({"run": "lake/a"}, "give exactly one query"),
        ({"sequence": "ACGT", "record_id": "a"}, "give exactly one query"),
        ({"files": ("a.fa",), "seq_idx": 0, "run": "lake"}, "give exactly one query"),
        ({"seq_idx": 0}, "`seq_idx` counts the records of a run"),
    ],
)
def test_exactly_one_query_is_given(given, words):
    with pytest.raises(UsageError, match=words):
        QueryInput(**given)


def test_hits_are_those_of_the_data_manager(workspace):
    options = SearchOptions(align=True, sequences=True)
    _, answers = Searcher(workspace).search(QueryInput("lake/a", 0), options=options)
    [(query, hits)] = answers
    assert query.sequence == letters_of(1)
    assert [(hit.id, hit.rank, hit.sequence) for hit in hits] == [("a-0", 1, letters_of(1)), ("a-1", 2, letters_of(2))]
    [(_, dicts)] = get_data_manager(workspace).search(run="lake/a", seq_idx=0, options=options)[1]
    assert dicts == [hit.to_dict() for hit in hits]


def test_what_was_written_is_counted(workspace):
    [(query, hits)] = Searcher(workspace).search(QueryInput("lake/a", 0))[1]
    rejected = Query({"id": "x", "rejected": "too short"})
    seen, stream = [], io.StringIO()
    report = write_answers(
        iter([(query, hits), (rejected, []), (query, [])]), stream, "json", single=False, aligned=False,
        on_rejected=seen.append,
    )  # fmt: skip
    assert (report.without_hits, report.unnamed, report.assigned, seen) == (1, 1, 0, [rejected])
    assert [len(one["results"]) for one in json.loads(stream.getvalue())] == [2, 0, 0]


def test_nothing_is_created_if_the_search_fails(workspace):
    def fails():
        raise UsageError("no")
        yield

    with pytest.raises(UsageError):
        write_answers(
            fails(), workspace / "out" / "hits.tsv", "tsv", single=True, aligned=False, on_rejected=lambda one: None
        )
    assert not (workspace / "out").exists()
