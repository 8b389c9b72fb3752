"""What is this sequence like, and where else was it seen?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from ednabed.dashboard.parts import (
    cached_reference,
    choose_reference,
    count_records,
    file_bytes,
    keep_uploads,
    searcher,
    show_table,
    shown_errors,
)
from ednabed.dashboard.places import SampleLocation, sample_locations
from ednabed.dashboard.plots import world
from ednabed.dashboard.texts import arrows, deepest_name, literal
from ednabed.errors import UsageError
from ednabed.export.spreadsheet import for_spreadsheets
from ednabed.search.alignment_text import alignment_text
from ednabed.search.hit import Hit
from ednabed.search.hits import SearchOptions
from ednabed.search.output import HitWriter
from ednabed.search.queries import Query
from ednabed.sequences.columns import find_coordinates
from ednabed.workflows.search import Answer, QueryInput

MAX_QUERIES = 200
"""Maximum number of queries of a file that the page shows; 'ednabed search' takes any number."""
MAX_HITS = 5_000
"""Maximum number of hits of all queries together that the page aligns and shows."""
MAX_RECORDS = 1_000
"""Maximum number of records of a hit that the page reads."""
# White space, and the numbers next to the bases in GenBank records.
_NOT_BASES = re.compile(r"[\s\d]+")
_LOW_COVERAGE = 20.0
Answers = list[Answer]


def show() -> None:
    """Show the page."""
    st.title("Search")
    state = choose_reference("search_reference")
    if state is None:
        return
    left, right = st.columns([3, 2])
    pasted = left.text_area(
        "Sequence", height=130, key="search_letters", placeholder="Paste the bases of one sequence, or FASTA"
    )
    upload = right.file_uploader("or a FASTA file", key="search_file")
    hits = int(right.number_input("Maximum hits per sequence", 1, 1_000, 10, key="search_hits"))
    if st.button("Search", type="primary"):
        st.session_state.pop("search_answers", None)
        with shown_errors(), st.spinner("Searching …"):
            reference = cached_reference(state)
            coordinates = find_coordinates(reference.record_schema.names) or ()
            options = SearchOptions(
                k=hits, occurrences=True, max_records=MAX_RECORDS, align=True, sequences=True, columns=coordinates
            )
            answers = _answers(state.address, pasted, upload, options)
            st.session_state["search_answers"] = (state.address, answers, coordinates)
    if "search_answers" in st.session_state:
        address, answers, coordinates = st.session_state["search_answers"]
        if address == state.address:
            _show(answers, coordinates)


def _answers(address: str, pasted: str, upload: Any, options: SearchOptions) -> Answers:
    text = pasted.strip()
    if upload is None and not text:
        raise UsageError("there is neither a pasted sequence nor a file; paste a sequence or choose a file")
    if upload is not None and text:
        raise UsageError("there are both a pasted sequence and a file; remove one of them")
    if upload is None and not text.startswith((">", "@")):
        query = QueryInput(sequence=_NOT_BASES.sub("", text))
        _, found = searcher().search(query, reference=address, options=options)
        return list(found)
    answers: Answers = []

    def search(folder: Path) -> None:
        paths = [folder / "pasted.fasta"] if upload is None else keep_uploads(folder, [upload])
        if upload is None:
            paths[0].write_text(text + "\n", encoding="utf-8", newline="\n")
        name = "the pasted text" if upload is None else upload.name
        count = count_records(paths, [name])
        if count is None or min(count, MAX_QUERIES) * options.k > MAX_HITS:
            raise UsageError(
                f"{name}: {options.k} hits per sequence need more than {MAX_HITS:,} alignments; choose fewer hits, or "
                "use 'ednabed search --fasta FILE --align'"
            )
        _, found = searcher().search(QueryInput(files=paths), reference=address, options=options)
        for answer in found:
            answers.append(answer)
            if len(answers) > MAX_QUERIES:
                break
        (folder / "done").touch()

    file_bytes("done", lambda path: search(path.parent))
    return answers


def _show(answers: Answers, coordinates: Sequence[str]) -> None:
    if len(answers) > MAX_QUERIES:
        st.warning(
            f"The file has more than {MAX_QUERIES} sequences; only the first are shown. 'ednabed search --fasta FILE' "
            "searches all of them."
        )
        answers = answers[:MAX_QUERIES]
    number = 0
    if len(answers) > 1:
        names = [str(query.info.get("id")) for query, _ in answers]
        number = st.selectbox("Query", range(len(answers)), format_func=lambda i: names[i], key="search_query")
    query, hits = answers[number]
    if "rejected" in query.info:
        st.error(literal(f"{query.info.get('id')} cannot be searched: {query.info['rejected']}"))
        return
    sequences = _first_records(hits)
    st.header(f"{len(sequences)} nearest sequences")
    if not sequences:
        st.info("No hit was found.")
        return
    shown = show_table(
        {
            "rank": [hit.rank for hit in sequences],
            "identity %": [_aligned(hit, "identity") for hit in sequences],
            "coverage %": [_aligned(hit, "query_coverage") for hit in sequences],
            "similarity": [round(hit.similarity, 4) for hit in sequences],
            "name": [deepest_name(hit.lineage) for hit in sequences],
            "id": [hit.id for hit in sequences],
            "records": [hit.occurrences for hit in sequences],
            "datasets": [", ".join(hit.datasets) for hit in sequences],
            "lineage": [arrows(hit.lineage) for hit in sequences],
        },
        on_select="rerun",
        selection_mode="single-row",
        key=f"search_hits_table_{number}",
    )
    st.caption("Sorted by similarity, the cosine of the vectors; identity and coverage are those of the alignment.")
    _downloads(answers)
    chosen = shown.selection["rows"][0] if shown.selection["rows"] else 0
    hit = sequences[min(chosen, len(sequences) - 1)]
    left, right = st.columns([3, 2])
    with left, shown_errors():
        st.header(f"Alignment with hit {hit.rank}")
        st.caption("Select another row of the table to see its alignment.")
        _alignment(query, hit)
    with right, shown_errors():
        st.header("Where it was found")
        _occurrences([record for record in hits if record.rank == hit.rank], coordinates)


def _first_records(hits: list[Hit]) -> list[Hit]:
    """Return the first record of each distinct sequence."""
    first: dict[int, Hit] = {}
    for hit in hits:
        first.setdefault(hit.rank, hit)
    return list(first.values())


def _aligned(hit: Hit, name: str) -> float | None:
    """Return a percentage of the alignment of a hit; None if there is no alignment."""
    value = hit.value(name)
    return None if value is None else round(value, 1)


def _alignment(query: Query, hit: Hit) -> None:
    alignment, bases = hit.alignment, hit.sequence
    if alignment is None or bases is None or query.sequence is None:
        st.info("This hit has no alignment: nothing aligns, or its bases are unknown.")
        return
    strand = "" if alignment.strand == "+" else ", with the reverse complement of the query"
    st.markdown(
        f"{alignment.identity:.1f} % identical in {alignment.length:,} columns{strand}; "
        f"{alignment.query_coverage:.0f} % of the query and {alignment.target_coverage:.0f} % of the hit are aligned."
    )
    if alignment.query_coverage < _LOW_COVERAGE:
        st.warning("Only a few bases are aligned, which happens by chance: the identity is not informative.")
    st.code(alignment_text(query.sequence, bases, alignment, width=50), language=None)


def _occurrences(records: list[Hit], coordinates: Sequence[str]) -> None:
    reads: dict[tuple[str, str], int] = {}
    for record in records:
        key = (record.dataset or "", record.sample or "")
        reads[key] = reads.get(key, 0) + record.reads
    show_table(
        {
            "dataset": [dataset for dataset, _ in reads],
            "sample": [sample for _, sample in reads],
            "reads": list(reads.values()),
        },
        height=min(320, 40 + 36 * len(reads)),
    )
    if any(record.abundance is None for record in records):
        st.caption("A record without a number of reads counts as one.")
    if records[0].occurrences > len(records):
        st.caption(f"Only the first {len(records):,} of {records[0].occurrences:,} records are shown.")
    locations: list[SampleLocation] = sample_locations(records, coordinates)
    if not locations:
        st.caption(
            "No map: these records have no latitude and longitude. Give a table of samples when you add a study to "
            "include them."
        )
        return
    st.plotly_chart(world(locations), width="stretch", key="search_world")
    st.caption("Coast lines: Natural Earth, 1:110 million.")


def _downloads(answers: Answers) -> None:
    """Offer the files that 'ednabed search --align' writes for the same queries."""
    plain_answers = [(query, [hit.plain() for hit in _first_records(hits)]) for query, hits in answers]

    def written(name: str, kind: str) -> bytes:
        def write(path: Path) -> None:
            with HitWriter(path, kind, single=len(answers) == 1, aligned=True) as writer:
                for query, hits in plain_answers:
                    writer.write(query.info, hits)

        found = file_bytes(name, write)
        return found if kind == "json" else for_spreadsheets(found.decode())

    left, right, _ = st.columns([1, 1, 4])
    left.download_button("JSON", lambda: written("hits.json", "json"), "hits.json", on_click="ignore", width="stretch")
    right.download_button("TSV", lambda: written("hits.tsv", "tsv"), "hits.tsv", on_click="ignore", width="stretch")
