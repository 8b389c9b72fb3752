"""Darwin Core Archives (zip) with DNA-derived data, as provided by GBIF and OBIS and written by our own export.

``meta.xml`` lists the files, the separator of their cells and the term of each column (https://dwc.tdwg.org/text/). A
record is a row with a ``DNA_sequence``, from the extension for DNA-derived data or from the core itself, together with
the columns of its occurrence. Nothing is unpacked to a path that the archive chooses.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from ednabed.errors import InputError
from ednabed.sequences.columns import plain
from ednabed.sequences.zip_members import DAMAGE, MAGIC, MAX_BYTES, is_credible

META = "meta.xml"
_META_BYTES = 1024 * 1024
_TEXT = "{http://rs.tdwg.org/dwc/text/}"
_SEQUENCE = "DNA_sequence"
_ID = "\x1f id"
"""Name of the column that joins core and extension; no term has this name."""
_ESCAPES = {"\\t": "\t", "\\n": "\n", "\\r": "\r", "\\r\\n": "\r\n"}


@dataclass(frozen=True)
class _File:
    """One table of the archive, as described by ``meta.xml``.

    Attributes:
        name: Name of the member.
        row_type: The last part of the URI of its class: ``Occurrence``, ``Event``, ``DNADerivedData``.
        columns: Name of each column, by index.
        constants: Terms that have one value for all rows.
    """

    name: str
    row_type: str
    columns: tuple[str, ...]
    constants: dict[str, str]
    delimiter: str
    quote: str
    header_lines: int


class _NoDocumentType(ElementTree.TreeBuilder):
    """Refuse a document type, which may define entities that grow without bound."""

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        """Raise ValueError."""
        raise ValueError("it has a document type, which no Darwin Core Archive has")


class DarwinCoreArchive:
    """An archive whose records are in memory. The file passed in stays open.

    Attributes:
        columns: Names of the columns: Darwin Core terms, and ``sample`` if the archive names samples.

    Raises:
        InputError: The archive is damaged, has no ``DNA_sequence``, or its occurrences are not in its core.
    """

    def __init__(self, file: BinaryIO, path: str) -> None:
        self._path = path
        try:
            with zipfile.ZipFile(file) as archive:
                self._table = self._records(archive)
        except DAMAGE as error:
            raise InputError(
                f"{path}: the archive is truncated, damaged or encrypted ({error}); copy or download it again"
            ) from error
        self.columns: list[str] = list(self._table.column_names)

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most ``rows`` records."""
        yield from self._table.to_batches(max_chunksize=rows)

    def _records(self, archive: zipfile.ZipFile) -> pa.Table:
        core, extensions = self._describe(archive)
        if core.row_type != "Occurrence":
            raise InputError(
                f"{self._path}: the core of the archive is {core.row_type}, expected Occurrence; give a table (TSV or "
                "CSV) with occurrenceID, eventID, DNA_sequence and names instead"
            )
        occurrences = self._read(archive, core)
        with_dna = [extension for extension in extensions if _SEQUENCE in extension.columns]
        if _SEQUENCE not in occurrences.column_names:
            if not with_dna:
                raise InputError(
                    f"{self._path}: no table of the archive has a column DNA_sequence, so it contains occurrences "
                    "without sequences; give an archive with the extension for DNA-derived data"
                )
            occurrences = self._joined(occurrences, self._read(archive, with_dna[0]))
        occurrences = _with_sample(occurrences.combine_chunks())
        return occurrences.drop_columns([_ID]) if _ID in occurrences.column_names else occurrences

    def _joined(self, occurrences: pa.Table, sequences: pa.Table) -> pa.Table:
        """Return the rows with sequences, each with the columns of its occurrence."""
        ids = occurrences.column(_ID).combine_chunks()
        rows = pc.index_in(sequences.column(_ID), value_set=ids)
        if rows.null_count:
            lost = sequences.column(_ID).filter(rows.is_null())[0].as_py()
            raise InputError(
                f"{self._path}: {rows.null_count:,} sequences of the archive do not belong to an occurrence, such as "
                f"{lost!r}; export the archive again"
            )
        joined = occurrences.take(rows)
        for name in sequences.column_names:
            if name not in joined.column_names:
                joined = joined.append_column(name, sequences.column(name))
        return joined

    def _describe(self, archive: zipfile.ZipFile) -> tuple[_File, list[_File]]:
        self._check(archive, META, _META_BYTES)
        try:
            root = ElementTree.fromstring(archive.read(META), ElementTree.XMLParser(target=_NoDocumentType()))
            core = root.find(f"{_TEXT}core")
            if core is None:
                raise ValueError("it has no core")
            return self._table_of(core), [self._table_of(element) for element in root.findall(f"{_TEXT}extension")]
        except (ElementTree.ParseError, LookupError, ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"{self._path}: {META} does not describe a Darwin Core Archive ({error}); export the archive again"
            ) from error

    def _table_of(self, element: ElementTree.Element) -> _File:
        names: dict[int, str] = {}
        constants: dict[str, str] = {}
        for entry in element.findall(f"{_TEXT}field"):
            term = str(entry.get("term")).rstrip("/").rsplit("/", 1)[-1].rsplit("#", 1)[-1]
            term = _SEQUENCE if plain(term) == plain(_SEQUENCE) else _TERMS.get(term, term)
            if entry.get("index") is not None:
                names[int(str(entry.get("index")))] = term
            elif entry.get("default"):
                constants[term] = str(entry.get("default"))
        key = element.find(f"{_TEXT}id") if element.tag.endswith("core") else element.find(f"{_TEXT}coreid")
        location = element.find(f"{_TEXT}files/{_TEXT}location")
        if key is None or location is None or not location.text:
            raise ValueError("a table has no id or no file")
        key_index = int(str(key.get("index")))
        if not 0 <= max([key_index, *names]) < 10_000:
            raise ValueError("a column has an impossible number")
        columns = [names.get(index, f"\x1f {index}") for index in range(max([key_index, *names]) + 1)]
        delimiter, quote = (
            _unescaped(element.get(name, default))
            for name, default in (("fieldsTerminatedBy", ","), ("fieldsEnclosedBy", '"'))
        )
        header_lines = int(element.get("ignoreHeaderLines", "0"))
        if len(delimiter.encode()) != 1 or len(quote.encode()) > 1 or not 0 <= header_lines < 1000:
            raise ValueError("a table has an invalid separator, quote or number of header lines")
        if len(set(columns)) < len(columns):
            raise ValueError("a table has two columns for one term")
        return _File(
            name=location.text.strip(),
            row_type=str(element.get("rowType")).rstrip("/").rsplit("/", 1)[-1],
            columns=(*columns, str(key_index)),
            constants=constants,
            delimiter=delimiter,
            quote=quote,
            header_lines=header_lines,
        )

    def _read(self, archive: zipfile.ZipFile, file: _File) -> pa.Table:
        self._check(archive, file.name, MAX_BYTES)
        *columns, key_index = file.columns
        reading = pyarrow.csv.ReadOptions(use_threads=False, column_names=columns, skip_rows=file.header_lines)
        parsing = pyarrow.csv.ParseOptions(
            delimiter=file.delimiter, quote_char=file.quote or False, newlines_in_values=bool(file.quote)
        )
        converting = pyarrow.csv.ConvertOptions(
            column_types={name: pa.string() for name in columns}, strings_can_be_null=False
        )
        try:
            with archive.open(file.name) as stream:
                table = pyarrow.csv.read_csv(stream, reading, parsing, converting)
        except pa.ArrowInvalid as error:
            raise InputError(
                f"{self._path}: {file.name} cannot be read as {META} describes it ({str(error).splitlines()[0]}); "
                "export the archive again"
            ) from error
        key = table.column(int(key_index))
        for term, value in file.constants.items():
            if term not in table.column_names:
                table = table.append_column(term, pa.repeat(value, len(table)))
        table = table.select([name for name in table.column_names if not name.startswith("\x1f")])
        return table.append_column(_ID, key)

    def _check(self, archive: zipfile.ZipFile, name: str, max_bytes: int) -> None:
        """Refuse a member that is missing or whose size is not credible."""
        try:
            member = archive.getinfo(name)
        except KeyError as error:
            raise InputError(f"{self._path}: the archive has no {name}; export the archive again") from error
        if not is_credible(member, max_bytes):
            raise InputError(
                f"{self._path}: {name} would take {member.file_size:,} bytes, decompressed from "
                f"{member.compress_size:,}, which is not credible; unpack the archive yourself and give its tables"
            )


