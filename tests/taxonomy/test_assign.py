"""Names that are given and withheld, taxa reported as absent, and ties, case by case."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.errors import UsageError
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.assign import (
    IDENTITIES,
    MIN_IDENTITIES,
    Criteria,
    Opinion,
    judge,
    lowered_by_ties,
    raised_by_deeper,
)
from ednabed.taxonomy.evidence import FEATURES, weigh
from taxonomy_support import candidates_of, labels_of

RAT = ("Animalia", "Chordata", "Mammalia", "Rodentia", "Muridae", "Rattus", "Rattus rattus")
BROWN = (*RAT[:6], "Rattus norvegicus")
MOUSE = (*RAT[:5], "Mus", "Mus musculus")
GAPS = ("Animalia", "Chordata", "", "", "Muridae", "", "Rattus sp1")
TWIN = ("Plantae", "Bryophyta", "", "", "", "Rattus", "Rattus rattus")
DEEPEST = len(RANKS) - 1
AGREEMENT = FEATURES.index("agreement")
NAN = math.nan


def by_rank(values, default=NAN):
    """Return seven numbers, given by rank, or one for all."""
    if isinstance(values, dict):
        return np.array([values.get(rank, default) for rank in RANKS], np.float64)
    return np.full(7, default if values is None else values, np.float64)


def asked(rows, distances=None, likeness=1.0, confidences=None, criteria=None, **more):
    """Return what is known about a query, given its candidates, and the verdict."""
    labels = labels_of(rows)
    distances = [0.01] * len(rows) if distances is None else distances
    evidence = weigh(candidates_of([list(range(len(rows)))], [distances]), labels)
    criteria = criteria or Criteria()
    final = by_rank(confidences)
    final = lowered_by_ties(final, evidence.tied[0], evidence.features[0, :, AGREEMENT], labels)
    final = np.where(evidence.lineages[0] >= 0, final, NAN)
    final = raised_by_deeper(final[None], evidence.lineages >= 0)[0]
    values = {
        "sources": evidence.lineages[0], "tied": evidence.tied[0], "likeness": likeness, "coverage": 100.0,
        "identity": 100 * likeness, "confidences": final, "cutoffs": np.full(7, criteria.min_confidence),
        "absences": by_rank(None), "p_values": by_rank(None), "q_values": by_rank(None),
        "learned": confidences is not None,
    }  # fmt: skip
    opinion = Opinion(**{**values, **more})
    return opinion, judge(opinion, labels, criteria)


def verdict(*arguments, **more):
    return asked(*arguments, **more)[1]


def depth(found):
    return max((r for r, name in enumerate(found.lineage) if name), default=-1)


@pytest.mark.parametrize(
    "criteria",
    [
        {"min_confidence": 1.2}, {"min_confidence": -0.1}, {"min_identity": 101}, {"alpha": NAN}, {"alpha": 2},
        {"novel_coverage": 100.1}, {"margin": -1},
    ],
)  # fmt: skip
def test_criteria_out_of_range(criteria):
    with pytest.raises(UsageError, match="expected a number from 0 to"):
        Criteria(**criteria)


@pytest.mark.parametrize("name", ["precision", "known"])
@pytest.mark.parametrize("share", [0, 1, -0.5, 1.5, NAN])
def test_shares_out_of_range(name, share):
    with pytest.raises(UsageError, match=rf"`{name}` is .*a share above 0 and below 1"):
        Criteria(**{name: share})


@pytest.mark.parametrize("more", [{"precision": 0.9}, {"known": 0.5}])
def test_a_consensus_has_no_confidences(more):
    with pytest.raises(UsageError, match="`consensus` gives names without confidences"):
        Criteria(consensus=True, **more)
    assert Criteria(consensus=True, margin=2, min_identity=97).consensus


# -- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("likeness", "deepest"), [*((share, r) for r, share in enumerate(IDENTITIES)), (0, -1)])
def test_fixed_limits_without_calibration(likeness, deepest):
    found = verdict([[(RAT, 1)]], likeness=likeness)
    assert depth(verdict([[(RAT, 1)]], likeness=np.nextafter(likeness, 0))) == max(deepest - 1, -1)
    assert found.lineage == RAT[: deepest + 1] + ("",) * (DEEPEST - deepest)
    assert found.names == RAT
    assert found.withheld == (None if deepest == DEEPEST else "identity")
    assert (found.novel_rank, found.by_limit) == (None, None)


def test_without_bases_and_calibration_no_name_is_given():
    found = verdict([[(RAT, 1)]], likeness=NAN)
    assert (depth(found), found.withheld) == (-1, "identity")


def test_names_are_given_down_to_the_last_sure_one():
    confidences = dict(zip(RANKS, (0.99, 0.98, 0.97, 0.96, 0.9, 0.8, 0.5), strict=True))
    for least, deepest in ((0.5, 6), (0.51, 5), (0.79, 5), (0.85, 4), (0.95, 3), (0.985, 0), (1, -1), (0, 6)):
        found = verdict([[(RAT, 1)]], confidences=confidences, criteria=Criteria(min_confidence=least))
        assert depth(found) == deepest
        assert found.withheld == (None if deepest == DEEPEST else "confidence")
        assert found.names == RAT, "the best guess is still reported"


def test_each_rank_has_its_own_cutoff():
    confidences = dict(zip(RANKS, (0.99, 0.98, 0.97, 0.96, 0.9, 0.8, 0.5), strict=True))
    cutoffs = by_rank({"genus": 0.85, "species": 0.4}, 0.9)
    found = verdict([[(RAT, 1)]], confidences=confidences, cutoffs=cutoffs)
    assert found.lineage == RAT, "a species that is sure enough brings its genus with it"
    found = verdict([[(RAT, 1)]], confidences=confidences, cutoffs=by_rank({"species": 0.6}, 0.9))
    assert (found.lineage, found.withheld) == ((*RAT[:5], "", ""), "confidence")
    # No confidence reaches the requested precision.
    never = verdict([[(RAT, 1)]], confidences=confidences, cutoffs=by_rank(math.inf))
    assert (never.lineage, never.withheld) == (("",) * 7, "confidence")


@pytest.mark.parametrize(("likeness", "deepest"), [*((share, r) for r, share in enumerate(MIN_IDENTITIES)), (0, -1)])
def test_no_name_below_the_minimum_identity_however_sure(likeness, deepest):
    assert list(MIN_IDENTITIES) == sorted(MIN_IDENTITIES)
    assert all(least < usual for least, usual in zip(MIN_IDENTITIES, IDENTITIES, strict=True))
    found = verdict([[(RAT, 1)]], likeness=likeness, confidences=0.99)
    assert found.lineage == RAT[: deepest + 1] + ("",) * (DEEPEST - deepest)
    assert found.names == RAT
    assert found.withheld == (None if deepest == DEEPEST else "identity")
    below = verdict([[(RAT, 1)]], likeness=np.nextafter(likeness, 0), confidences=0.99)
    assert depth(below) == max(deepest - 1, -1)
    # If the likeness is unknown, only the confidence counts.
    assert verdict([[(RAT, 1)]], likeness=NAN, confidences=0.99).lineage == RAT


def test_confidence_does_not_make_up_for_low_identity():
    for likeness, deepest in ((0.95, 6), (0.9, 5), (0.82, 4), (0.72, 2), (0.5, -1)):
        assert depth(verdict([[(RAT, 1)]], likeness=likeness, confidences=0.99)) == deepest


def test_a_rank_is_never_less_sure_than_a_deeper_one():
    opinion, found = asked([[(RAT, 1)]], confidences={"species": 0.9, "genus": 0.6, "kingdom": 0.7})
    assert opinion.confidences.tolist() == [0.9] * 7, "also if nothing was learned about a rank above"
    assert found.lineage == RAT
    opinion, _ = asked([[(RAT, 1)]], confidences={"genus": 0.6, "kingdom": 0.7})
    assert opinion.confidences[:6].tolist() == [0.7, *[0.6] * 5]
    assert np.isnan(opinion.confidences[6])


@settings(max_examples=60)
@given(st.lists(st.floats(0.01, 0.99), min_size=7, max_size=7), st.sampled_from([RAT, GAPS, TWIN]), st.floats(0, 1))
def test_confidences_fall_over_the_ranks(learned, lineage, least):
    opinion, found = asked(
        [[(lineage, 1)]], confidences=dict(zip(RANKS, learned, strict=True)), criteria=Criteria(min_confidence=least)
    )
    named = [r for r in range(7) if lineage[r]]
    assert np.isnan(opinion.confidences).tolist() == [not name for name in lineage]
    confidences = [float(opinion.confidences[r]) for r in named]
    assert confidences == sorted(confidences, reverse=True)
    # Each confidence is the maximum of its own and those below.
    assert confidences == [max(learned[r] for r in named if r >= rank) for rank in named]
    given_ = [r for r in named if found.lineage[r]]
    assert given_ == [r for r in named if opinion.confidences[r] >= least], "names from the top down, without gaps"
    assert found.withheld == (None if given_ == named else "confidence")


def test_a_rank_given_by_a_fixed_limit_is_reported_and_never_below_a_withheld_one():
    known = {rank: 0.9 for rank in RANKS[:6]}
    found = verdict([[(RAT, 1)]], confidences=known, likeness=0.98)
    assert (found.lineage, found.by_limit, found.withheld) == (RAT, DEEPEST, None)
    found = verdict([[(RAT, 1)]], confidences=known, likeness=0.96)
    assert (depth(found), found.by_limit, found.withheld) == (5, None, "identity")
    found = verdict([[(RAT, 1)]], confidences={**known, "genus": 0.5}, likeness=0.98)
    assert (depth(found), found.by_limit, found.withheld) == (4, None, "confidence")


def test_skipped_ranks_stay_empty_and_withhold_nothing():
    found = verdict([[(GAPS, 1)]], confidences=0.95)
    assert (found.lineage, found.withheld) == (GAPS, None)
    # A name that is missing below the deepest one is not withheld.
    found = verdict([[((*RAT[:6], ""), 1)]], confidences=0.95)
    assert (found.lineage, found.withheld) == ((*RAT[:6], ""), None)


# -- ties ------------------------------------------------------------------------------------------------------------


def test_species_that_tie_get_their_genus_and_are_named():
    for rows in ([[(RAT, 1), (BROWN, 1)]], [[(RAT, 1)], [(BROWN, 1)]]):
        for confidences in (None, 0.99):
            found = verdict(rows, confidences=confidences)
            assert found.lineage == (*RAT[:6], "")
            assert {lineage[6] for lineage in found.tied} == {"Rattus rattus", "Rattus norvegicus"}
            assert found.withheld == "tie"


def test_genera_that_tie_get_their_family():
    found = verdict([[(RAT, 1), (MOUSE, 1)]])
    assert (found.lineage, found.withheld) == ((*RAT[:5], "", ""), "tie")


def test_a_tie_below_an_unsure_name_is_not_the_reason():
    found = verdict([[(RAT, 1), (BROWN, 1)]], confidences={**dict.fromkeys(RANKS, 0.9), "genus": 0.4, "species": 0.3})
    assert (depth(found), found.withheld) == (4, "confidence")


def test_tied_homonyms_of_two_phyla_are_not_given():
    found = verdict([[(RAT, 1)], [(TWIN, 1)]])
    assert (found.lineage, found.withheld) == (("",) * 7, "tie")
    assert set(found.tied) == {RAT, TWIN}


def test_no_name_is_deeper_than_the_rank_of_a_tie():
    """Two species of two families without a named genus; a third, more distant one must not lend its genus."""
    one = (*RAT[:4], "Muridae", "", "Rattus sp1")
    other = (*RAT[:4], "Cricetidae", "", "Vole sp1")
    found = verdict([[(one, 1)], [(other, 1)], [(RAT, 1)]], [0.005, 0.005, 0.02])
    assert found.lineage == (*RAT[:4], "", "", "")


def test_a_name_is_given_if_tied_species_agree_or_have_none():
    silent = (*RAT[:5], "", "Rattus sp1")
    found = verdict([[(RAT, 1)], [(silent, 1)]])
    assert found.lineage[:5] == RAT[:5]
    assert found.lineage[6] == ""


def test_names_that_fit_equally_well_share_their_confidence():
    """Neither of two species at the same distance can be more probable than one half, whatever is predicted."""
    opinion, _ = asked([[(RAT, 1)], [(BROWN, 1)]], confidences=0.99)
    assert opinion.confidences.tolist() == pytest.approx([0.99] * 6 + [0.5])
    alone, _ = asked([[(RAT, 1)]], confidences=0.99)
    assert alone.confidences.tolist() == pytest.approx([0.99] * 7)
    # A confidence below the share of the votes stays.
    unsure, _ = asked([[(RAT, 1)], [(BROWN, 1)]], confidences=0.3)
    assert unsure.confidences.tolist() == pytest.approx([0.3] * 7)


def test_lowered_by_ties_does_not_change_its_argument():
    labels = labels_of([[(RAT, 1)], [(BROWN, 1)]])
    confidences = np.full(7, 0.9)
    found = lowered_by_ties(confidences, (0, 1), np.full(7, 0.4), labels)
    assert confidences.tolist() == [0.9] * 7
    assert found.tolist() == [0.9] * 6 + [0.4]
    assert lowered_by_ties(confidences, (), np.full(7, 0.4), labels).tolist() == [0.9] * 7


# -- limits of the user ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "note", "word"),
    [
        ({"min_identity": 97}, "identity 96.0 is below the requested 97", "identity"),
        ({"min_coverage": 80.5}, "coverage 80.0 is below the requested 80.5", "coverage"),
        ({"min_identity": 97, "min_coverage": 99}, "identity 96.0 is below the requested 97", "identity"),
    ],
)
def test_limits_of_identity_and_coverage_withhold_all(limit, note, word):
    more = {"identity": 96.0, "coverage": 80.0, "p_values": by_rank(0.01), "q_values": by_rank(0.01)}
    found = verdict([[(RAT, 1)]], confidences=0.99, criteria=Criteria(**limit), **more)
    assert (found.lineage, found.names, found.withheld, found.novel_rank) == (("",) * 7, RAT, word, None)
    assert found.note == note
    for value in ({"identity": 97.0, "coverage": 99.0}, {"identity": NAN, "coverage": NAN}):
        found = verdict([[(RAT, 1)]], confidences=0.99, criteria=Criteria(**limit), **value)
        assert (found.lineage, found.note, found.withheld) == (RAT, "", None)


# -- what is absent --------------------------------------------------------------------------------------------------

HIGH = {**dict.fromkeys(RANKS[:5], 0.9), "genus": 0.3, "species": 0.1}


def absent(p_values, confidences=HIGH, rows=(((RAT, 1),),), criteria=None, **more):
    p_values = by_rank(p_values)
    values = {"p_values": p_values, "q_values": p_values, "absences": np.where(np.isnan(p_values), NAN, 0.95), **more}
    return verdict(
        [list(row) for row in rows], confidences=confidences, likeness=0.95, criteria=criteria, **values
    ).novel_rank


def test_absence_is_tested_from_species_upward():
    assert absent({"family": 0.4, "genus": 0.01, "species": 0.01}) == 5
    assert absent({"family": 0.4, "genus": 0.2, "species": 0.01}) == 6
    assert absent({"genus": 0.01, "species": 0.01}) == 5


def test_a_rank_above_one_that_is_not_absent_is_not_absent():
    assert absent({"genus": 0.01, "species": 0.2}) is None
    low = {**dict.fromkeys(RANKS[:3], 0.9), **dict.fromkeys(RANKS[3:], 0.3)}
    assert absent({"order": 0.01, "family": 0.01, "genus": 0.2, "species": 0.01}, low) == 6


def test_absence_ends_below_the_deepest_name_given():
    every = dict.fromkeys(RANKS[3:], 0.01)
    for deepest in range(2, 7):
        confidences = {rank: 0.9 if r <= deepest else 0.3 for r, rank in enumerate(RANKS)}
        assert absent(every, confidences) == (None if deepest == 6 else deepest + 1)


def test_nothing_is_absent_without_a_name_above_it():
    every = dict.fromkeys(RANKS[3:], 0.001)
    assert absent(every, dict.fromkeys(RANKS, 0.3)) is None
    assert absent(every, {**dict.fromkeys(RANKS, 0.3), "kingdom": 0.9}) == 3


@pytest.mark.parametrize(("coverage", "rank"), [(100.0, 5), (80.0, 5), (79.9, None), (0.0, None), (NAN, None)])
def test_nothing_is_absent_if_too_little_was_compared(coverage, rank):
    p_values = {"genus": 0.01, "species": 0.01}
    assert absent(p_values, coverage=coverage) == rank
    loose = Criteria(novel_coverage=0)
    assert absent(p_values, coverage=coverage, criteria=loose) == 5


def test_alpha_is_the_limit_of_p_and_of_q():
    p_values, fewer = by_rank({"species": 0.01}), Criteria(alpha=0.0099)
    assert absent({"species": 0.01}, criteria=Criteria(alpha=0.01)) == 6
    assert absent({"species": 0.01}, criteria=fewer) is None
    assert absent({"species": 0.001}, q_values=p_values, criteria=fewer) is None
    assert absent({"species": 0.001}, q_values=p_values, criteria=Criteria(alpha=0.01)) == 6


def test_an_absence_must_also_be_probable():
    assert absent({"genus": 0.01, "species": 0.01}, absences=by_rank({"genus": 0.69, "species": 0.8})) == 6
    assert absent({"genus": 0.01, "species": 0.01}, absences=by_rank({"genus": 0.71, "species": 0.8})) == 5
    # At family and above with half the uncertainty.
    family = {"family": 0.01, "genus": 0.01}
    order = {rank: 0.99 if r < 4 else 0.3 for r, rank in enumerate(RANKS)}
    assert absent(family, order, absences=by_rank({"family": 0.89, "genus": 0.9})) == 5
    assert absent(family, order, absences=by_rank({"family": 0.91, "genus": 0.9})) == 4
    sure = Criteria(min_confidence=0.95)
    assert absent(family, order, absences=by_rank({"family": 0.97, "genus": 0.99}), criteria=sure) == 5
    assert absent(family, order, absences=by_rank({"family": 0.98, "genus": 0.99}), criteria=sure) == 4
    assert absent({"genus": 0.01, "species": 0.01}, absences=by_rank({"genus": 0.99, "species": 0.79})) is None
    assert absent({"genus": 0.01, "species": 0.01}, absences=by_rank(None)) == 5, "if it is unknown, p decides"


def test_ranks_without_names_of_relatives_are_not_judged():
    every = {"genus": 0.01, "species": 0.01}
    assert absent(every, rows=[[((*RAT[:5], "", ""), 1)]]) is None
    assert absent(every, rows=[[((*RAT[:6], ""), 1)]]) == 5
    assert absent({"species": 0.01}) == 6, "nor those without a p-value"


def test_without_candidates_there_is_no_verdict():
    labels = labels_of([[(RAT, 1)]])
    nothing = Opinion(
        np.full(7, -1), (), NAN, NAN, NAN, by_rank(None), by_rank(0.8), by_rank(None), by_rank(0.01), by_rank(0.01)
    )
    found = judge(nothing, labels, Criteria())
    assert (found.names, found.lineage, found.novel_rank, found.withheld) == (("",) * 7, ("",) * 7, None, None)


confidence = st.one_of(st.just(NAN), st.floats(0, 1))
seven = st.lists(confidence, min_size=7, max_size=7).map(np.array)


@settings(max_examples=200)
@given(
    st.lists(st.sampled_from([RAT, BROWN, MOUSE, GAPS, TWIN]), min_size=1, max_size=3), seven, seven, seven, seven,
    st.sampled_from([0.5, 0.72, 0.9, 0.96, 1.0, NAN]), st.sampled_from([50.0, 85.0, NAN]),
    st.sampled_from([Criteria(), Criteria(min_confidence=0.2, alpha=0.5), Criteria(min_coverage=60)]),
)  # fmt: skip
def test_invariants_of_every_verdict(lineages, learned, absences, p_values, q_values, likeness, coverage, criteria):
    rows = [[(lineage, 1)] for lineage in lineages]
    opinion, _ = asked(rows, confidences=dict(zip(RANKS, learned, strict=True)))
    opinion = replace(
        opinion, likeness=likeness, coverage=coverage, absences=absences, p_values=p_values, q_values=q_values
    )
    found = judge(opinion, labels_of(rows), criteria)
    deepest = depth(found)
    assert found.lineage == found.names[: deepest + 1] + ("",) * (DEEPEST - deepest)
    assert (found.withheld is None) == (not any(found.names[deepest + 1 :]))
    assert (found.withheld == "tie") <= bool(found.tied)
    if found.note:
        assert (deepest, found.withheld) == (-1, "coverage")
    if found.novel_rank is not None:
        assert -1 < deepest < found.novel_rank
        assert not coverage < 80
        for r in range(found.novel_rank, 7):
            if found.names[r] and not np.isnan(p_values[r]):
                assert p_values[r] <= criteria.alpha
                assert not q_values[r] > criteria.alpha
                assert not absences[r] < criteria.min_confidence
