"""``run.json`` has one form, and every changed byte is detected."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from ednabed.errors import StoreError
from ednabed.store.manifest import MANIFEST, RUN_SCHEMA, RunManifest
from support import letters

BASE = RunManifest(
    dataset="see",
    run_id="2026-01-02_03-04-05",
    created="2026-01-02T03:04:05+00:00",
    spec=letters().spec,
    version=None,
    inputs=[{"name": "Wägung.fa", "sha256": "0" * 64, "bytes": 3, "read": 2, "accepted": 1, "rejected": 1}],
    labels=None,
    options={"min_length": 20, "max_sequences": None},
    counts={"read": 2, "embedded": 1},
    compute=[{"device": "cpu", "precision": "fp32", "sequences": 1}],
    software={"ednabed": "0.1.0"},
    files={"embeddings.npy": {"sha256": "1" * 64, "bytes": 4}},
)


def write(folder, text: str):
    (folder / MANIFEST).write_text(text, encoding="utf-8", newline="\n")
    return folder


def forged(**changes) -> str:
    """Return a manifest with changed contents and a correct hash of itself."""
    body = json.loads(BASE.to_text())
    del body["manifest_sha256"]
    body = {k: v for k, v in {**body, **changes}.items() if v is not ...}
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    body["manifest_sha256"] = hashlib.sha256(canonical.encode()).hexdigest()
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"


def test_what_is_written_is_read(tmp_path):
    assert RunManifest.read(write(tmp_path, BASE.to_text())) == BASE
    assert RunManifest.read(write(tmp_path, forged())) == BASE
    other = replace(BASE, dataset=None, version="v1.0", labels={"name": "l.tsv", "sha256": "2" * 64})
    assert RunManifest.read(write(tmp_path, other.to_text())) == other


def test_content_is_as_documented():
    body = json.loads(BASE.to_text())
    assert body["schema"] == RUN_SCHEMA == "ednabed.run/1"
    assert body["fingerprint"] == BASE.spec.fingerprint
    for key in ("spec", "version", "inputs", "counts", "compute", "software", "files"):
        assert key in body


def test_every_flipped_byte_is_found(tmp_path):
    raw = BASE.to_text().encode()
    path = tmp_path / MANIFEST
    for place in range(len(raw)):
        for bits in (1, 4, 32, 128, 255):
            path.write_bytes(raw[:place] + bytes([raw[place] ^ bits]) + raw[place + 1 :])
            with pytest.raises(StoreError):
                RunManifest.read(tmp_path)


def test_every_removed_or_inserted_byte_is_found(tmp_path):
    raw = BASE.to_text().encode()
    path = tmp_path / MANIFEST
    for place in range(len(raw) + 1):
        for data in (raw[:place], raw[:place] + b" " + raw[place:], raw[:place] + b"\n" + raw[place:]):
            if data != raw:
                path.write_bytes(data)
                with pytest.raises(StoreError):
                    RunManifest.read(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", "3", '"x"', "{", "\ufeff{}", '{"schema": "ednabed.run/1"}', "[" * 50_000,
     '{\n  "schema": "ednabed.run/1",\n  "x": NaN\n}\n', '{\n  "schema": "ednabed.run/1",\n  "x": "\\ud800"\n}\n'],
)  # fmt: skip
def test_other_text_is_one_sentence_without_a_traceback(tmp_path, text):
    with pytest.raises(StoreError, match=r"run\.json is damaged"):
        RunManifest.read(write(tmp_path, text))


def test_bytes_that_are_not_text_are_one_sentence(tmp_path):
    (tmp_path / MANIFEST).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StoreError, match="damaged"):
        RunManifest.read(tmp_path)


@pytest.mark.parametrize("schema", ["ednabed.run/2", "ednabed.reference/1", 1, None, ["ednabed.run/1"]])
def test_an_unknown_schema_is_refused_not_guessed(tmp_path, schema):
    with pytest.raises(StoreError, match=r"has schema .*, but this version of ednabed reads 'ednabed.run/1'"):
        RunManifest.read(write(tmp_path, forged(schema=schema)))


def test_a_missing_manifest_is_reported(tmp_path):
    with pytest.raises(StoreError, match=r"is missing, so .* is not a finished run"):
        RunManifest.read(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"counts": ...},
        {"more": 1},
        {"spec": {"schema": 1}},
        {"spec": {**BASE.spec.to_dict(), "schema": 9}},
        {"fingerprint": "0" * 64},
        {"spec": {**BASE.spec.to_dict(), "dimension": 11}},
    ],
)
def test_content_that_contradicts_itself_is_refused(tmp_path, changes):
    with pytest.raises(StoreError):
        RunManifest.read(write(tmp_path, forged(**changes)))


def test_a_manifest_with_a_nan_is_never_written():
    with pytest.raises(ValueError, match="JSON"):
        replace(BASE, counts={"read": float("nan")}).to_text()
