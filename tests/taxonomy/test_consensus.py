"""Names by the consensus of the best hits, by hand and against a slow count."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.taxonomy.consensus import consensus
from ednabed.taxonomy.evidence import FEATURES, weigh
from taxonomy_support import candidates_of, labels_of

RAT = ("Animalia", "Chordata", "Mammalia", "Rodentia", "Muridae", "Rattus", "Rattus rattus")
BROWN = (*RAT[:6], "Rattus norvegicus")
MOUSE = (*RAT[:5], "Mus", "Mus musculus")
VOLE = (*RAT[:4], "Cricetidae", "Microtus", "Microtus agrestis")
NO_GENUS = (*RAT[:5], "", "Rattus rattus")
EVERY = [RAT, BROWN, MOUSE, VOLE, NO_GENUS]
AGREEMENT = FEATURES.index("agreement")


def evidence_of(rows, identities, margin=1.0):
    """Return the consensus of one query's hits, from their lineages and identities in percent."""
    labels = labels_of(rows)
    candidates = candidates_of([list(range(len(rows)))], [[1 - own / 100 for own in identities]])
    return consensus(weigh(candidates, labels), candidates, labels, margin), labels


def names_of(found, labels, query=0):
    return tuple(labels.lineages[n][r] if n >= 0 else "" for r, n in enumerate(found.lineages[query].tolist()))


def test_more_than_half_decide():
    rows = [[(RAT, 1)], [(RAT, 1)], [(BROWN, 1)]]
    found, labels = evidence_of(rows, [99, 99, 99])
    assert names_of(found, labels) == RAT
    assert found.features[0, 6, AGREEMENT] == pytest.approx(2 / 3)
    assert found.features[0, 5, AGREEMENT] == 1
    found, labels = evidence_of([*rows, [(BROWN, 1)]], [99] * 4)
    assert names_of(found, labels) == (*RAT[:6], ""), "half are not more than half"


def test_no_name_below_an_unsettled_one():
    """Two voles and two rats: no family, although at species the two rats without a genus would agree."""
    found, labels = evidence_of([[(VOLE, 1)], [(VOLE, 1)], [(NO_GENUS, 1)], [(NO_GENUS, 1)]], [99] * 4)
    assert names_of(found, labels) == (*RAT[:4], "", "", "")


def test_a_hit_without_a_name_does_not_vote():
    found, labels = evidence_of([[(NO_GENUS, 1)], [(NO_GENUS, 1)], [(RAT, 1)]], [99] * 3)
    assert names_of(found, labels) == RAT
    assert found.features[0, 5, AGREEMENT] == 1
    found, labels = evidence_of([[(NO_GENUS, 1)]], [99])
    assert names_of(found, labels) == NO_GENUS


def test_only_hits_within_the_margin_vote():
    rows = [[(BROWN, 1)], [(RAT, 1)], [(RAT, 1)]]
    assert names_of(*evidence_of(rows, [99, 98.5, 98.4])) == RAT
    assert names_of(*evidence_of(rows, [99, 97.9, 97.9])) == BROWN
    assert names_of(*evidence_of(rows, [99, 98.5, 98.4], margin=0)) == BROWN
    assert names_of(*evidence_of(rows, [99, 97.9, 97.9], margin=1.2)) == RAT


def test_a_sequence_has_one_vote_shared_by_its_lineages_in_proportion_to_records():
    found, labels = evidence_of([[(BROWN, 30), (RAT, 10)], [(RAT, 1)]], [99, 99])
    assert names_of(found, labels) == RAT
    assert found.features[0, 6, AGREEMENT] == pytest.approx((0.25 + 1) / 2)


def test_ties_are_settled_and_the_rest_stays_as_it_is():
    labels = labels_of([[(RAT, 1)], [(BROWN, 1)]])
    candidates = candidates_of([[0, 1], [], [1]], [[0.01, 0.01], [], [0.02]])
    evidence = weigh(candidates, labels)
    assert evidence.tied[0]
    found = consensus(evidence, candidates, labels, 1)
    assert found.tied == [(), (), ()]
    assert names_of(found, labels, 0) == (*RAT[:6], "")
    assert found.lineages[1].tolist() == [-1] * 7
    assert names_of(found, labels, 2) == BROWN
    assert found.nearest.tolist() == evidence.nearest.tolist()
    assert found.distance.tolist() == evidence.distance.tolist()


def test_hits_without_compared_bases_do_not_vote():
    labels = labels_of([[(BROWN, 1)], [(RAT, 1)], [(RAT, 1)]])
    candidates = candidates_of([[0, 1, 2]], [[0.001, 0.002, 0.002]])
    evidence = weigh(candidates, labels)
    assert names_of(consensus(evidence, candidates, labels, 1), labels) == RAT
    bases = candidates.bases.copy()
    bases[0, 1:] = 0
    assert names_of(consensus(evidence, replace(candidates, bases=bases), labels, 1), labels) == BROWN
    # Missing bases count as mismatches.
    lacking = candidates.lacking.copy()
    lacking[0, 1:] = 9
    assert names_of(consensus(evidence, replace(candidates, lacking=lacking), labels, 1), labels) == BROWN


def test_no_query():
    labels = labels_of([[(RAT, 1)]])
    candidates = candidates_of([], [])
    assert len(consensus(weigh(candidates, labels), candidates, labels, 1).lineages) == 0


def slowly(rows, identities, margin):
    """As the docstring defines it, for one query."""
    best = max(identities)
    votes = []
    for row, identity in zip(rows, identities, strict=True):
        if identity >= best - margin:
            total = sum(count for _, count in row)
            votes += [(lineage, count / total) for lineage, count in row]
    names = [""] * 7
    for rank in range(7):
        named = {}
        for lineage, share in votes:
            if lineage[rank]:
                named[lineage[rank]] = named.get(lineage[rank], 0) + share
        if not named:
            continue
        most = max(named, key=lambda name: named[name])
        share = named[most] / sum(named.values())
        if abs(share - 0.5) < 1e-9:
            return None
        if share < 0.5:
            break
        names[rank] = most
        votes = [(lineage, share) for lineage, share in votes if lineage[rank] in ("", most)]
    return tuple(names)


entries = st.tuples(st.sampled_from(EVERY), st.integers(1, 9))
rows_ = st.lists(
    st.tuples(
        st.lists(entries, min_size=1, max_size=3, unique_by=lambda entry: entry[0]),
        st.sampled_from([99.9, 99.4, 98.6, 97.0]),
    ),
    min_size=1,
    max_size=7,
)


@settings(max_examples=200)
@given(rows_, st.sampled_from([0.1, 1.0, 2.0, 5.0]))
def test_against_a_slow_count(table, margin):
    rows = [sorted(row, key=lambda entry: -entry[1]) for row, _ in table]
    identities = [identity for _, identity in table]
    expected = slowly(rows, identities, margin)
    if expected is not None:
        assert names_of(*evidence_of(rows, identities, margin)) == expected
