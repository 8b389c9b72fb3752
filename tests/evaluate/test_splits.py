"""Splits: nothing leaks, only held-out records leave training, and names are compared as taxa."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.errors import InputError, UsageError
from ednabed.evaluate.splits import COPY, GROUPS, Labelled, split
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.taxa import Taxa

NAMED = {group: RANKS.index(group) for group in GROUPS[1:]}


def lineage(order="O", family="O1", genus="O1a", species="", phylum="P"):
    return ("K", phylum, "C", order, family, genus, species)


STEM = "CGATTAGGCATACCGTTAGACATTGCAAGTCCTGAACGTA"


def code(n):
    """Encode a number as eight bases."""
    return "".join("ACGT"[(n >> 2 * k) & 3] for k in range(8))


def tree(orders=2, families=5, genera=4, species=4, records=3):
    """Return the records of a full tree; every record has a different sequence."""
    rows = []
    for o in range(orders):
        for f in range(families):
            for g in range(genera):
                for s in range(species):
                    names = lineage(f"o{o}", f"o{o}f{f}", f"o{o}f{f}g{g}", f"o{o}f{f}g{g} s{s}")
                    for _ in range(records):
                        n = len(rows)
                        rows.append(Labelled(f"r{n}", code(n) + STEM, names))
    return rows


# Few names and few sequences, so that gaps, homonyms and shared sequences are common.
records = st.lists(
    st.tuples(
        st.sampled_from(["ACGT", "AACC", "AGGT", "TTTT", "CCCC"]),
        st.sampled_from(["P", "Q", ""]),
        st.sampled_from(["o1", "o2", ""]),
        st.sampled_from(["f1", "f2", "f3", ""]),
        st.sampled_from(["g1", "g2", "g3", ""]),
        st.sampled_from(["s1", "s2", "s3", "s4", ""]),
    ),
    max_size=60,
).map(lambda rows: [Labelled(f"r{i}", r[0], ("K", r[1], "C", *r[2:])) for i, r in enumerate(rows)])


@settings(max_examples=100, deadline=None)
@given(records, st.sets(st.integers(0, 59)), st.integers(0, 3))
def test_queries_are_drawn_from_unseen_records_alone(data, listed, seed):
    unseen = {f"r{i}" for i in listed}
    try:
        found = split(data, queries=4, seed=seed, unseen=unseen)
    except InputError:
        return
    taxa = Taxa(record.lineage for record in data)
    assert found.unseen == sum(record.id in unseen for record in data if any(record.lineage))
    removed = {record.id for record in data if any(record.lineage)} - {record.id for record in found.training}
    assert {query.id for query in found.queries} <= removed <= unseen
    for query in found.queries:
        if query.group != "record":
            rank = NAMED[query.group]
            taxon = taxa.taxa_of(query.lineage)[rank]
            assert {record.id for record in data if taxa.taxa_of(record.lineage)[rank] == taxon} <= unseen


def test_all_records_unseen_give_the_split_without_the_list():
    data = tree()
    plain, listed = split(data, queries=20), split(data, queries=20, unseen=[record.id for record in data])
    assert (plain.queries, plain.training, plain.copies) == (listed.queries, listed.training, listed.copies)
    assert (plain.unseen, listed.unseen) == (None, len(data))


def test_a_list_that_gives_nothing_to_hold_out():
    with pytest.raises(InputError, match=r"of 480 labelled records 0 have an id in `unseen`"):
        split(tree(), unseen=["another"])


def check(data, data_split):
    taxa = Taxa(record.lineage for record in data)
    present = [{taxa.taxa_of(record.lineage)[rank] for record in data_split.training} for rank in range(7)]
    training = {record.id for record in data_split.training}
    ids = [query.id for query in data_split.queries]
    assert len(set(ids)) == len(ids)
    assert not training & set(ids)
    by_id = {record.id: record for record in data}
    for query in data_split.queries:
        assert by_id[query.id][:3] == (query.id, query.sequence, query.lineage)
        keys = taxa.taxa_of(query.lineage)
        assert query.present == tuple(key is not None and key in present[rank] for rank, key in enumerate(keys))
        if query.group == "record":
            in_species = [r.sequence for r in data_split.training if taxa.taxa_of(r.lineage)[6] == keys[6]]
            assert in_species
            assert query.sequence not in in_species
        else:
            rank = NAMED[query.group]
            assert keys[rank] is not None
            assert not query.present[rank]
            assert query.present[rank - 1]
    # Records removed from training belong to the held-out taxon of a query, or have the sequence of a held-out record.
    assert len(data_split.training) + sum(data_split.taken.values()) == len(data)
    assert sum(data_split.sizes().values()) == len(data_split.queries)


@settings(deadline=None)
@given(records, st.integers(1, 6), st.integers(0, 3))
def test_a_split_of_any_data_leaks_nothing_and_adds_up(data, maximum, seed):
    try:
        data_split = split(data, queries=maximum, seed=seed)
    except InputError:
        # Only data in which no parent keeps a second child may be refused; at least no species may have two sequences.
        species = {}
        for record in data:
            if record.lineage[6]:
                species.setdefault(Taxa(r.lineage for r in data).taxa_of(record.lineage)[6], set()).add(record.sequence)
        assert all(len(sequences) < 2 for sequences in species.values())
        return
    check(data, data_split)
    assert all(size <= maximum for size in data_split.sizes().values())


def test_a_full_tree_gives_every_group():
    data = tree()
    data_split = split(data, queries=10, seed=7)
    check(data, data_split)
    assert data_split.sizes() == {"record": 10, "species": 10, "genus": 10, "family": 5}
    kept = {record.id for record in data_split.training}
    gone = [record for record in data if record.id not in kept]
    # Complete taxa were removed, and in the record group only the queries.
    held = {(q.group, q.lineage[NAMED[q.group]]) for q in data_split.queries if q.group != "record"}
    alone = {q.id for q in data_split.queries if q.group == "record"}
    for record in gone:
        assert record.id in alone or any((g, record.lineage[NAMED[g]]) in held for g in NAMED)
    # One family has 48 of 480 records, a tenth: no more of them may be removed.
    assert data_split.taken["family"] == 48


def test_queries_are_limited_per_taxon():
    data = tree(records=2)
    crowd = [
        Labelled(f"x{i}", "ACGT" * 5 + f"{i:b}".replace("0", "A").replace("1", "C"), data[0].lineage) for i in range(40)
    ]
    data_split = split(data + crowd, queries=60, seed=3)
    check(data + crowd, data_split)
    for group in GROUPS:
        in_group = [query for query in data_split.queries if query.group == group]
        species = Counter(query.lineage[6] for query in in_group)
        assert max(species.values()) <= (3 if group == "record" else 2)
        if group in ("genus", "family"):
            assert max(Counter(query.lineage[NAMED[group]] for query in in_group).values()) <= 5


def test_the_split_depends_only_on_the_seed():
    data = tree()
    one, again, other = split(data, queries=9), split(data, queries=9), split(data, queries=9, seed=2)
    assert (one.training, one.queries) == (again.training, again.queries)
    assert one.queries != other.queries


def test_a_sequence_shared_with_another_species_stays_in_training():
    shared, own = "ACGTACGT", "ACGTACGA"
    data = [
        Labelled("a", shared, lineage(species="O1a x")),
        Labelled("a2", shared, lineage(species="O1a x")),
        Labelled("b", own, lineage(species="O1a x")),
        Labelled("c", shared, lineage(species="O1a y")),
    ]
    # With any seed one of the two sequences of x is removed with its copies in x; the copy in y stays.
    for seed in range(10):
        data_split = split(data, queries=5, seed=seed)
        kept = {record.id for record in data_split.training}
        assert [query.id for query in data_split.queries] in (["a"], ["b"])
        assert kept == ({"b", "c"} if data_split.queries[0].id == "a" else {"a", "a2", "c"})


def test_a_record_is_held_out_only_if_its_region_stays():
    other = STEM.translate(str.maketrans("ACGT", "CATG"))
    data = [
        Labelled("its1", STEM, lineage(species="O1a x")),
        Labelled("its2", other, lineage(species="O1a x")),
        Labelled("one", code(1) + STEM, lineage(species="O1a y")),
        Labelled("two", code(2) + STEM, lineage(species="O1a y")),
        Labelled("far", other + "A", lineage(species="O1a y")),
    ]
    for seed in range(10):
        assert {query.id for query in split(data, queries=5, seed=seed).queries} < {"one", "two"}


def test_a_name_in_two_phyla_is_two_taxa_and_a_gap_is_no_taxon():
    taxa = Taxa([lineage(genus="Morus", phylum=p) for p in ("Chordata", "Streptophyta")] + [lineage(genus="Sula")])
    chordate, plant = (taxa.taxa_of(lineage(genus="Morus", phylum=p))[5] for p in ("Chordata", "Streptophyta"))
    assert chordate != plant
    assert taxa.taxa_of(lineage(genus="Morus", phylum=""))[5] not in (chordate, plant)
    assert (
        taxa.taxa_of(lineage(genus="Sula", phylum=""))[5] == taxa.taxa_of(lineage(genus="Sula", family="", order=""))[5]
    )
    assert taxa.taxa_of(lineage())[6] is None


def test_a_homonym_in_another_phylum_stays_when_its_namesake_is_held_out():
    data = [
        Labelled(f"{p}{g}{i}", "ACGT" * (1 + i) + g, ("K", p, "C", f"{p}o", f"{p}f", name, ""))
        for p in ("P", "Q")
        for g, name in (("A", "Morus"), ("C", f"{p}sula"), ("G", f"{p}anser"))
        for i in range(4)
    ]
    for seed in range(20):
        data_split = split(data + tree(), queries=12, seed=seed)
        check(data + tree(), data_split)


def test_crops_are_windows_of_their_queries_and_short_queries_are_omitted():
    data = [record._replace(sequence=record.sequence[: 12 + i % 20]) for i, record in enumerate(tree())]
    data_split = split(data, queries=10)
    whole = {query.id: query for query in data_split.queries}
    cropped = data_split.crop(20)
    assert [query.id for query in cropped] == [q.id for q in data_split.queries if len(q.sequence) >= 20]
    assert 0 < len(cropped) < len(whole)
    for query in cropped:
        assert len(query.sequence) == 20
        assert query.sequence in whole[query.id].sequence
        assert (query.lineage, query.group, query.present) == (
            whole[query.id].lineage, whole[query.id].group, whole[query.id].present,
        )  # fmt: skip
    assert cropped == data_split.crop(20)
    assert data_split.crop(None) == data_split.queries


def test_windows_reach_both_ends():
    data = [
        Labelled(f"{s}{i}", "ACGT"[i] + "ACGT"[s % 4] + "TT", lineage(species=f"s{s}"))
        for s in range(80)
        for i in (0, 1)
    ]
    data_split = split(data, queries=200)
    assert len(data_split.queries) > 60
    whole = {query.id: query.sequence for query in data_split.queries}
    starts = Counter(whole[query.id].index(query.sequence) for query in data_split.crop(3))
    assert min(starts[0], starts[1]) > 15


def test_a_copy_stays_in_training_and_does_not_change_other_queries():
    data = tree()
    alone = split(data, queries=20, seed=4)
    several = [record._replace(records=3 if i % 5 == 0 else 1) for i, record in enumerate(data)]
    data_split = split(several, queries=20, seed=4)
    assert (data_split.queries, data_split.taken) == (alone.queries, alone.taken)
    assert [record.id for record in data_split.training] == [record.id for record in alone.training]
    kept = {record.id: record for record in data_split.training}
    assert data_split.counted
    assert len({query.id for query in data_split.copies}) == len(data_split.copies) == 20
    for query in data_split.copies:
        record = kept[query.id]
        assert (query.sequence, query.lineage, query.group) == (record.sequence, record.lineage, COPY)
        assert query.present == tuple(map(bool, query.lineage))
        # One of three is the query.
        assert record.records == 2
    copied = {query.id for query in data_split.copies}
    assert all(kept[r.id].records == r.records for r in several if r.id in kept and r.id not in copied)
    # All sequences have one record, so any row with a species may be drawn.
    assert not alone.counted
    assert len(alone.copies) == 20
    assert all(record.records == 1 for record in alone.training)
    assert not {query.id for query in alone.copies} & {query.id for query in alone.queries}
    assert COPY not in data_split.sizes()
    # Records without a species are never copies.
    gaps = [r._replace(lineage=(*r.lineage[:6], "")) for r in data]
    assert split(gaps, queries=20).copies == []


def test_copies_are_drawn_by_numbers_of_records():
    data = [record._replace(records=20 if record.lineage[3] == "o0" else 2) for record in tree()]
    drawn = Counter(q.lineage[3] for seed in range(30) for q in split(data, queries=5, seed=seed).copies)
    # Ten to one, as long as equally many of each remain.
    assert drawn["o0"] > 5 * drawn["o1"] > 0


def test_copies_are_cropped_like_other_queries():
    data_split = split(tree(), queries=10)
    whole = {query.id: query for query in data_split.copies}
    cropped = data_split.crop_copies(20)
    assert [query.id for query in cropped] == list(whole)
    assert all(len(q.sequence) == 20 and q.sequence in whole[q.id].sequence for q in cropped)
    assert data_split.crop_copies(49) == []
    assert data_split.crop_copies(None) == data_split.copies
    with pytest.raises(UsageError, match="crop length is 0"):
        data_split.crop_copies(0)


@pytest.mark.parametrize(
    "data",
    [
        [],
        [Labelled("a", "ACGT", ("",) * 7)],
        [Labelled("a", "ACGT", lineage(species="x")), Labelled("b", "ACGT", lineage(species="x"))],
        [Labelled("a", "ACGT", lineage(genus="")), Labelled("b", "ACGA", lineage(genus=""))],
    ],
    ids=["nothing", "no names", "one sequence", "no genus"],
)
def test_data_that_cannot_be_split_are_refused(data):
    with pytest.raises(InputError, match="give nothing to hold out"):
        split(data)


def test_records_without_names_are_omitted():
    data_split = split([*tree(), Labelled("bare", "ACGT", ("",) * 7)], queries=5)
    assert data_split.unlabelled == 1
    assert "bare" not in {record.id for record in data_split.training}


def test_invalid_numbers_are_refused():
    with pytest.raises(UsageError, match="`queries` is 0"):
        split(tree(), queries=0)
    with pytest.raises(UsageError, match="crop length is 0"):
        split(tree(), queries=5).crop(0)
