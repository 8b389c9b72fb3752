"""Tables of samples: all usual notations of locations, and one sentence for each invalid location."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.errors import InputError
from ednabed.sequences.columns import LATITUDE, LONGITUDE, find_coordinates
from ednabed.sequences.samples import Samples, read_samples, to_coordinates

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def table(folder: Path, content: str | bytes, name: str = "samples.tsv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def locations(path) -> dict[str, tuple[float, float]]:
    """Return the locations in a table, by sample."""
    found = read_samples(path)
    columns = find_coordinates(found.table.column_names)
    cells = [found.table.column(name).to_pylist() for name in columns]
    found_by_name = {name: to_coordinates(*pair) for name, *pair in zip(found.names.to_pylist(), *cells, strict=True)}
    return {name: location for name, location in found_by_name.items() if location is not None}


# -- files -------------------------------------------------------------------------------------------------------------

TEXT = "sample\tlatitude\tlongitude\tdepth\nA\t45.5\t-124.75\t3\nB\t-90\t180\t\n"
PLACES = {"A": (45.5, -124.75), "B": (-90.0, 180.0)}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", TEXT.encode()),
        ("a.csv", TEXT.replace("\t", ",").encode()),
        ("semicolons.csv", TEXT.replace("\t", ";").encode()),
        ("bom.tsv", b"\xef\xbb\xbf" + TEXT.encode()),
        ("windows.tsv", TEXT.replace("\n", "\r\n").encode()),
        ("no_end.tsv", TEXT.rstrip("\n").encode()),
        ("packed.tsv.gz", gzip.compress(TEXT.encode())),
        ("quoted.csv", b'"sample","latitude","longitude","depth"\n"A","45.5","-124.75","3"\n"B","-90","180",""\n'),
        ("comma.csv", b'"latitude","place","longitude","sample"\n45.5,"sea, deep",-124.75,A\n-90,"x",180,B\n'),
        ("blanks.tsv", TEXT.replace("A\t45.5\t", " A \t 45.5 \t").encode()),
        ("exponents.tsv", TEXT.replace("45.5", "4.55e1").encode()),
    ],
)
def test_ways_to_write_a_table(tmp_path, name, content):
    assert locations(table(tmp_path, content, name)) == PLACES
    assert locations(str(tmp_path / name)) == PLACES


@pytest.mark.parametrize(
    "header",
    [
        "sample\tlatitude\tlongitude",
        "Sample_ID\tLat\tLon",
        "sample-id\tLATITUDE\tLong",
        "#SampleID\tdecimalLatitude\tdecimalLongitude",
        "samp_name\tdecimal_latitude\tlng",
        "Sample Name\tdecimal.latitude\tdecimal longitude",
        "eventID\tlat\tlon",
    ],
)
def test_names_of_the_columns(tmp_path, header):
    assert locations(table(tmp_path, f"{header}\nA\t1\t2\n")) == {"A": (1.0, 2.0)}


def test_the_sample_name_has_priority_over_the_event_name(tmp_path):
    path = table(tmp_path, "eventID\tsample\tlat\tlon\ncruise\tA\t1\t2\n")
    assert locations(path) == {"A": (1.0, 2.0)}


@pytest.mark.parametrize(
    "cells",
    ["\t", "\t2", "1\t", "not applicable\tnot applicable", "missing: control sample\t2", "NA\tNA", "nan\tnan",
     "45.5 N\t2", "None\tNone", "-\t-", "1_0\t2"],
)  # fmt: skip
def test_samples_without_a_location_are_omitted(tmp_path, cells):
    path = table(tmp_path, f"sample\tlatitude\tlongitude\nblank\t{cells}\nA\t1\t2\n")
    assert locations(path) == {"A": (1.0, 2.0)}


def test_a_duplicated_sample_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"samples\.tsv: sample 'A' is in 2 rows; keep one"):
        read_samples(table(tmp_path, "sample\tlatitude\tlongitude\nA\t1\t2\nB\t3\t4\nA\t1\t2\n"))


def test_rows_without_a_name_are_not_samples(tmp_path):
    """Records without a sample must not get the location of a row without a sample name."""
    path = table(tmp_path, "sample\tlatitude\tlongitude\n\t1\t2\n \t3\t4\nA\t5\t6\n")
    assert locations(path) == {"A": (5.0, 6.0)}


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("90.5\t2", r"sample 'A': its latitude is 90\.5, expected degrees from -90 to 90; correct it"),
        ("-91\t2", r"its latitude is -91, expected"),
        ("1\t180.01", r"its longitude is 180\.01, expected degrees from -180 to 180; correct it"),
        ("inf\t2", r"its latitude is inf, expected"),
        ("1\t-inf", r"its longitude is -inf, expected"),
        ("45,5\t2", r"its latitude is '45,5', expected a number with a decimal point; correct it"),
        ("1\t-124,75", r"its longitude is '-124,75', expected a number with a decimal point"),
        # Latitude and longitude are swapped.
        ("-124.7\t45.4", r"its latitude is -124\.7, expected"),
    ],
)
def test_locations_that_are_not_on_the_globe(tmp_path, cells, message):
    with pytest.raises(InputError, match=r"samples\.tsv: " + ("" if message.startswith("sample") else ".*") + message):
        read_samples(table(tmp_path, f"sample\tlatitude\tlongitude\nB\t0\t0\nA\t{cells}\n"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "sample\tlatitude\n", "has a header line but no rows; give at least one sample"),
        ("a.tsv", "site\tlatitude\tlongitude\n", "no column of sample names among 'site', 'latitude', 'longitude'"),
        ("a.tsv", "sample\tlatitude\tlatitude\tlongitude\nA\t1\t2\t3\n", "two columns are named 'latitude'"),
        ("a.tsv", "sample\tsample\tlatitude\tlongitude\nA\tB\t2\t3\n", "two columns are named 'sample'"),
        ("a.tsv", "sample\tlatitude\tlongitude\nA\t1\n", r"row 1 \(below the header\) has 2 cells, the header has 3"),
        ("a.fa", ">A\nACGT\n", "is not a table of samples; give a TSV or CSV: sample, latitude, longitude"),
        ("a.fq", "@A\nACGT\n+\nIIII\n", "is not a table of samples"),
        ("a.txt", "ACGT\n", "a.txt: "),
        ("a.tsv", "", "is empty; give a file with at least one sample with its location"),
        ("a.tsv", b"\xff\xfes\x00a\x00", "is UTF-16 text"),
        ("a.xlsx", b"PK\x03\x04[Content_Types].xml", "export Excel workbooks first"),
        ("a.bin", b"sample\x00\x01\x02", "binary"),
        ("a.tsv.gz", gzip.compress(TEXT.encode())[:-12], "a.tsv.gz"),
    ],
)  # fmt: skip
def test_files_that_are_not_tables_of_samples(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message):
        read_samples(table(tmp_path, content, name))


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(InputError, match=r"none\.tsv"):
        read_samples(tmp_path / "none.tsv")


def test_the_example_has_a_location_for_each_water_sample():
    found = locations(EXAMPLES / "okex2301_samples.tsv")
    with gzip.open(EXAMPLES / "okex2301_12s.fasta.gz", "rt") as file:
        named = {line.rstrip().rpartition("sample=")[2] for line in file if line.startswith(">")}
    assert set(found) == named
    assert all(40 < latitude < 50 and -130 < longitude < -120 for latitude, longitude in found.values())


# -- joined to records -------------------------------------------------------------------------------------------------


def batch(samples: list[str | None], **columns: list) -> pa.RecordBatch:
    known = {"id": [f"r{i}" for i in range(len(samples))], "sample": pa.array(samples, pa.string()), **columns}
    return pa.RecordBatch.from_pydict(known)


def test_all_columns_are_joined_by_the_name_of_the_sample(tmp_path):
    text = "sample\tdepth\tlatitude\tcode\tnote\nA\t3\t1.5\t007\t\n B \t\t2\t010\tmuddy\n"
    found = read_samples(table(tmp_path, text))
    message = found.apply(batch(["B", None, "C", "A", "B"]))
    assert message.schema.names == ["id", "sample", "depth", "latitude", "code", "note"]
    assert [str(field.type) for field in message.schema][2:] == ["int64", "double", "string", "string"]
    assert message.to_pydict() | {"id": None} == {
        "id": None, "sample": ["B", None, "C", "A", "B"], "depth": [None, None, None, 3, None],
        "latitude": [2.0, None, None, 1.5, 2.0], "code": ["010", None, None, "007", "010"],
        "note": ["muddy", None, None, None, "muddy"],
    }  # fmt: skip
    assert found.matched == 3


@pytest.mark.parametrize(
    ("cells", "kind"),
    [(["1", "2"], "int64"), (["1.5", "2"], "double"), (["0x1F", "2"], "string"), (["NaN", "nan"], "string"),
     (["007", "8"], "string"), (["12345678901234567890", "1"], "string"), (["123456789012345678", "1"], "int64"),
     (["0", "0.5"], "double"), (["inf", "1"], "string"), (["1", ""], "int64")],
)  # fmt: skip
def test_only_numbers_are_numbers(tmp_path, cells, kind):
    text = "".join(f"S{i}\t{value}\tx\n" for i, value in enumerate(cells))
    found = read_samples(table(tmp_path, f"sample\tcode\tother\n{text}"))
    assert str(found.table.schema.field("code").type) == kind


def test_a_column_that_the_records_have_keeps_its_name(tmp_path):
    found = read_samples(table(tmp_path, "sample\tdepth\tid\tlength\nA\t3\tx\t9\n"))
    message = found.apply(batch(["A"], depth=[7], depth_sample=["own"]))
    assert message.to_pylist() == [
        {"id": "r0", "sample": "A", "depth": 7, "depth_sample": "own", "depth_sample_sample": 3, "id_sample": "x",
         "length_sample": 9}
    ]  # fmt: skip


@given(st.lists(st.sampled_from(["A", "B", "C", "D", None]), max_size=40))
def test_each_record_has_the_row_of_its_sample(samples):
    values = {"A": 1, "B": 2, "C": 3}
    found = Samples(pa.array(list(values)), pa.table({"depth": list(values.values())}))
    joined = found.apply(batch(samples))
    assert joined.column("depth").to_pylist() == [values.get(name) for name in samples]
    assert found.matched == sum(name in values for name in samples)


# -- cells -------------------------------------------------------------------------------------------------------------


@given(st.floats() | st.integers(-200, 200), st.floats() | st.integers(-200, 200))
def test_a_pair_of_numbers_is_a_location_none_or_a_message(latitude, longitude):
    for one, other in ((latitude, longitude), (str(latitude), f" {longitude} ")):
        found = to_coordinates(one, other)
        if math.isnan(latitude):
            assert found is None
        elif not -90 <= latitude <= 90:
            assert "latitude" in found
        elif math.isnan(longitude):
            assert found is None
        elif not -180 <= longitude <= 180:
            assert "longitude" in found
        else:
            assert found == (float(latitude), float(longitude))


@given(st.text() | st.text("0123456789.,-+e_ "), st.floats(-180, 180))
def test_any_text_is_a_number_or_uninformative(text, number):
    found = to_coordinates(text, number)
    try:
        value = float("none" if "_" in text else text)
    except ValueError:
        # A decimal comma is reported, so that no sample is lost silently.
        assert found is None or ("," in text and "expected a number with a decimal point" in found)
        return
    assert found == to_coordinates(value, number) or (isinstance(found, str) and not -90 <= value <= 90)


@pytest.mark.parametrize("cell", [None, "", " ", "unknown", True, b"1", [1.0], float("nan")])
def test_uninformative_cells(cell):
    assert to_coordinates(cell, 2) is None
    assert to_coordinates(1, cell) is None


# -- columns -----------------------------------------------------------------------------------------------------------


def test_which_columns_are_coordinates():
    assert find_coordinates(["id", "lat", "lon"]) == ("lat", "lon")
    assert find_coordinates(["Decimal Longitude", "x", "#LATITUDE"]) == ("#LATITUDE", "Decimal Longitude")
    for columns in ([], ["lat"], ["lon"], ["lat", "depth"], ["lat_lon"], ["latitudes", "longitudes"]):
        assert find_coordinates(columns) is None


@given(st.lists(st.sampled_from([*LATITUDE, *LONGITUDE, "Decimal_Latitude", "LON", "depth", "id"]), unique=True))
def test_of_several_columns_the_first_in_the_list_is_used(columns):
    def first(names):
        plain = [column.lower().replace("_", "") for column in columns]
        return next((columns[plain.index(name)] for name in names if name in plain), None)

    latitude, longitude = first(LATITUDE), first(LONGITUDE)
    found = find_coordinates(columns)
    if latitude is None or longitude is None:
        assert found is None
    else:
        assert [name.lower().replace("_", "") for name in found] == [
            name.lower().replace("_", "") for name in (latitude, longitude)
        ]