_TERMS = {"0001107": "samp_name", "0000044": "target_gene"}
"""Terms whose URIs end in a number (MIxS), as far as they are used here."""


def is_archive(file: BinaryIO) -> bool:
    """Return whether a seekable file is a zip with a ``meta.xml``."""
    file.seek(0)
    if file.read(len(MAGIC)) != MAGIC:
        return False
    try:
        with zipfile.ZipFile(file) as archive:
            return META in archive.namelist()
    except DAMAGE:
        # The type of the zip cannot be determined; the reader of other formats reports the damage.
        return False
    finally:
        file.seek(0)


def _with_sample(table: pa.Table) -> pa.Table:
    """Return the table with the sample name: ``samp_name``, else ``eventID`` without the dataset name before it."""
    names = table.column_names
    samples = table.column("samp_name") if "samp_name" in names else pa.chunked_array([pa.repeat("", len(table))])
    if "eventID" in names:
        events = table.column("eventID")
        if "datasetName" in names:
            rest = [
                event.removeprefix(f"{dataset}:") if dataset else event
                for event, dataset in zip(events.to_pylist(), table.column("datasetName").to_pylist(), strict=True)
            ]
            events = pa.chunked_array([pa.array(rest, pa.string())])
        samples = pc.if_else(pc.equal(samples, ""), events, samples)
    return table if "sample" in names else table.append_column("sample", samples)


def _unescaped(text: str) -> str:
    return _ESCAPES.get(text, text)
