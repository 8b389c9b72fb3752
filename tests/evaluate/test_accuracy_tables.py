"""The tables of ``benchmarks/accuracy.py``: who is ahead on the natural mixture, from the JSON of ``evaluate``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    for name in ("accuracy", "data"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module("accuracy")
    yield module
    for name in ("accuracy", "data"):
        sys.modules.pop(name, None)


def method(name, recall, precision, at):
    rank = {
        "known": 300,
        "recall": recall,
        "precision": precision,
        "recall_at_precision": dict(zip(("0.95", "0.90", "0.80"), at, strict=True)),
    }
    return {"name": name, "crops": {"full": {"mixture": {"ranks": {"species": rank, "genus": rank}}}}}


def test_the_best_other_is_named_in_every_cell_and_listed_where_it_is_ahead(tables):
    found = {
        "methods": [
            method("ednabed kmer6", 0.5, 0.9, (0.1, 0.4, 0.7)),
            method("ednabed barcode-1", 1.0, 1.0, (1, 1, 1)),
            method("sintax", 0.7, 0.7, (0.0, 0.5, 0.6)),
            method("mmseqs2", 0.6, None, (None, 0.3, 0.65)),
        ]
    }
    lines, behind = tables.natural({"12s": found}, "species")
    assert lines[2] == (
        "| 12s | whole | 0.500 at 0.900, 0.700 at 0.700 (sintax) | 0.100, 0.000 (sintax) | 0.400, 0.500 (sintax) | "
        "0.700, 0.650 (mmseqs2) |"
    )
    assert behind == [
        "- 12s, whole, species: by default, F1, sintax 0.700, ednabed 0.643",
        "- 12s, whole, species: recall at precision 0.90, sintax 0.500, ednabed 0.400",
    ]
    text = "\n".join(tables.natural_summary({"12s": found}))
    assert "#### Genus" in text and "- 12s, whole, genus: recall at precision 0.90" in text
    alone = {"methods": found["methods"][:2]}
    assert tables.natural({"12s": alone}, "species")[1] == []
    few = {"methods": [method(name, 1.0, 1.0, (1, 1, 1)) for name in ("ednabed kmer6", "sintax")]}
    few["methods"][0]["crops"]["full"]["mixture"]["ranks"]["species"]["known"] = 49
    assert len(tables.natural({"12s": few}, "species")[0]) == 2, "too few queries are not compared"
    # Results kept from before the mixture was measured have no row.
    old = {"methods": [{"name": "ednabed kmer6", "crops": {"full": {}}}]}
    assert len(tables.natural({"12s": old}, "species")[0]) == 2


def test_aims_on_the_mixture_are_data(tables):
    found = {"methods": [method("ednabed kmer6", 0.5, 0.9, (0.1, 0.4, 0.7))]}
    keys = ("ranks", "species", "recall_at_precision", "0.80")
    assert tables.mixed(keys, True, 0.7, found) == ("0.700", True)
    assert tables.mixed(keys, False, 0.6, found) == ("0.700", False)
    assert tables.mixed(("claims", "wrong"), False, 0.6, found) == ("–", None)


def test_queries_that_the_model_has_not_seen_have_a_table_of_names(tables):
    def accurate(name, value):
        found = method(name, value, 0.9, (0, 0, 0))
        found["crops"]["full"]["mixture"] |= {"copies": {"given": value}}
        found["crops"]["full"]["mixture"]["ranks"]["species"]["calibration_error"] = 0.04
        ranks = {"record": "species", "species": "genus", "genus": "family"}
        found["crops"]["full"]["groups"] = {group: {rank: {"accuracy": value}} for group, rank in ranks.items()}
        found["crops"] |= {crop: {"groups": found["crops"]["full"]["groups"]} for crop in ("313", "150")}
        return found

    methods = [accurate("ednabed barcode-1", 0.7), accurate("ednabed kmer6", 0.6), accurate("vsearch", 0.5)]
    queries = {"record": 300, "species": 78, "genus": 300}
    crops = {"full": queries, "313": {**queries, "record": 49}, "150": dict.fromkeys(queries, 1)}
    found = {"12s": {"methods": methods, "split": {"queries": queries, "queries_of_crop": crops}}}
    rows = [line for line in tables.names(found) if line.startswith("| 12s")]
    assert rows == [
        "| 12s | whole | 0.700 : 0.600 : 0.500 | 0.700 : 0.600 : 0.500 | 0.700 : 0.600 : 0.500 | "
        "0.700 at 0.900 : 0.600 at 0.900 | 0.040 : 0.040 | 0.700 : 0.600 |",
        "| 12s | 313 bases | – | 0.700 : 0.600 : 0.500 | 0.700 : 0.600 : 0.500 | – | – | – |",
    ]
    assert "Fewer queries than elsewhere: 12s 78 of species." in tables.drawn(found)[0]
