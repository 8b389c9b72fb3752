import base64
import hashlib

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.errors import InputError
from ednabed.sequences import (
    NORMALISED_SCHEMA,
    RAW_SCHEMA,
    REJECTED_SCHEMA,
    digest,
    digest_array,
    normalise,
    normalise_one,
    reverse_complement,
)


def raw(sequences, ids=None, **more):
    count = len(sequences)
    data = {name: [None] * count for name in RAW_SCHEMA.names}
    data |= {"id": ids or [f"r{i}" for i in range(count)], "sequence": sequences}
    data |= {"source": ["file.fa"] * count, "record": list(range(1, count + 1))}
    batch = pa.RecordBatch.from_pydict(data, schema=RAW_SCHEMA)
    for name, values in more.items():
        batch = batch.append_column(name, pa.array(values))
    return batch


def oracle(name, sequence, alphabet, min_length):
    """Normalise character by character, the slow way: (sequence, None) or (None, reason)."""
    if not name:
        return None, "the record has no id"
    text = (sequence or b"").decode("utf-8")
    out = ""
    for position, character in enumerate(text, 1):
        if character in "ACGTNacgtn":
            out += character.upper()
        elif character in "Uu":
            out += "T"
        elif character in "RYSWKMBDHVryswkmbdhv":
            if alphabet == "strict":
                return None, f"ambiguity code {character!r} at position {position} (alphabet strict)"
            out += "N"
        elif character not in "-. \t\n\r\v\f":
            return None, f"invalid character {character!r} at position {position}"
    if not out.strip("N"):
        return None, "contains no A, C, G or T" if text.strip() else "empty sequence"
    if len(out) < min_length:
        noun = "base" if len(out) == 1 else "bases"
        return None, f"{len(out)} {noun}, fewer than the minimum of {min_length}"
    return out, None


texts = st.text(alphabet="ACGTacgtUuNnRYSWKMBDHVryx-. \nJ*é1", max_size=12)
clean = st.text(alphabet="ACGTN-", max_size=12)


@given(
    st.lists(st.tuples(st.sampled_from(["", "a", "b;c", "é"]), st.one_of(clean, texts, st.none())), max_size=8),
    st.sampled_from(["iupac", "strict"]),
    st.integers(0, 6),
    st.integers(0, 3),
)
def test_against_an_oracle_that_checks_each_character(rows, alphabet, min_length, skip):
    ids = [name for name, _ in rows]
    given_ = [None if text is None else text.encode() for _, text in rows]
    # A slice has an offset into its buffers.
    batch = raw(given_, ids).slice(min(skip, len(rows)))
    accepted, rejected = normalise(batch, alphabet=alphabet, min_length=min_length)
    wanted, refused = [], []
    for number, (name, sequence) in list(enumerate(zip(ids, given_, strict=True), 1))[skip:]:
        out, reason = oracle(name, sequence, alphabet, min_length)
        if out is None:
            refused.append({"id": name, "reason": reason, "source": "file.fa", "record": number})
        else:
            wanted.append((name, out, len(out), out.count("N"), digest(out.encode()), number))
    assert rejected.to_pylist() == refused
    columns = ("id", "sequence", "length", "n_ambiguous", "digest", "record")
    assert [tuple(row[c] for c in columns) for row in accepted.to_pylist()] == wanted
    accepted.validate(full=True)
    assert accepted.schema.equals(NORMALISED_SCHEMA)
    assert rejected.schema.equals(REJECTED_SCHEMA)


def test_reasons_in_words():
    sequences = [b"ACGTACGTACGTACGTJACG", b"ACRT", b"ACGT" * 3, b"", b"-..-", b"NNRN", b"A", None]
    _, rejected = normalise(raw(sequences), alphabet="strict")
    assert rejected["reason"].to_pylist() == [
        "invalid character 'J' at position 17",
        "ambiguity code 'R' at position 3 (alphabet strict)",
        "12 bases, fewer than the minimum of 20",
        "empty sequence",
        "contains no A, C, G or T",
        "ambiguity code 'R' at position 3 (alphabet strict)",
        "1 base, fewer than the minimum of 20",
        "empty sequence",
    ]


def test_character_that_is_not_ascii_is_named():
    _, rejected = normalise(raw(["ACGé".encode(), b"ACG\xe9T", "A→".encode()]), min_length=0)
    assert rejected["reason"].to_pylist() == [
        "invalid character 'é' at position 4",
        "invalid character 'é' at position 4",
        "invalid character '→' at position 2",
    ]


def test_further_columns_and_nulls_are_kept():
    batch = raw([b"acgu" * 5, b"?"], site=["Brest", "Roscoff"], depth=[1.5, 2.5])
    accepted, rejected = normalise(batch)
    assert accepted.to_pylist() == [
        {
            "id": "r0",
            "sequence": "ACGT" * 5,
            "length": 20,
            "n_ambiguous": 0,
            "digest": digest(b"ACGT" * 5),
            "abundance": None,
            "sample": None,
            "lineage": None,
            "description": None,
            "source": "file.fa",
            "record": 1,
            "site": "Brest",
            "depth": 1.5,
        }
    ]
    assert rejected.num_rows == 1
    assert "digest" not in normalise(batch, with_digest=False)[0].schema.names


def test_empty_batch():
    accepted, rejected = normalise(raw([]))
    assert (accepted.num_rows, rejected.num_rows) == (0, 0)
    assert accepted.schema.equals(NORMALISED_SCHEMA)


def test_digest_is_the_refget_one():
    by_hand = base64.urlsafe_b64encode(hashlib.sha512(b"ACGT").digest()[:24]).decode()
    assert by_hand == "aKF498dAxcJAqme6QYQ7EZ07-fiw8Kw2"
    assert digest(b"ACGT") == "SQ." + by_hand


@given(st.lists(st.text("ACGTN", max_size=30)))
def test_digests_of_a_column_match_single_digests(sequences):
    assert digest_array(pa.array(sequences, pa.string())).to_pylist() == [digest(s.encode()) for s in sequences]
    assert digest_array(pa.array(sequences, pa.string())[1:]).to_pylist() == [digest(s.encode()) for s in sequences[1:]]


@given(st.lists(st.binary(max_size=20).map(lambda b: bytes(b"ACGTN"[x % 5] for x in b))))
def test_reverse_complement(sequences):
    pairs = dict(zip(b"ACGTN", b"TGCAN", strict=True))
    assert reverse_complement(sequences) == [bytes(pairs[x] for x in reversed(s)) for s in sequences]
    assert reverse_complement(reverse_complement(sequences)) == sequences


def test_pasted_sequence():
    assert normalise_one("  acg u\nRY-. \n") == b"ACGTNN"
    assert normalise_one(">COI_1 a fish\r\nACGT\r\nAC\r\n") == b"ACGTAC"
    for text, reason in [
        ("", "it is empty"),
        ("nnn", "contains no A, C, G or T"),
        ("ACGT!", "invalid character '!' at position 5"),
        (">only a header", "it is empty"),
    ]:
        with pytest.raises(InputError, match=reason):
            normalise_one(text)
    with pytest.raises(InputError, match=r"ambiguity code 'R' at position 4 \(alphabet strict\)"):
        normalise_one("ACGR", "strict")
