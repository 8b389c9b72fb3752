"""The evaluation: every method gets the same records and queries, and its predictions are measured and reported."""

from __future__ import annotations

import json
import random
import shutil
from contextlib import contextmanager
from dataclasses import replace

import pytest

from ednabed.errors import EdnabedError, UsageError
from ednabed.evaluate.accuracy import evaluate
from ednabed.evaluate.methods import installed
from ednabed.evaluate.metrics import IDENTITY_BINS
from ednabed.evaluate.predictions import Prediction
from ednabed.evaluate.report import to_markdown
from ednabed.evaluate.splits import GROUPS, Labelled, split
from ednabed.evaluate.tools import ToolError


def reference(seed=3):
    """Return records of two orders with five families each, mutated down the tree; 200 to 300 bases long."""
    draw = random.Random(seed)

    def child(sequence, share):
        return "".join(draw.choice("ACGT") if draw.random() < share else c for c in sequence)

    records = []
    for o in range(2):
        order = "".join(draw.choices("ACGT", k=300))
        for f in range(5):
            family = child(order, 0.14)
            for g in range(4):
                genus = child(family, 0.07)
                for s in range(4):
                    species = child(genus, 0.04)
                    names = ("K", "P", "C", f"o{o}", f"o{o}f{f}", f"o{o}f{f}g{g}", f"o{o}f{f}g{g} s{s}")
                    for _ in range(3):
                        sequence = child(species, 0.01)[: draw.randint(200, 300)]
                        records.append(Labelled(f"r{len(records)}", sequence, names))
    return records


class Oracle:
    """Knows the truth for some queries; predicts the same wrong name for all others.

    ``calls`` records its arguments.
    """

    settings = "all by heart | no search"

    def __init__(self, truth, name="oracle", identity=None, confidence=0.9):
        self.truth, self.name, self.identity, self.confidence = truth, name, identity, confidence
        self.calls = []
        self.open = False

    @contextmanager
    def prepare(self, training, threads):
        self.calls.append((list(training), threads))
        self.open = True

        def classify(queries):
            assert self.open
            self.calls.append(list(queries))
            first = training[0].lineage
            return [
                Prediction(
                    name,
                    self.truth.get(name, first),
                    confidences=(self.confidence,) * 7,
                    identity=self.identity,
                    novelty=(float(name not in self.truth),) * 7,
                    p_values=(0.5 if name in self.truth else 0.01,) * 7,
                )
                for name, _ in queries
            ]

        yield classify
        self.open = False


class Broken:
    name, settings = "broken", "never"

    @contextmanager
    def prepare(self, training, threads):
        raise ToolError("sometool failed with exit code 3 (no room left)")
        yield


DATA = reference()
TRUTH = {record.id: record.lineage for record in DATA}


def test_every_method_gets_the_same_and_is_measured():
    knowing, ignorant = Oracle(TRUTH, identity=98.0), Oracle({}, "ignorant")
    found = evaluate(split(DATA, queries=8), [knowing, ignorant], crops=(None, 250, 299), threads=2, title="tree")
    assert knowing.calls == ignorant.calls
    (training, threads), whole, cropped, _ = knowing.calls
    assert threads == 2
    assert training == found.split.training
    data_split = found.split
    assert whole == [(query.id, query.sequence) for query in data_split.queries + data_split.copies]
    assert cropped == [(query.id, query.sequence) for query in data_split.crop(250) + data_split.crop_copies(250)]
    assert not knowing.open
    full = found.results[0].crops["full"]
    assert full.queries == len(whole)
    for group, rank in zip(GROUPS, ("species", "genus", "family", "order"), strict=True):
        measured = full.groups[group][rank]
        assert (measured["queries"], measured["present"]) == (found.split.sizes()[group],) * 2
        assert (measured["accuracy"], measured["precision"], measured["recall"]) == (1, 1, 1)
    everything = full.groups["all"]["species"]
    # Copies are not part of the figures for held-out records.
    assert everything["queries"] == len(data_split.queries) == len(whole) - 8
    # It also names absent taxa, which a method that knows only the training records cannot do.
    assert everything["over_classified"] == 1
    assert everything["calibration_error"] == pytest.approx(0.1)
    assert full.novelty["genus"]["auroc"] == 0.5
    assert full.novelty["genus"]["false_novel"] == full.novelty["genus"]["false_novel_records"] == 0
    assert full.bins["97-99"]["species"] == {"present": found.split.sizes()["record"], "accuracy": 1}
    assert found.identities_from == "oracle"
    other = found.results[1].crops["full"]
    assert other.groups["record"]["species"]["accuracy"] < 0.5
    assert other.novelty["genus"]["false_novel"] == 1
    # Bins are the same queries for both.
    assert {name: bin_["species"]["present"] for name, bin_ in other.bins.items()} == {
        name: bin_["species"]["present"] for name, bin_ in full.bins.items()
    }


