"""Names that are given and withheld, what is new, and ties, case by case."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.errors import UsageError
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.assign import IDENTITIES, LEAST_IDENTITIES, Criteria, judge
from ednabed.taxonomy.calibration import Group, RankModel
from ednabed.taxonomy.evidence import FEATURES, weigh
from taxonomy_support import candidates_of, labels_of

RAT = ("Animalia", "Chordata", "Mammalia", "Rodentia", "Muridae", "Rattus", "Rattus rattus")
BROWN = (*RAT[:6], "Rattus norvegicus")
MOUSE = (*RAT[:5], "Mus", "Mus musculus")
GAPS = ("Animalia", "Chordata", "", "", "Muridae", "", "Rattus sp1")
TWIN = ("Plantae", "Bryophyta", "", "", "", "Rattus", "Rattus rattus")
DEEPEST = len(RANKS) - 1


def sure(confidence):
    """A model that always says the same."""
    odds = float(np.log(confidence / (1 - confidence)))
    zeros, ones = [0.0] * 8, [1.0] * 8
    return RankModel([[] for _ in FEATURES], zeros, zeros, zeros, ones, zeros, odds, 500)


def group_of(confidences=None, nulls=None, decoys=()):
    """What is calibrated: a confidence a rank, and at a rank the distance of all nulls."""
    ranks = {rank: sure(c) for rank, c in (confidences or {}).items()}
    return Group(ranks, {rank: [[d] * 99, [], []] for rank, d in (nulls or {}).items()}, list(decoys), {})


def verdict(rows, distances, likeness=1.0, group=None, length=200, **criteria):
    labels = labels_of(rows)
    evidence = weigh(candidates_of([list(range(len(rows)))], [distances], lengths=length), labels)
    return judge(evidence, np.array([length]), np.array([likeness]), labels, group, Criteria(**criteria))[0]


def depth(found):
    return max((r for r, name in enumerate(found.lineage) if name), default=-1)


@pytest.mark.parametrize(
    "criteria",
    [{"min_confidence": 1.2}, {"min_confidence": -0.1}, {"min_identity": 101}, {"alpha": float("nan")}, {"alpha": 2}],
)
def test_criteria_that_cannot_be(criteria):
    with pytest.raises(UsageError, match="wanted a number from 0 to"):
        Criteria(**criteria)


@pytest.mark.parametrize(("likeness", "deepest"), [*((share, r) for r, share in enumerate(IDENTITIES)), (0, -1)])
def test_fixed_limits_where_nothing_is_calibrated(likeness, deepest):
    found = verdict([[(RAT, 1)]], [0.01], likeness)
    assert depth(verdict([[(RAT, 1)]], [0.01], np.nextafter(likeness, 0))) == max(deepest - 1, -1)
    assert found.lineage == RAT[: deepest + 1] + ("",) * (DEEPEST - deepest)
    assert found.names == RAT
    assert set(found.confidences) == set(found.p_values) == {None}
    assert (found.novel_rank, found.novel_p) == (None, None)


def test_without_letters_and_calibration_nothing_is_given():
    assert depth(verdict([[(RAT, 1)]], [0.01], float("nan"))) == -1


def test_names_down_to_the_last_one_that_is_sure_enough():
    group = group_of({rank: c for rank, c in zip(RANKS, (0.99, 0.98, 0.97, 0.96, 0.9, 0.8, 0.5), strict=True)})
    for least, deepest in ((0.5, 6), (0.51, 5), (0.79, 5), (0.85, 4), (0.95, 3), (0.985, 0), (1, -1), (0, 6)):
        assert depth(verdict([[(RAT, 1)]], [0.01], group=group, min_confidence=least)) == deepest


@pytest.mark.parametrize(("likeness", "deepest"), [*((share, r) for r, share in enumerate(LEAST_IDENTITIES)), (0, -1)])
def test_no_name_below_what_anybody_would_ask_for_however_sure(likeness, deepest):
    assert list(LEAST_IDENTITIES) == sorted(LEAST_IDENTITIES)
    assert all(least < wanted for least, wanted in zip(LEAST_IDENTITIES, IDENTITIES, strict=True))
    sure_of_all = group_of(dict.fromkeys(RANKS, 0.99))
    found = verdict([[(RAT, 1)]], [0.01], likeness, sure_of_all)
    assert found.lineage == RAT[: deepest + 1] + ("",) * (DEEPEST - deepest)
    assert found.names == RAT
    assert found.confidences == pytest.approx((0.99,) * 7), "what is known of it is told all the same"
    assert depth(verdict([[(RAT, 1)]], [0.01], np.nextafter(likeness, 0), sure_of_all)) == max(deepest - 1, -1)
    # Where nobody knows the likeness, the confidence is all there is.
    assert verdict([[(RAT, 1)]], [0.01], float("nan"), sure_of_all).lineage == RAT


def test_a_rank_is_never_less_sure_than_a_deeper_one():
    found = verdict([[(RAT, 1)]], [0.01], group=group_of({"species": 0.9, "genus": 0.6, "kingdom": 0.7}))
    confidences = [c for c in found.confidences if c is not None]
    assert confidences == sorted(confidences, reverse=True)
    assert found.lineage == RAT


@settings(max_examples=60)
@given(st.lists(st.floats(0.01, 0.99), min_size=7, max_size=7), st.sampled_from([RAT, GAPS, TWIN]), st.floats(0, 1))
def test_confidences_fall_over_the_ranks(told, lineage, least):
    group = group_of(dict(zip(RANKS, told, strict=True)))
    found = verdict([[(lineage, 1)]], [0.01], group=group, min_confidence=least)
    named = [r for r in range(7) if lineage[r]]
    assert [c is None for c in found.confidences] == [not name for name in lineage]
    confidences = [found.confidences[r] for r in named]
    assert confidences == sorted(confidences, reverse=True)
    given_ = [r for r in named if found.lineage[r]]
    assert given_ == [r for r in named if found.confidences[r] >= least], "names from the top down, without holes"


def test_ranks_that_are_skipped_stay_empty_and_hold_nothing_up():
    found = verdict([[(GAPS, 1)]], [0.01], group=group_of(dict.fromkeys(RANKS, 0.95)))
    assert found.lineage == GAPS


def test_species_that_tie_get_their_genus_and_are_named():
    for rows in ([[(RAT, 1), (BROWN, 1)]], [[(RAT, 1)], [(BROWN, 1)]]):
        for group in (None, group_of(dict.fromkeys(RANKS, 0.99))):
            found = verdict(rows, [0.005] * len(rows), group=group)
            assert found.lineage == (*RAT[:6], "")
            assert {lineage[6] for lineage in found.tied} == {"Rattus rattus", "Rattus norvegicus"}


def test_genera_that_tie_get_their_family():
    found = verdict([[(RAT, 1), (MOUSE, 1)]], [0.005])
    assert found.lineage == (*RAT[:5], "", "")


def test_homonyms_of_two_phyla_that_tie_are_not_given_at_all():
    found = verdict([[(RAT, 1)], [(TWIN, 1)]], [0.005, 0.005])
    assert found.lineage == ("",) * 7
    assert set(found.tied) == {RAT, TWIN}


def test_no_deeper_name_than_the_rank_at_which_they_tie():
    """Two species of two families whose genus nobody names; a third, further one must not lend its genus."""
    one = (*RAT[:4], "Muridae", "", "Rattus sp1")
    other = (*RAT[:4], "Cricetidae", "", "Vole sp1")
    found = verdict([[(one, 1)], [(other, 1)], [(RAT, 1)]], [0.005, 0.005, 0.02])
    assert found.lineage == (*RAT[:4], "", "", "")


def test_a_name_on_which_tied_species_agree_or_are_silent_is_given():
    silent = (*RAT[:5], "", "Rattus sp1")
    found = verdict([[(RAT, 1)], [(silent, 1)]], [0.005, 0.005])
    assert found.lineage[:5] == RAT[:5]
    assert found.lineage[6] == ""


# -- novelty ---------------------------------------------------------------------------------------------------------

LOW = dict.fromkeys(RANKS, 0.3)


def test_new_is_told_from_species_upward():
    high = {**dict.fromkeys(RANKS[:5], 0.9), "genus": 0.3, "species": 0.1}
    # Further than all members of species and genera, nearer than those of families.
    found = verdict([[(RAT, 1)]], [0.1], group=group_of(high, {"species": 0.01, "genus": 0.05, "family": 0.2}))
    assert (found.novel_rank, found.novel_p) == ("genus", pytest.approx(0.01))
    assert found.lineage == (*RAT[:5], "", "")
    assert found.p_values[4:] == pytest.approx((1, 0.01, 0.01))


def test_a_rank_above_one_that_is_not_new_is_not_new():
    found = verdict([[(RAT, 1)]], [0.1], group=group_of(LOW, {"species": 0.2, "genus": 0.05, "family": 0.05}))
    assert (found.novel_rank, found.novel_p) == (None, 1)


def test_what_has_a_name_is_not_new():
    group = group_of(dict.fromkeys(RANKS, 0.95), {"species": 0.01, "genus": 0.01})
    found = verdict([[(RAT, 1)]], [0.1], group=group)
    assert found.lineage == RAT
    assert (found.novel_rank, found.novel_p) == (None, pytest.approx(0.01))


def test_alpha_is_the_limit():
    group = group_of(LOW, {"species": 0.01})
    assert verdict([[(RAT, 1)]], [0.1], group=group, alpha=0.01).novel_rank == "species"
    assert verdict([[(RAT, 1)]], [0.1], group=group, alpha=0.0099).novel_rank is None


def test_ranks_that_relatives_do_not_name_are_not_judged():
    found = verdict([[((*RAT[:5], "", ""), 1)]], [0.1], group=group_of(LOW, {"species": 0.01, "genus": 0.01}))
    assert found.novel_rank is None


@pytest.mark.parametrize(("length", "limit"), [(20, 0.3), (25, 0.3), (50, 0.35), (100, 0.4), (101, 0.4), (900, 0.4)])
def test_what_is_no_nearer_than_nonsense_of_its_length_is_nothing(length, limit):
    """25 scrambled letters are at 0.3, 100 at 0.4; 50 are halfway between by their logarithm."""
    group = group_of(LOW, {"species": 0.01}, [(25, 0.3), (100, 0.4)])
    found = verdict([[(RAT, 1)]], [limit + 1e-9], group=group, length=length)
    assert found.strange
    assert (found.names, found.lineage, found.novel_rank) == (("",) * 7, ("",) * 7, None)
    assert found.confidences == found.p_values == (None,) * 7
    found = verdict([[(RAT, 1)]], [limit - 1e-9], group=group, length=length)
    assert not found.strange
    assert (found.names, found.novel_rank) == (RAT, "species")


def test_where_no_decoy_was_drawn_nothing_is_strange():
    assert not verdict([[(RAT, 1)]], [0.99], group=group_of(LOW)).strange
    assert not verdict([[(RAT, 1)]], [0.99]).strange


def test_nothing_found_is_nothing_said():
    labels = labels_of([[(RAT, 1)]])
    evidence = weigh(candidates_of([[]], [[]]), labels)
    group = group_of(LOW, {"species": 0.01}, [(200, 0.39)])
    found = judge(evidence, np.array([200]), np.array([np.nan]), labels, group, Criteria())[0]
    assert (found.names, found.lineage, found.novel_rank, found.strange) == (("",) * 7, ("",) * 7, None, False)


def test_names_that_fit_equally_well_share_their_confidence():
    """Of two species at the same distance neither can be likelier than a half, whatever the regression says."""
    found = verdict([[(RAT, 1)], [(BROWN, 1)]], [0.005, 0.005], group=group_of(dict.fromkeys(RANKS, 0.99)))
    assert found.confidences[6] == pytest.approx(0.5)
    assert found.confidences[5] == pytest.approx(0.99)
    alone = verdict([[(RAT, 1)]], [0.005], group=group_of(dict.fromkeys(RANKS, 0.99)))
    assert alone.confidences[6] == pytest.approx(0.99)


def test_no_confidence_makes_up_for_identity():
    group = group_of(dict.fromkeys(RANKS, 0.99))
    for likeness, deepest in ((0.95, 6), (0.9, 5), (0.82, 4), (0.72, 2), (0.5, -1)):
        assert depth(verdict([[(RAT, 1)]], [0.05], likeness, group)) == deepest
    assert depth(verdict([[(RAT, 1)]], [0.05], float("nan"), group)) == 6, "by vectors alone nobody knows it"
