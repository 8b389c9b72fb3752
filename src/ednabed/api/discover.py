"""Is it new: the sequences of some files that a reference does not know, as candidate taxa in a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from ednabed import __version__
from ednabed.api.identify import cores, file_samples, sample_of
from ednabed.engine.progress import progress_bar
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


@dataclass(frozen=True)
class Discovery:
    """What was found, beside the files.

    Attributes:
        candidates: The candidate taxa, those with most reads first.
        records: Records read.
        rejected: Those of them that could not be looked up.
        sequences: Distinct sequences by status.
        tested: Distinct sequences with a p-value of novelty.
        sure: Candidate taxa whose q is at most ``alpha``.
        not_in_counts: Records that the count table lacks; they have the reads that they say themselves, else one.
        not_in_counts_examples: Ids of the first of them, at most three.
        repeated: Records whose id had come before, which has the counts; they have no reads. 0 without a count table.
    """

    candidates: list[CandidateTaxon]
    records: int
    rejected: int
    sequences: Mapping[str, int]
    tested: int
    sure: int
    not_in_counts: int
    not_in_counts_examples: tuple[str, ...]
    repeated: int


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
    """Cluster what is new in some sequence files, and write it as ``export.discovery`` says.

    Args:
        classifier: See ``identify.open_classifier``; it must be calibrated.
        paths: The files; ``-`` is standard input.
        folder: Where to.
        counts: Reads of each record by sample; None where the records say them. A record that says none is one read;
            where several files are read, one that says no sample is of that of its file, see ``identify.file_samples``.
        identity: Least percent identity of the members of a candidate taxon to its representative.
        seed: Of the map.
        threads: Threads of the matrix products; None takes all cores.
        tell: Is given every rejected record, and each distinct sequence once, in the order of the input; None for no
            one.
        show_progress: True counts the distinct sequences judged on standard error, None on a terminal only.

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
    labelled = classifier.labels.labelled
    with threadpool_limits(cores() if threads is None else threads):
        with progress_bar(None, show=show_progress, doing="judging") as bar:
            for found in classifier.run(gathering.unseen(by_files(classifier.embedder, paths)), bar.update):
                gathering.judge(found)
                if tell is not None:
                    tell(found)
        if counts is not None and reads.not_in_counts == gathering.records - gathering.rejected > 0:
            raise no_match(counts, reads.examples)
        every = gathering.distinct()
        candidates = find_candidates(every, reference, labelled, identity=identity)
        neighbours = _neighbours(candidates, classifier)
    alpha = classifier.criteria.alpha
    result = Discovery(
        candidates=candidates,
        records=gathering.records,
        rejected=gathering.rejected,
        sequences=Counter(str(one.status) for one in every),
        tested=sum(one.p is not None for one in every),
        sure=sum(one.q is not None and one.q <= alpha for one in candidates),
        not_in_counts=reads.not_in_counts,
        not_in_counts_examples=tuple(reads.examples),
        repeated=reads.repeated,
    )
    inputs = ", ".join("standard input" if path == Path("-") else path.name for path in paths)
    summary = {
        "made by": f"ednabed {__version__} discover, from {inputs}",
        "reference": f"{reference.name}, build {calibration.build}, {int(labelled.sum()):,} labelled sequences, model "
        f"{reference.spec.model}, calibrated with seed {calibration.seed}",
        "read": f"{result.records:,} records, {result.rejected:,} of them rejected",
        "distinct sequences": f"{len(every):,}: "
        + ", ".join(f"{result.sequences[s]:,} {s}" for s in ("assigned", "novel", "unclassified")),
        "tested for novelty": f"{result.tested:,}, each at {alpha:g}",
        "candidate": f"sequences judged novel that are at least {identity:g} % identical to their representative",
        f"candidates with q up to {alpha:g}": f"{result.sure:,}",
    }
    write_discovery(folder, candidates, neighbours=neighbours, summary=summary, seed=seed)
    return result


def check_calibrated(classifier: Classifier) -> Calibration:
    """Return what was learned on the reference.

    Raises:
        StoreError: It is not calibrated.
    """
    if classifier.calibration is None:
        raise StoreError(
            f"{classifier.collection.name} is not calibrated, so nothing says how far from it a sequence is that may "
            "be called novel; run 'ednabed reference calibrate'"
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
