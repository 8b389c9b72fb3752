"""Taxon IDs: which columns contain them, and how they name their database."""

from __future__ import annotations

import pytest

from ednabed.sequences.taxon_ids import database_of, is_name_id, taxon_id, taxon_id_columns

WORMS = "urn:lsid:marinespecies.org:taxname:126436"


def test_the_worms_id_has_priority():
    assert taxon_id_columns(["id", "taxID", "AphiaID", "bin_uri", "sample"]) == ["AphiaID", "bin_uri", "taxID"]
    assert taxon_id_columns(["id", "taxonomy"]) == []


@pytest.mark.parametrize(
    ("record", "id", "database"),
    [
        ({"AphiaID": 126436}, WORMS, "WoRMS"),
        ({"aphia_id": "126436.0"}, WORMS, "WoRMS"),
        ({"scientificNameID": WORMS, "taxid": 8049}, WORMS, "WoRMS"),
        ({"scientificNameID": None, "taxid": 8049}, "NCBI:txid8049", "NCBI"),
        ({"NCBI_taxid": "8049"}, "NCBI:txid8049", "NCBI"),
        ({"bin_uri": "BOLD:AAA1234", "taxid": "12"}, "BOLD:AAA1234", "BOLD"),
        ({"bin_uri": "None", "taxid": "12"}, "12", ""),  # a number of BOLD's, not of NCBI
        ({"taxonID": "SH1508347.08FU"}, "SH1508347.08FU", ""),
        ({"taxonID": "8049"}, "8049", ""),
        ({"taxonID": "ASV:0cc175b9c0f1b6a831c399e269772661"}, "", ""),
        ({"taxonID": "0cc175b9c0f1b6a831c399e269772661"}, "", ""),
        ({"taxid": 0, "AphiaID": float("nan")}, "", ""),
        ({"taxid": None}, "", ""),
    ],
)
def test_an_id_names_its_database(record, id, database):
    columns = taxon_id_columns(list(record))
    assert taxon_id(columns, [record[name] for name in columns]) == id
    assert database_of(id) == database
    assert is_name_id(id) == (id == WORMS)
