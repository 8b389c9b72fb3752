"""The natural mixture of an evaluation as Markdown."""

from __future__ import annotations

from ednabed.evaluate.accuracy import Evaluation
from ednabed.evaluate.markdown import number, table
from ednabed.evaluate.mixture import PRECISIONS, shares
from ednabed.evaluate.splits import COPY, GROUPS

SHOWN = ("species", "genus")
"""Ranks of the tables; the JSON has the family too."""

_SHARES = ", ".join(f"{group} {100 * share:.0f} %" for group, share in shares((COPY, *GROUPS)).items())
_LOWEST = f"{PRECISIONS[-1]:.2f}"

READING = f"""\
- *Natural mixture*: about half of what is sequenced of a known species is an exact copy of a sequence of the reference.
  So copies, whose sequence stays in training, are asked too, and the groups count by these shares, not by their numbers
  of queries: {_SHARES} (groups without queries leave their share to the others of their half).
  ednabed, which estimates from a study how common known species are, is asked them as one study, half of which is of
  known species.
  *Recall*: of the queries whose taxon is in training, the share that is given the right name; *precision*: of all names
  given, those to queries whose taxon is absent included, the share that is right; both *by default*, for the names that
  the method gives.
- *Recall at precision P*: the largest recall of any cutoff at which the precision reaches P, over all best guesses,
  given or not, in the method's own order: by its confidence, where it has none by identity, where it has none either by
  how near the query is. 0 where no cutoff reaches P.
- *Claims of absence*: the broadest rank at which a method says that the taxon of a query is not in training. *Right*:
  of the rank that was held out; *too broad*: of a rank above it, whose taxon is in training; *too narrow*: of a rank
  below it.
- *Copies of one species*: copies whose sequence no other species in training has. *New haplotypes*: held-out records,
  whose species is in training under another sequence; the share of best guesses of the species that is right."""


def mixture_parts(evaluation: Evaluation, crop: str) -> list[str]:
    """Lay out the mixture of one crop: a table for each rank, copies and haplotypes, and claims of absence."""
    parts = ["### Natural mixture", _copies_sentence(evaluation, crop)]
    for rank in SHOWN:
        parts.append(_rank(evaluation, crop, rank))
    parts += [_copies(evaluation, crop), "### Claims of absence", _claims(evaluation, crop)]
    return parts


def _copies_sentence(evaluation: Evaluation, crop: str) -> str:
    copies = evaluation.copies[crop]
    if evaluation.split.counted:
        return (
            f"{copies:,} of the queries are exact copies: records whose sequence and species stay in training, because "
            "several source records have them."
        )
    return (
        f"{copies:,} of the queries are exact copies: training records drawn at random, because the reference does not "
        "say how many source records a sequence stands for (it was dereplicated)."
    )


def _rank(evaluation: Evaluation, crop: str, rank: str) -> str:
    header = [f"{rank}: method", "recall by default", "precision by default"]
    header += [f"recall at precision {precision:.2f}" for precision in PRECISIONS]
    header += ["calibration error", "given though absent"]
    rows = []
    for result in evaluation.results:
        found = result.crops[crop].mixture["ranks"][rank]
        at = found["recall_at_precision"].values()
        cells = [found["recall"], found["precision"], *at, found["calibration_error"], found["over_classified"]]
        rows.append([result.name, *map(number, cells)])
    return table(header, rows)


def _copies(evaluation: Evaluation, crop: str) -> str:
    header = ["method", "copies of one species", "given a species", "given the right one", "new haplotypes"]
    header.append("right best guess")
    rows = []
    for result in evaluation.results:
        copies, haplotypes = (result.crops[crop].mixture[key] for key in ("copies", "haplotypes"))
        cells = [str(copies["queries"]), number(copies["given"]), number(copies["right"])]
        rows.append([result.name, *cells, str(haplotypes["queries"]), number(haplotypes["accuracy"])])
    return table(header, rows)


def _claims(evaluation: Evaluation, crop: str) -> str:
    claiming = [result for result in evaluation.results if result.crops[crop].mixture["claims"]["claims"]]
    if not claiming:
        return "No method claims that a taxon is absent."
    header = ["method", "held out", "queries", "claimed absent", "of the right rank", "too broad (wrong)", "too narrow"]
    header += ["wrong, of all claims in the mixture", "about known species, of all claims in the mixture"]
    rows = []
    for result in claiming:
        claims = result.crops[crop].mixture["claims"]
        for group, found in claims["groups"].items():
            if not found["queries"]:
                continue
            what = "nothing (copy)" if group == COPY else group
            cells = [number(found.get(key)) for key in ("claimed", "right", "too_broad", "too_narrow")]
            rows.append([result.name, what, str(found["queries"]), *cells, "", ""])
        rows.append([result.name, "all", *[""] * 5, number(claims["wrong"]), number(claims["known"])])
    silent = [result.name for result in evaluation.results if result not in claiming]
    text = table(header, rows)
    return text + (f"\n\nNothing is claimed by {', '.join(silent)}." if silent else "")
