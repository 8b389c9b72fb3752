"""What is this sequence like, and where else was it seen?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from ednabed.api.places import Place, places_of
from ednabed.dashboard.parts import (
    choose_reference,
    count_records,
    keep_uploads,
    made_file,
    manager,
    open_reference,
    table,
    told_errors,
)
from ednabed.dashboard.plots import world
from ednabed.dashboard.texts import arrows, deepest, plain
from ednabed.errors import UsageError
from ednabed.export.spreadsheet import for_spreadsheets
from ednabed.search.alignment_text import alignment_text
from ednabed.search.hits import Wanted
from ednabed.search.output import HitWriter
from ednabed.search.queries import Query
from ednabed.sequences.columns import find_coordinates

MOST_QUERIES = 200
"""Queries of a file that the page shows; 'ednabed search' takes any number."""
MOST_HITS = 5_000
"""Hits of all queries together that the page aligns and shows."""
MOST_RECORDS = 1_000
"""Records of a hit that the page looks at."""
# Blanks, and the numbers beside the letters in GenBank's records.
_BESIDES = re.compile(r"[\s\d]+")
_LITTLE = 20.0
Answers = list[tuple[Query, list[dict[str, Any]]]]


def show() -> None:
    """Show the page."""
    st.title("Search")
    state = choose_reference("search_reference")
    if state is None:
        return
    left, right = st.columns([3, 2])
    pasted = left.text_area(
        "Sequence", height=130, key="search_letters", placeholder="Paste the letters of one sequence, or FASTA"
    )
    upload = right.file_uploader("or a FASTA file", key="search_file")
    hits = int(right.number_input("Most hits a sequence", 1, 1_000, 10, key="search_hits"))
    if st.button("Search", type="primary"):
        st.session_state.pop("search_answers", None)
        with told_errors(), st.spinner("Searching …"):
            reference = open_reference(state)
            coordinates = find_coordinates(reference.record_schema.names) or ()
            wanted = Wanted(
                k=hits, occurrences=True, most_records=MOST_RECORDS, align=True, letters=True, columns=coordinates
            )
            answers = _answers(state.address, pasted, upload, wanted)
            st.session_state["search_answers"] = (state.address, answers, coordinates)
    if "search_answers" in st.session_state:
        address, answers, coordinates = st.session_state["search_answers"]
        if address == state.address:
            _show(answers, coordinates)


def _answers(address: str, pasted: str, upload: Any, wanted: Wanted) -> Answers:
    text = pasted.strip()
    if upload is None and not text:
        raise UsageError("paste a sequence or choose a file, then search")
    if upload is not None and text:
        raise UsageError("there is a pasted sequence and a file; take one of them away")
    if upload is None and not text.startswith((">", "@")):
        _, found = manager().search(sequence=_BESIDES.sub("", text), reference=address, wanted=wanted)
        return list(found)
    answers: Answers = []

    def search(folder: Path) -> None:
        paths = [folder / "pasted.fasta"] if upload is None else keep_uploads(folder, [upload])
        if upload is None:
            paths[0].write_text(text + "\n", encoding="utf-8", newline="\n")
        name = "the pasted text" if upload is None else upload.name
        count = count_records(paths, [name])
        if count is None or min(count, MOST_QUERIES) * wanted.k > MOST_HITS:
            raise UsageError(
                f"this file with {wanted.k} hits a sequence asks for more than {MOST_HITS:,} alignments; ask for fewer "
                "hits, or take 'ednabed search --fasta FILE --align'"
            )
        _, found = manager().search(files=paths, reference=address, wanted=wanted)
        for answer in found:
            answers.append(answer)
            if len(answers) > MOST_QUERIES:
                break
        (folder / "done").touch()

    made_file("done", lambda path: search(path.parent))
    return answers


def _show(answers: Answers, coordinates: Sequence[str]) -> None:
    if len(answers) > MOST_QUERIES:
        st.warning(
            f"The file has more than {MOST_QUERIES} sequences; these are the first. 'ednabed search --fasta FILE' "
            "takes them all."
        )
        answers = answers[:MOST_QUERIES]
    number = 0
    if len(answers) > 1:
        names = [str(query.told.get("id")) for query, _ in answers]
        number = st.selectbox("Query", range(len(answers)), format_func=lambda i: names[i], key="search_query")
    query, hits = answers[number]
    if "rejected" in query.told:
        st.error(plain(f"{query.told.get('id')} cannot be searched: {query.told['rejected']}"))
        return
    firsts = _firsts(hits)
    st.header(f"{len(firsts)} nearest sequences")
    if not firsts:
        st.info("Nothing was found.")
        return
    shown = table(
        {
            "rank": [hit["rank"] for hit in firsts],
            "identity %": [_of(hit, "identity") for hit in firsts],
            "coverage %": [_of(hit, "query_coverage") for hit in firsts],
            "similarity": [round(hit["similarity"], 4) for hit in firsts],
            "name": [deepest(hit["lineage"]) for hit in firsts],
            "id": [hit["id"] for hit in firsts],
            "records": [hit["occurrences"] for hit in firsts],
            "datasets": [", ".join(hit["datasets"]) for hit in firsts],
            "lineage": [arrows(hit["lineage"]) for hit in firsts],
        },
        on_select="rerun",
        selection_mode="single-row",
        key=f"search_hits_table_{number}",
    )
    st.caption("In order of similarity, the cosine of the vectors; identity and coverage are those of the alignment.")
    _downloads(answers)
    chosen = shown.selection["rows"][0] if shown.selection["rows"] else 0
    hit = firsts[min(chosen, len(firsts) - 1)]
    left, right = st.columns([3, 2])
    with left, told_errors():
        st.header(f"Alignment with hit {hit['rank']}")
        st.caption("Choose a line of the table to see another.")
        _alignment(query, hit)
    with right, told_errors():
        st.header("Where it was seen")
        _seen([one for one in hits if one["rank"] == hit["rank"]], coordinates)


def _firsts(hits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first record of each distinct sequence."""
    first: dict[int, dict[str, Any]] = {}
    for hit in hits:
        first.setdefault(hit["rank"], hit)
    return list(first.values())


