"""Is it new: the sequences of some files that are not in a reference, in groups, written to a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from ednabed import __version__
from ednabed.api.identify import file_samples, sample_of
from ednabed.engine.progress import progress_bar
from ednabed.engine.threads import cores
from ednabed.errors import StoreError
from ednabed.export.discovery import check_folder, write_discovery
from ednabed.export.discovery_page import Neighbour
from ednabed.reference.topk import unit
from ednabed.search.queries import Query, by_files
from ednabed.sequences.counts import CountTable, no_match
from ednabed.taxonomy.calibration import Calibration
from ednabed.taxonomy.candidate_taxon import CandidateTaxon
from ednabed.taxonomy.classify import Classified, Classifier
from ednabed.taxonomy.clusters import IDENTITY
from ednabed.taxonomy.discover import Gathering, find_candidates, nearest_rows

_EXAMPLES = 3
_WORDS = {"assigned": "assigned", "not_in_reference": "not in the reference", "unclassified": "unclassified"}


@dataclass(frozen=True)
class Discovery:
    """What was found, next to the files.

    Attributes:
        groups: The groups of sequences that are not in the reference, those with most reads first.
        records: Records read.
        rejected: Those of them that could not be looked up.
        sequences: Distinct sequences by status.
        tested: Distinct sequences for which absence from the reference was tested at some rank.
        not_in_counts: Records that the count table lacks; they have the reads that they say themselves, else one.
        not_in_counts_examples: Ids of the first of them, at most three.
        repeated: Records whose id had come before, which has the counts; they have no reads. 0 without a count table.
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
        """Groups that are candidate taxa."""
        return sum(one.candidate for one in self.groups)


def discover_files(
    classifier: Classifier,
    paths: Sequence[Path],
    folder: Path,
    *,
    counts: CountTable | None = None,
    identity: float = IDENTITY,
    seed: int = 0,
    threads: int | None = None,
    tell: Callable[[Classified], None] | None = None,
    show_progress: bool | None = False,
) -> Discovery:
    """Group what is not in the reference among some sequence files, and write it as ``export.discovery`` describes.

    Args:
        classifier: See ``identify.open_classifier``; it must be calibrated.
        paths: The files; ``-`` is standard input.
        folder: Where to.
        counts: Reads of each record by sample; None where the records say them. A record that says none is one read;
            where several files are read, one that says no sample is of that of its file, see ``identify.file_samples``.
        identity: Minimum percent identity of the members of a group to its representative.
        seed: Of the map.
        threads: Threads of the matrix products; None takes all cores.
        tell: Is given every rejected record, and each distinct sequence once, in the order of the input; None for no
            one.
        show_progress: True counts the distinct sequences looked up on standard error, None on a terminal only.

    Raises:
        StoreError: The reference is not calibrated.
        InputError: A file cannot be read, or holds no record; or no record is in the count table.
        UsageError: ``folder`` holds files of these names that are somebody else's.
    """
    calibration = check_calibrated(classifier)
    reference = classifier.collection
    check_folder(folder)
    reads = _Reads(counts, {} if counts is not None else file_samples(paths))
    gathering = Gathering(reads)
    labels = classifier.labels
    with threadpool_limits(cores() if threads is None else threads):
        with progress_bar(None, show=show_progress, doing="looking up") as bar:
            for found in classifier.run(gathering.unseen(by_files(classifier.embedder, paths)), tell=bar.update):
                gathering.judge(found)
                if tell is not None:
                    tell(found)
        if counts is not None and reads.not_in_counts == gathering.records - gathering.rejected > 0:
            raise no_match(counts, reads.examples)
        every = gathering.distinct()
        groups = find_candidates(every, reference, labels, identity=identity)
        neighbours = _neighbours(groups, classifier)
    result = Discovery(
        groups=groups,
        records=gathering.records,
        rejected=gathering.rejected,
        sequences=Counter(str(one.status) for one in every),
        tested=sum(one.tested for one in every),
        not_in_counts=reads.not_in_counts,
        not_in_counts_examples=tuple(reads.examples),
        repeated=reads.repeated,
    )
    alpha = classifier.criteria.alpha
    inputs = ", ".join("standard input" if path == Path("-") else path.name for path in paths)
    summary = {
        "made by": f"ednabed {__version__} discover, from {inputs}",
        "reference": f"{reference.name}, build {calibration.build}, {int(labels.labelled.sum()):,} labelled sequences, "
        f"model {reference.spec.model}, calibrated with seed {calibration.seed}",
        "read": f"{result.records:,} records, {result.rejected:,} of them rejected",
        "distinct sequences": f"{len(every):,}: "
        + ", ".join(f"{result.sequences[status]:,} {word}" for status, word in _WORDS.items()),
        "tested for absence from the reference": f"{result.tested:,}, at a p-value and a false discovery rate of "
        f"{alpha:g}",
        "group": f"sequences not in the reference that are at least {identity:g} % identical to their representative",
    }
    write_discovery(folder, groups, neighbours=neighbours, summary=summary, seed=seed)
    return result


def check_calibrated(classifier: Classifier) -> Calibration:
    """Return what was learned on the reference.

    Raises:
        StoreError: It is not calibrated.
    """
    if classifier.calibration is None:
        raise StoreError(
            f"{classifier.collection.name} is not calibrated, so it is unknown how distant a sequence must be to be "
            "absent from it; run 'ednabed reference calibrate'"
        )
    return classifier.calibration


def _neighbours(candidates: Sequence[CandidateTaxon], classifier: Classifier) -> list[Neighbour]:
    """Return the named nearest relatives of the representatives, once each."""
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
    """Says the reads of a record, and counts those that the count table cannot say."""

    def __init__(self, counts: CountTable | None, files: Mapping[Path, str]) -> None:
        self.not_in_counts = self.repeated = 0
        self.examples: list[str] = []
        self._counts = counts
        self._files = files
        self._seen: set[int] = set()

    def __call__(self, query: Query) -> tuple[int, Mapping[str, int]]:
        name = str(query.told["id"])
        if self._counts is not None:
            feature = self._counts.find(name)
            if feature in self._seen:
                self.repeated += 1
                return 0, {}
            if feature is not None:
                self._seen.add(feature)
                found = self._counts.of(name)
                return sum(found.values()), {self._counts.samples[place]: n for place, n in found.items()}
            self.not_in_counts += 1
            if len(self.examples) < _EXAMPLES:
                self.examples.append(name)
        reads = 1 if query.abundance is None else int(query.abundance)
        sample = sample_of(query, self._files)
        return reads, {} if sample is None else {sample: reads}
