"""The Darwin Core terms that an export can contain, and the columns of the records that fill them.

Sources, in https://github.com/gbif/rs.gbif.org (commit 93c0996 of 2026-06-09):
``core/dwc_occurrence_2025-07-10.xml`` (Occurrence core) and ``extension/gbif/1.0/dna_derived_data_2024-07-11.xml`` (DNA
derived data, issued 2024-07-11). The use of the terms follows "Publishing DNA-derived data through biodiversity data
platforms" (https://doi.org/10.35035/doc-vf1a-nr22), tables 1, 2 and 7.
"""

from __future__ import annotations

from collections.abc import Iterable

from ednabed.sequences.columns import plain
from ednabed.sequences.records import MARKERS

OCCURRENCE = "http://rs.tdwg.org/dwc/terms/Occurrence"
DNA_DERIVED = "http://rs.gbif.org/terms/1.0/DNADerivedData"
_DWC = "http://rs.tdwg.org/dwc/terms/"
_MIXS = "https://w3id.org/mixs/"
_GBIF = "http://rs.gbif.org/terms/"

CORE_GENERATED = (
    "occurrenceID", "basisOfRecord", "occurrenceStatus", "datasetName", "eventID", "organismQuantity",
    "organismQuantityType", "sampleSizeValue", "sampleSizeUnit", "taxonID", "scientificName", "taxonRank", "kingdom",
    "phylum", "class", "order", "family", "genus", "verbatimIdentification", "identificationRemarks",
)  # fmt: skip
"""Terms of the core that the export generates; always present."""
CORE_FROM_COLUMNS = {
    "decimalLatitude": ("latitude", "lat"),
    "decimalLongitude": ("longitude", "lon", "long", "lng"),
    "eventDate": (
        "date", "collection_date", "collectionDate", "sampling_date", "date_collected", "collection_date_start",
    ),
    "verbatimDepth": (),
    "minimumDepthInMeters": ("depth_m", "depth_min_m", "min_depth_m", "depth"),
    "maximumDepthInMeters": ("depth_m", "depth_max_m", "max_depth_m", "depth"),
    "materialSampleID": ("biosample", "biosample_accession"),
    "locality": ("site", "station", "location"),
    **{
        term: ()
        for term in (
            "verbatimLatitude", "verbatimLongitude", "geodeticDatum", "coordinateUncertaintyInMeters",
            "coordinatePrecision", "minimumElevationInMeters",
            "maximumElevationInMeters", "verbatimElevation", "eventTime", "verbatimEventDate", "year", "month", "day",
            "parentEventID", "locationID", "country", "countryCode", "continent", "waterBody", "stateProvince",
            "county", "municipality", "verbatimLocality", "habitat", "samplingProtocol", "samplingEffort",
            "fieldNumber", "eventRemarks", "recordedBy", "recordedByID", "institutionID", "institutionCode",
            "collectionCode", "catalogNumber", "associatedSequences", "identificationReferences", "identifiedBy",
            "dateIdentified", "scientificNameID", "taxonConceptID",
        )
    },
}  # fmt: skip
"""Terms of the core filled from columns of the records, mapped to the column names that are accepted besides the term's
own name. ``depth`` is the MIxS term, which is in metres; a value that is not a number goes into the verbatim term."""
TAXON_IDS = ("scientificNameID", "taxonConceptID")
"""Terms of the core that hold taxon ids: from a column of that name, else the id of the assigned name."""
REQUESTED = ("decimalLatitude", "decimalLongitude", "eventDate")
"""Terms of the core that GBIF and OBIS ask for and that only columns of the records can fill."""
VERBATIM = {
    "decimalLatitude": "verbatimLatitude",
    "decimalLongitude": "verbatimLongitude",
    "eventDate": "verbatimEventDate",
    "minimumDepthInMeters": "verbatimDepth",
    "maximumDepthInMeters": "verbatimDepth",
}
"""Term of the core, mapped to the term for values that do not follow its standard."""
DNA_GENERATED = {"DNA_sequence": f"{_GBIF}dna_sequence", "samp_name": f"{_MIXS}0001107"}
"""Terms of the extension that the export generates, with their addresses; always present."""
_MIXS_NUMBERS = {
    "project_name": "0000092", "env_broad_scale": "0000012", "env_local_scale": "0000013", "env_medium": "0000014",
    "source_mat_id": "0000026", "samp_collec_device": "0000002", "samp_collec_method": "0001225",
    "samp_mat_process": "0000016", "size_frac": "0000017", "samp_size": "0000001", "samp_vol_we_dna_ext": "0000111",
    "nucl_acid_ext": "0000037", "nucl_acid_amp": "0000038", "lib_layout": "0000041", "target_gene": "0000044",
    "target_subfragment": "0000045", "pcr_primers": "0000046", "mid": "0000047", "adapters": "0000048",
    "pcr_cond": "0000049", "seq_meth": "0000050", "seq_quality_check": "0000051", "chimera_check": "0000052",
    "otu_class_appr": "0000085", "otu_seq_comp_appr": "0000086", "otu_db": "0000087", "sop": "0000090",
}  # fmt: skip
DNA_FROM_COLUMNS = {
    **{term: f"{_MIXS}{number}" for term, number in _MIXS_NUMBERS.items()},
    **{
        term: f"{_GBIF}{term}"
        for term in (
            "pcr_primer_forward", "pcr_primer_reverse", "pcr_primer_name_forward", "pcr_primer_name_reverse",
            "pcr_primer_reference",
        )
    },
    "concentration": "http://data.ggbn.org/schemas/ggbn/terms/concentration",
    "concentrationUnit": "http://data.ggbn.org/schemas/ggbn/terms/concentrationUnit",
    "ampliconSize": f"{_GBIF}miqe/ampliconSize",
}  # fmt: skip
"""Terms of the extension filled from columns of the same name (``target_gene`` also from a marker), with addresses."""
_DNA_OTHER = {
    # If a sample table has a marker column, it is added under the second name (``Samples.column_names_with``).
    "target_gene": (*MARKERS, *(f"{name}_sample" for name in MARKERS)),
    "pcr_primer_forward": ("primer_forward", "forward_primer"),
    "pcr_primer_reverse": ("primer_reverse", "reverse_primer"),
    "samp_collec_device": ("samp_collect_device",),
}


def core_address(term: str) -> str:
    """Return the address of a term of the core."""
    return _DWC + term


def core_columns(columns: Iterable[str]) -> dict[str, str]:
    """Return the column that fills each term of the core, in the order of ``CORE_FROM_COLUMNS``."""
    return _matched(list(columns), CORE_FROM_COLUMNS)


def dna_columns(columns: Iterable[str]) -> dict[str, str]:
    """Return the column that fills each term of the extension, in the order of ``DNA_FROM_COLUMNS``."""
    return _matched(list(columns), {term: _DNA_OTHER.get(term, ()) for term in DNA_FROM_COLUMNS})


def _matched(columns: list[str], terms: dict[str, tuple[str, ...]]) -> dict[str, str]:
    by_plain: dict[str, str] = {}
    for column in columns:
        by_plain.setdefault(plain(column), column)
    found = {}
    for term, others in terms.items():
        names = [plain(name) for name in (term, *others)]
        for name in names:
            if name in by_plain:
                found[term] = by_plain[name]
                break
    return found