def _of(hit: dict[str, Any], name: str) -> float | None:
    alignment = hit["alignment"]
    return None if alignment is None else round(getattr(alignment, name), 1)


def _alignment(query: Query, hit: dict[str, Any]) -> None:
    alignment, letters = hit["alignment"], hit["sequence"]
    if alignment is None or letters is None or query.sequence is None:
        st.info("There is no alignment with it: nothing aligns, or its letters are not known.")
        return
    strand = "" if alignment.strand == "+" else ", with the reverse complement of the query"
    st.markdown(
        f"{alignment.identity:.1f} % identical in {alignment.length:,} columns{strand}; "
        f"{alignment.query_coverage:.0f} % of the query and {alignment.target_coverage:.0f} % of the hit lie in it."
    )
    if alignment.query_coverage < _LITTLE:
        st.warning("Only a few letters lie against each other, as they do by chance: the identity says nothing.")
    st.code(alignment_text(query.sequence, letters, alignment, width=50), language=None)


def _seen(records: list[dict[str, Any]], coordinates: Sequence[str]) -> None:
    reads: dict[tuple[str, str], int] = {}
    for record in records:
        key = (record["dataset"], record["sample"] or "")
        reads[key] = reads.get(key, 0) + (1 if record["abundance"] is None else int(record["abundance"]))
    table(
        {
            "dataset": [dataset for dataset, _ in reads],
            "sample": [sample for _, sample in reads],
            "reads": list(reads.values()),
        },
        height=min(320, 40 + 36 * len(reads)),
    )
    if any(record["abundance"] is None for record in records):
        st.caption("A record that says no number of reads counts as one.")
    if records[0]["occurrences"] > len(records):
        st.caption(f"The first {len(records):,} of {records[0]['occurrences']:,} records.")
    places: list[Place] = places_of(records, coordinates)
    if not places:
        st.caption(
            "No map: these records have no latitude and longitude. A table of samples, given when a study is added, "
            "joins them."
        )
        return
    st.plotly_chart(world(places), width="stretch", key="search_world")
    st.caption("Coast lines: Natural Earth, 1:110 million.")


def _downloads(answers: Answers) -> None:
    """Offer what 'ednabed search --align' writes for the same queries."""
    plain_answers = [
        (query, [{k: v for k, v in hit.items() if k not in ("sequence", "columns")} for hit in _firsts(hits)])
        for query, hits in answers
    ]

    def written(name: str, kind: str) -> bytes:
        def write(path: Path) -> None:
            with HitWriter(path, kind, single=len(answers) == 1, aligned=True) as writer:
                for query, hits in plain_answers:
                    writer.write(query.told, hits)

        found = made_file(name, write)
        return found if kind == "json" else for_spreadsheets(found.decode())

    left, right, _ = st.columns([1, 1, 4])
    left.download_button("JSON", lambda: written("hits.json", "json"), "hits.json", on_click="ignore", width="stretch")
    right.download_button("TSV", lambda: written("hits.tsv", "tsv"), "hits.tsv", on_click="ignore", width="stretch")
