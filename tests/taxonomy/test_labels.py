"""Lineages and markers of a collection as numbers, against records counted one by one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.errors import StoreError
from ednabed.reference.loose import LooseRuns
from ednabed.reference.sources import find_sources
from ednabed.sequences.lineage import RANKS, format_lineage
from ednabed.store.runs import runs_root
from ednabed.taxonomy.labels import number_taxa, read_row_labels
from ednabed.taxonomy.taxa import Taxa
from reference_support import add_run, consolidate, opened
from taxonomy_support import labels_of

RAT = "Animalia;Chordata;Mammalia;Rodentia;Muridae;Rattus;Rattus rattus"
BROWN = "Animalia;Chordata;Mammalia;Rodentia;Muridae;Rattus;Rattus norvegicus"
GENUS = "Animalia;Chordata;Mammalia;Rodentia;Muridae;Rattus;"
MOSS = "Plantae;Bryophyta;;;;Rattus;Rattus moss"

names = st.sampled_from(["", "A", "B"])
lineages = st.tuples(names, names, names, names, names, names, names)


def of_reference(tmp_path, runs):
    for number, (numbers, columns) in enumerate(runs):
        add_run(tmp_path, "lake", f"2024-01-0{number + 1}_00-00-00", numbers, columns=columns)
    consolidate(tmp_path)
    return opened(tmp_path)


def rows_by_number(reference):
    """Return the row of each sequence by its bases."""
    return {
        text: row
        for row, text in enumerate(reference.take_sequences(np.arange(reference.rows))["sequence"].to_pylist())
    }


# -- taxa ------------------------------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(st.lists(lineages, min_size=1, max_size=8))
def test_taxa_are_names_with_their_phylum(some):
    known = Taxa(some)
    numbers = number_taxa(some)
    for i, one in enumerate(some):
        for r in range(7):
            assert (numbers[i, r] == -1) == (one[r] == "") == (known.taxa_of(one)[r] is None)
            for j, other in enumerate(some):
                if not (one[r] and other[r]):
                    continue
                phyla = {lineage[1] for lineage in some if lineage[r] == one[r] and lineage[1]}
                first, second = (
                    phylum or (next(iter(phyla)) if len(phyla) == 1 else "") for phylum in (one[1], other[1])
                )
                same = one[r] == other[r] and (r <= 1 or first == second)
                assert (numbers[i, r] == numbers[j, r]) == same
    used = [{int(n) for n in numbers[:, r] if n >= 0} for r in range(7)]
    assert sum(map(len, used)) == len(set().union(*used)), "numbers differ between ranks"


def test_homonyms_are_two_taxa_and_sources_that_disagree_are_one():
    numbers = number_taxa([
        ("Animalia", "Chordata", "", "", "Muridae", "Rattus", "Rattus rattus"),
        ("Animalia", "Chordata", "Mammalia", "Glires", "Elsewhere", "Rattus", "Rattus rattus"),
        ("", "", "", "", "", "Rattus", "Rattus rattus"),
        ("Plantae", "Bryophyta", "", "", "", "Rattus", "Rattus moss"),
    ])  # fmt: skip
    assert numbers[0, 5] == numbers[1, 5] != numbers[3, 5]
    assert numbers[0, 6] == numbers[1, 6] == numbers[2, 6]
    assert numbers[2, 5] not in (numbers[0, 5], numbers[3, 5]), "two phyla have that genus, so it is ambiguous"


# -- what a collection says ------------------------------------------------------------------------------------------


def test_entries_against_records_counted_one_by_one(tmp_path):
    runs = [
        ([1, 2, 1, 3, 1, 4], {"lineage": [RAT, BROWN, BROWN, None, RAT, MOSS]}),
        ([1, 2, 3, 5], {"lineage": [BROWN, BROWN, GENUS, None]}),
        ([1, 6, 2], {"lineage": [BROWN, None, RAT]}),
    ]
    reference = of_reference(tmp_path, runs)
    labels = read_row_labels(reference)
    counts = {}
    for _, table in reference.scan_records(["lineage"]):
        for row, lineage in zip(table["row"].to_pylist(), table["lineage"].to_pylist(), strict=True):
            counts.setdefault(row, Counter()).update([lineage] if lineage else [])
    assert reference.rows == 6
    for row in range(reference.rows):
        entries = range(labels.starts[row], labels.starts[row + 1])
        counted = [(format_lineage(labels.lineages[labels.entries[e]]), int(labels.records[e])) for e in entries]
        assert dict(counted) == counts[row]
        assert [count for _, count in counted] == sorted((count for _, count in counted), reverse=True)
        assert labels.labelled[row] == bool(counts[row])
        assert labels.main[row] == (labels.entries[labels.starts[row]] if counts[row] else -1)
    assert sorted(labels.labelled.tolist()) == [False, False, True, True, True, True]
    # BROWN has three records of sequence 1 and RAT two.
    assert sorted(Counter({RAT: 2, BROWN: 3}).items()) in [sorted(count.items()) for count in counts.values()]
    every = np.array([*np.flatnonzero(labels.labelled)[::-1], 0, 1])
    entry, place = labels.entries_of(every)
    expected = [(e, p) for p, row in enumerate(every) for e in range(labels.starts[row], labels.starts[row + 1])]
    assert list(zip(entry.tolist(), place.tolist(), strict=True)) == expected


def entries_by_number(labels, reference):
    """Map the number of a sequence to its entries in order: lineage and records."""
    from reference_support import letters_of

    row_of = rows_by_number(reference)
    found = {}
    for number in range(10):
        row = row_of.get(letters_of(number))
        if row is not None:
            entries = range(labels.starts[row], labels.starts[row + 1])
            found[number] = [
                (format_lineage(labels.lineages[labels.entries[e]]), int(labels.records[e])) for e in entries
            ]
    return found


MIXED = [
    ([1, 1, 1, 2, 3], {"lineage": [RAT, RAT, BROWN, MOSS, None], "source_records": pa.array([None, 2, 9, 4, 7])}),
    ([1, 2, 2], {"lineage": [RAT, MOSS, GENUS]}),
    ([1, 2], {"lineage": [RAT, GENUS], "source_records": pa.array([1, 5_000_000_000])}),
    ([4], {"lineage": [RAT], "source_records": pa.nulls(1, pa.int64())}),
]
SUMS = {
    1: [(BROWN, 9), (RAT, 1 + 2 + 1 + 1)],
    2: [(GENUS, 1 + 5_000_000_000), (MOSS, 4 + 1)],
    3: [],
    4: [(RAT, 1)],
}


def test_records_of_an_entry_are_the_sum_of_its_source_records(tmp_path):
    reference = of_reference(tmp_path, MIXED)
    labels = read_row_labels(reference)
    assert entries_by_number(labels, reference) == SUMS
    assert labels.records.dtype == np.int64
    loose = LooseRuns(find_sources(runs_root(tmp_path), tmp_path).sources)
    assert entries_by_number(read_row_labels(loose), loose) == SUMS


@pytest.mark.parametrize(
    "column",
    [pa.array(["3", "x", ""]), pa.array([3.0, 0.5, None]), pa.array([3, 0, -2]), pa.array([b"3", b"", None])],
    ids=["text", "float", "int", "bytes"],
)
def test_a_column_of_an_earlier_run_without_counts_gives_one_each(tmp_path, column):
    reference = of_reference(tmp_path, [
        ([1, 2, 3], {"lineage": [RAT] * 3, "source_records": column}),
        ([1], {"lineage": [RAT], "source_records": pa.array([4])}),
    ])  # fmt: skip
    entries = entries_by_number(read_row_labels(reference), reference)
    assert entries == {1: [(RAT, 3 + 4)], 2: [(RAT, 1)], 3: [(RAT, 1)]}


def test_lineages_with_skipped_ranks_are_kept_as_they_are(tmp_path):
    labels = read_row_labels(of_reference(tmp_path, [([1, 2], {"lineage": [MOSS, ";;;;Muridae;;"]})]))
    assert sorted(labels.lineages) == [
        ("", "", "", "", "Muridae", "", ""), ("Plantae", "Bryophyta", "", "", "", "Rattus", "Rattus moss")
    ]  # fmt: skip
    assert ((labels.taxa >= 0) == np.array([[bool(name) for name in lineage] for lineage in labels.lineages])).all()
    assert labels.taxa.shape == (2, len(RANKS))


@pytest.mark.parametrize("columns", [{}, {"lineage": [None, None]}])
def test_a_collection_without_labels_is_refused(tmp_path, columns):
    with pytest.raises(StoreError, match=r"no record with a lineage.*embed labelled records"):
        read_row_labels(of_reference(tmp_path, [([1, 2], columns)]))


def test_markers_of_columns_with_different_names(tmp_path):
    runs = [
        ([1, 2], {"lineage": [RAT, RAT], "marker": ["COI", None]}),
        ([3, 4], {"lineage": [RAT, RAT], "target_gene": ["12S", "COI"]}),
        ([5], {"lineage": [RAT]}),
    ]
    reference = of_reference(tmp_path, runs)
    labels = read_row_labels(reference)
    from reference_support import letters_of

    row = rows_by_number(reference)
    markers = {number: labels.markers[labels.marker[row[letters_of(number)]]] for number in range(1, 6)}
    assert markers == {1: "COI", 2: "", 3: "12S", 4: "COI", 5: ""}
    assert labels.markers[0] == ""
    assert sorted(labels.markers) == ["", "12S", "COI"]


@pytest.mark.parametrize("first", [["COI", None], [None, "COI"]])
def test_a_record_without_a_marker_does_not_remove_one(tmp_path, first):
    """The same sequence twice, once with its marker: it has that marker, whichever record comes first."""
    reference = of_reference(tmp_path, [([1, 1], {"lineage": [RAT, RAT], "marker": first})])
    labels = read_row_labels(reference)
    assert [labels.markers[number] for number in labels.marker] == ["COI"]


counted = st.lists(
    st.lists(st.tuples(lineages, st.integers(1, 9)), max_size=3, unique_by=lambda entry: entry[0]), max_size=6
).filter(any)


@settings(max_examples=100)
@given(counted)
def test_records_and_sequences_of_taxa_by_a_loop(rows):
    labels = labels_of(rows)
    records, sequences = Counter(), Counter()
    for row in rows:
        for lineage, count in row:
            for taxon in labels.taxa[labels.lineages.index(lineage)].tolist():
                if taxon >= 0:
                    records[taxon] += count
                    sequences[taxon] += 1
    taxa = range(int(labels.taxa.max()) + 1)
    assert labels.records_of_taxa.tolist() == [records[taxon] for taxon in taxa] + [0]
    assert labels.sequences_of_taxa.tolist() == [sequences[taxon] for taxon in taxa] + [0]


def test_numbers_of_lineages_as_records_have_them(tmp_path):
    labels = read_row_labels(of_reference(tmp_path, [([1, 2], {"lineage": [RAT, MOSS]})]))
    numbers = labels.numbers_of([MOSS, None, RAT, "", BROWN, RAT])
    assert [format_lineage(labels.lineages[n]) if n >= 0 else None for n in numbers] == [
        MOSS,
        None,
        RAT,
        None,
        None,
        RAT,
    ]
