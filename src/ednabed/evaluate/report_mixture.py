"""Format the natural mixture of an evaluation as Markdown."""

from __future__ import annotations

from ednabed.evaluate.accuracy import Evaluation
from ednabed.evaluate.markdown import markdown_table, number
from ednabed.evaluate.mixture import PRECISIONS, shares
from ednabed.evaluate.splits import COPY, GROUPS

SHOWN = ("species", "genus")
"""Ranks in the tables; the JSON also contains the family."""

_SHARES = ", ".join(f"{group} {100 * share:.0f} %" for group, share in shares((COPY, *GROUPS)).items())
_LOWEST = f"{PRECISIONS[-1]:.2f}"

READING = f"""\
- *Natural mixture*: about half of the sequences obtained from a known species are exact copies of a reference sequence.
  Copies, whose sequence stays in training, are therefore queries too, and the groups are weighted by these shares, not
  by their numbers of queries: {_SHARES} (the share of groups without queries goes to the others of their half).
  ednabed, which estimates from a study how common known species are, classifies them as one study, half of which are
  known species.
  *Recall*: of the queries whose taxon is in training, the share that is given the right name; *precision*: of all names
  given, including those given to queries whose taxon is absent, the share that is right; both *by default* for the
  names that the method gives.
- *Recall at precision P*: the largest recall at any cutoff at which the precision reaches P, over all best guesses,
  given or not, in the method's own order: by confidence; if it has none, by identity; if it has none either, by its
  novelty score. 0 if no cutoff reaches P.
- *Claims of absence*: the broadest rank at which a method claims that the taxon of a query is not in training. *Right*:
  at the rank that was held out; *too broad*: at a rank above it, whose taxon is in training; *too narrow*: at a rank
  below it.
- *Copies of one species*: copies whose sequence no other species in training has. *New haplotypes*: held-out records,
  whose species is in training under another sequence; the share of best species guesses that are right."""


def mixture_parts(evaluation: Evaluation, crop: str) -> list[str]:
    """Format the mixture of one crop: a table for each rank, copies and haplotypes, and claims of absence."""
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
        "contain the number of source records of each sequence (it was dereplicated)."
    )


def _rank(evaluation: Evaluation, crop: str, rank: str) -> str:
    header = [f"{rank}: method", "recall by default", "precision by default"]
    header += [f"recall at precision {precision:.2f}" for precision in PRECISIONS]
    header += ["calibration error", "given though absent"]
    rows = []
    for result in evaluation.results:
        found = result.crops[crop].mixture["ranks"][rank]
        recalls = found["recall_at_precision"].values()
        cells = [found["recall"], found["precision"], *recalls, found["calibration_error"], found["over_classified"]]
        rows.append([result.name, *map(number, cells)])
    return markdown_table(header, rows)


def _copies(evaluation: Evaluation, crop: str) -> str:
    header = ["method", "copies of one species", "given a species", "given the right one", "new haplotypes"]
    header.append("right best guess")
    rows = []
    for result in evaluation.results:
        copies, haplotypes = (result.crops[crop].mixture[key] for key in ("copies", "haplotypes"))
        cells = [str(copies["queries"]), number(copies["given"]), number(copies["right"])]
        rows.append([result.name, *cells, str(haplotypes["queries"]), number(haplotypes["accuracy"])])
    return markdown_table(header, rows)


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
            held_out = "nothing (copy)" if group == COPY else group
            cells = [number(found.get(key)) for key in ("claimed", "right", "too_broad", "too_narrow")]
            rows.append([result.name, held_out, str(found["queries"]), *cells, "", ""])
        rows.append([result.name, "all", *[""] * 5, number(claims["wrong"]), number(claims["known"])])
    silent = [result.name for result in evaluation.results if result not in claiming]
    text = markdown_table(header, rows)
    return text + (f"\n\nNo claims by {', '.join(silent)}." if silent else "")