def test_the_report_shows_data_settings_failures_and_command():
    found = evaluate(
        split(DATA, queries=8), [Oracle(TRUTH), Broken()], crops=(None, 250, 400), title="tree", command="make accuracy"
    )
    text = to_markdown(found)
    assert text.startswith("# Accuracy: tree\n")
    assert "broken failed: sometool failed with exit code 3 (no room left)." in text
    assert "```\nmake accuracy\n```" in text
    assert "all by heart \\| no search" in text
    assert "record 50 %, species 17 %, genus 17 %, family 17 %" in text
    assert "(mismatches + 1) / (bases + 2)" in text
    assert "The score of ednabed, SINTAX and naive Bayes is 1 - the confidence in the name at that rank" in text
    assert "over-classified* count *names given*. ednabed gives a name if its confidence reaches\n  0.8" in text
    assert "## Cropped to 400 bases\n\nNo query is that long." in text
    sizes = found.split.sizes()
    assert f"| record | its species, under another sequence | {sizes['record']} | {sizes['record']} |" in text
    assert "| oracle | record | 8 | 1.000 ±" in text
    assert f"| oracle | all | {sum(sizes.values())} | 1.000 ±" in text
    assert "| nothing (copy) | its species, under the same sequence | 0 | 8 |" in text
    assert "training records drawn at random, because the reference does not contain the number of source" in text
    assert "copy 25 %, record 25 %, species 17 %, genus 17 %, family 17 %" in text
    assert "No method claims that a taxon is absent." in text
    # Half of the mixture is known and named right; the other half is wrong.
    assert "| oracle | 1.000 | 0.500 | 0.000 | 0.000 | 0.000 | 0.400 | 1.000 |" in text
    # Without identities there are no bins.
    assert found.identities_from is None
    assert "### Accuracy by identity" not in text
    for line in text.splitlines():
        assert line == line.rstrip()
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("| ")]
    for table in tables:
        assert len({row.replace("\\|", "").count("|") for row in table}) == 1


def test_the_json_contains_every_figure():
    found = evaluate(
        split(DATA, queries=8), [Oracle(TRUTH, identity=100.0)], crops=(None, 400), command="make accuracy"
    )
    value = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert value["split"]["records"] == len(DATA)
    assert value["split"]["training"] + sum(value["split"]["taken"].values()) == len(DATA)
    assert value["command"] == "make accuracy"
    assert value["supposed_shares"]["record"] == pytest.approx(1 / 2)
    (method,) = value["methods"]
    assert (method["name"], method["settings"]) == ("oracle", Oracle.settings)
    assert set(method["crops"]) == {"full", "400"}
    assert method["crops"]["400"]["groups"]["record"]["species"]["accuracy"] is None
    assert method["crops"]["full"]["groups"]["record"]["species"]["accuracy"] == 1
    assert list(method["crops"]["full"]["identity_bins"]) == list(IDENTITY_BINS)
    assert value["split"]["queries_of_crop"]["400"] == dict.fromkeys(GROUPS, 0)
    assert value["split"]["copies_of_crop"] == {"full": 8, "400": 0}
    assert (value["split"]["copies"], value["split"]["copies_counted"]) == (8, False)
    assert sum(value["mixture_shares"].values()) == pytest.approx(1)
    mixture = method["crops"]["full"]["mixture"]
    assert set(mixture["ranks"]) == {"species", "genus", "family"}
    assert list(mixture["ranks"]["genus"]["recall_at_precision"]) == ["0.95", "0.90", "0.80"]
    assert method["crops"]["400"]["mixture"]["ranks"]["species"]["recall"] is None


def test_copies_do_not_change_the_figures_for_held_out_records():
    several = [record._replace(records=1 + i % 3) for i, record in enumerate(DATA)]
    one, other = (evaluate(split(data, queries=8), [Oracle(TRUTH, identity=99.0)]) for data in (DATA, several))
    assert one.split.queries == other.split.queries
    assert one.split.copies != other.split.copies
    for crop in ("full", "313"):
        first, second = (found.results[0].crops[crop] for found in (one, other))
        assert (first.groups, first.novelty, first.bins) == (second.groups, second.novelty, second.bins)
    text = to_markdown(other)
    assert "records whose sequence and species stay in training, because several source records have them" in text


def test_claims_of_absence_are_reported():
    class Claiming(Oracle):
        @contextmanager
        def prepare(self, training, threads):
            with super().prepare(training, threads) as classify:
                yield lambda queries: [replace(found, absent_rank="genus") for found in classify(queries)]

    found = evaluate(split(DATA, queries=8), [Oracle(TRUTH), Claiming(TRUTH, "claiming")], crops=(None,))
    text = to_markdown(found)
    assert "| claiming | genus | 8 | 1.000 | 1.000 | 0.000 | 0.000 |  |" in text
    assert "| claiming | nothing (copy) | 8 | 1.000 | – | – | – |  |" in text
    # Right for genera and families, a third of the mixture.
    assert "| claiming | all |  |  |  |  |  | 0.667 |" in text
    assert "No claims by oracle." in text


def test_invalid_evaluations_are_refused():
    with pytest.raises(UsageError, match="no method"):
        evaluate(split(DATA), [])
    with pytest.raises(UsageError, match="'oracle' is named twice"):
        evaluate(split(DATA), [Oracle({}), Oracle({})])
    with pytest.raises(UsageError, match="`identities_from` is 'blastn'; choose one of oracle"):
        evaluate(split(DATA), [Oracle({})], identities_from="blastn")
    with pytest.raises(EdnabedError, match="no room left"):
        evaluate(split(DATA, queries=5), [Broken()])


@pytest.mark.skipif(shutil.which("vsearch") is None, reason="vsearch is not installed")
def test_real_tools_find_relatives():
    methods, _ = installed()
    found = evaluate(split(DATA, queries=12), methods, crops=(None, 150), threads=1)
    assert found.failures == {}
    for result in found.results:
        full = result.crops["full"].groups
        assert full["record"]["species"]["accuracy"] > 0.7
        assert full["species"]["genus"]["accuracy"] > 0.7
        if result.name.startswith("vsearch"):
            # A best hit is always given; megablast and SINTAX find nothing for some strangers.
            assert full["genus"]["genus"]["over_classified"] == 1
            assert full["genus"]["family"]["accuracy"] > 0.7
        assert result.crops["full"].novelty["genus"]["auroc"] > 0.8
        assert result.crops["150"].rate > 0
