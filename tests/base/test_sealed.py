"""The format of JSON files."""

from __future__ import annotations

import pytest

from ednabed.base.sealed import to_json


def test_json_has_one_form_and_no_nan():
    assert to_json({"b": 1, "a": ["é"]}) == '{\n  "b": 1,\n  "a": [\n    "é"\n  ]\n}\n'
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            to_json({"x": bad})
