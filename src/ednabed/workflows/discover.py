"""Find the sequences of files that are not in a reference, group them, and write the groups to a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from ednabed.base.topk import unit
from ednabed.base.version import __version__
from ednabed.engine.progress import progress_bar
from ednabed.engine.threads import cores
from ednabed.errors import StoreError
from ednabed.export.discovery import check_folder, write_discovery
from ednabed.export.discovery_page import Neighbour
from ednabed.search.queries import Query, by_files
from ednabed.sequences.counts import CountTable, no_match_error
from ednabed.taxonomy.calibration import Calibration
from ednabed.taxonomy.candidate_taxon import CandidateTaxon
from ednabed.taxonomy.classify import Classified, Classifier
from ednabed.taxonomy.clusters import IDENTITY
from ednabed.taxonomy.discover import Gathering, find_candidates, nearest_rows
from ednabed.workflows.identify import file_samples, sample_of

_EXAMPLES = 3
_WORDS = {"assigned": "assigned", "not_in_reference": "not in the reference", "unclassified": "unclassified"}


@dataclass(frozen=True)
class Discovery:
    """The results of a discovery, in addition to the files.

    Attributes:
        groups: The groups of sequences that are not in the reference, in descending order of reads.
        records: Number of records read.
        rejected: Number of records that could not be looked up.
        sequences: Number of distinct sequences by status.
        tested: Number of distinct sequences for which absence from the reference was tested at some rank.
        not_in_counts: Number of records that are not in the count table; their own counts are used, else one read.
        not_in_counts_examples: Ids of the first of them, at most three.
        repeated: Number of records with the id of an earlier one, to which the counts belong; they have no reads. 0
            without a count table.
    """

    groups: list[CandidateTaxon]
    records: int
    rejected: int
    sequences: Mapping[str, int]
    tested: int
    not_in_counts: int
    not_in_counts_examples: tuple[str, ...]
    repeated: int

    @property
    def candidates(self) -> int:
        """Number of groups that are candidate taxa."""
        return sum(one.candidate for one in self.groups)


def discover_files(
    classifier: Classifier,
    paths: Sequence[Path],
    folder: Path,
    *,
    counts: CountTable | None = None,
    identity: float = IDENTITY,
    seed: int = 0,
    on_result: Callable[[Classified], None] | None = None,
    show_progress: bool | None = False,
) -> Discovery:
    """Group the sequences of files that are not in the reference, and write them as described in ``export.discovery``.

    Args:
        classifier: See ``identify.open_classifier``; it must be calibrated.
        paths: The files; ``-`` is standard input.
        folder: Output folder.
        counts: Reads of each record by sample; None takes the counts of the records. A record without a count is one
            read; if several files are read, a record without a sample gets that of its file, see
            ``identify.file_samples``.
        identity: Minimum percent identity of the members of a group to its representative.
        seed: Random seed of the map.
        on_result: Called with every rejected record, and once with each distinct sequence, in the order of the input.
        show_progress: True counts the finished distinct sequences on standard error, None only on a terminal.

    Raises:
        StoreError: The reference is not calibrated.
        InputError: A file cannot be read, or contains no record; or no record is in the count table.
        UsageError: ``folder`` contains files of these names that discover did not write.
    """
    calibration = check_calibrated(classifier)
    check_folder(folder)
    reads = _Reads(counts, {} if counts is not None else file_samples(paths))
    gathering = Gathering(reads)
    with threadpool_limits(cores()):
        with progress_bar(None, show=show_progress, doing="looking up") as bar:
            for found in classifier.run(gathering.unseen(by_files(classifier.embedder, paths)), on_progress=bar.update):
                gathering.judge(found)
                if on_result is not None:
                    on_result(found)
        if counts is not None and reads.not_in_counts == gathering.records - gathering.rejected > 0:
            raise no_match_error(counts, reads.examples)
        distinct = gathering.distinct()
        groups = find_candidates(distinct, classifier.collection, classifier.labels, identity=identity)
        neighbours = _neighbours(groups, classifier)
    result = Discovery(
        groups=groups,
        records=gathering.records,
        rejected=gathering.rejected,
        sequences=Counter(str(one.status) for one in distinct),
        tested=sum(one.tested for one in distinct),
        not_in_counts=reads.not_in_counts,
        not_in_counts_examples=tuple(reads.examples),
        repeated=reads.repeated,
    )
    summary = _summary(result, classifier, calibration, paths, identity)
    write_discovery(folder, groups, neighbours=neighbours, summary=summary, seed=seed)
    return result


def _summary(
    result: Discovery, classifier: Classifier, calibration: Calibration, paths: Sequence[Path], identity: float
) -> dict[str, str]:
    """Return the facts at the top of the report."""
    reference, labelled = classifier.collection, int(classifier.labels.labelled.sum())
    inputs = ", ".join("standard input" if path == Path("-") else path.name for path in paths)
    return {
        "made by": f"ednabed {__version__} discover, from {inputs}",
        "reference": f"{reference.name}, build {calibration.build}, {labelled:,} labelled sequences, model "
        f"{reference.spec.model}, calibrated with seed {calibration.seed}",
        "read": f"{result.records:,} records, {result.rejected:,} of them rejected",
        "distinct sequences": f"{sum(result.sequences.values()):,}: "
        + ", ".join(f"{result.sequences[status]:,} {word}" for status, word in _WORDS.items()),
        "tested for absence from the reference": f"{result.tested:,}, at a p-value and a false discovery rate of "
        f"{classifier.criteria.alpha:g}",
        "group": f"sequences not in the reference that are at least {identity:g} % identical to their representative",
    }


def check_calibrated(classifier: Classifier) -> Calibration:
    """Return the calibration of the reference.

    Raises:
        StoreError: The reference is not calibrated.
    """
    if classifier.calibration is None:
        raise StoreError(
            f"{classifier.collection.name} is not calibrated, so it is unknown how distant a sequence must be to be "
            "absent from it; run 'ednabed reference calibrate'"
        )
    return classifier.calibration


def _neighbours(candidates: Sequence[CandidateTaxon], classifier: Classifier) -> list[Neighbour]:
    """Return the nearest named relatives of the representatives, each once."""
    labels = classifier.labels
    row_of = nearest_rows(candidates, classifier.collection, labels.labelled)
    names = sorted(row_of, key=row_of.__getitem__)
    rows = np.array([row_of[name] for name in names], np.int64)
    if not len(rows):
        return []
    vectors = unit(np.asarray(classifier.collection.vectors_of(rows), np.float32))
    main = labels.main[rows].tolist()
    return [
        Neighbour(name, labels.lineages[lineage], vector)
        for name, lineage, vector in zip(names, main, vectors, strict=True)
    ]


class _Reads:
    """Looks up the reads of a record, and counts the records that are not in the count table."""

    def __init__(self, counts: CountTable | None, files: Mapping[Path, str]) -> None:
        self.not_in_counts = self.repeated = 0
        self.examples: list[str] = []
        self._counts = counts
        self._files = files
        self._seen: set[int] = set()

    def __call__(self, query: Query) -> tuple[int, Mapping[str, int]]:
        name = str(query.info["id"])
        if self._counts is not None:
            feature = self._counts.find(name)
            if feature in self._seen:
                self.repeated += 1
                return 0, {}
            if feature is not None:
                self._seen.add(feature)
                found = self._counts.counts_of(name)
                return sum(found.values()), {self._counts.samples[column]: n for column, n in found.items()}
            self.not_in_counts += 1
            if len(self.examples) < _EXAMPLES:
                self.examples.append(name)
        reads = 1 if query.abundance is None else int(query.abundance)
        sample = sample_of(query, self._files)
        return reads, {} if sample is None else {sample: reads}
