"""``EmbeddingEngine``: embed sequences from scripts and notebooks. A facade over the other packages."""

from __future__ import annotations

import logging
import reprlib
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ednabed.api.given import model_of, sequence_text, sequences_of, whole_number, yes_or_no
from ednabed.base.arrays import FloatArray
from ednabed.engine.device import available_gpu
from ednabed.engine.embed import WINDOW_BASES, Engine
from ednabed.engine.open import open_embedder
from ednabed.engine.progress import progress_bar
from ednabed.errors import EmbeddingError, InputError, UsageError
from ednabed.evaluate.validation import compare_pairs, validate
from ednabed.models.catalog import DEFAULT_MODEL
from ednabed.models.spec import Alphabet, Long, Policy, Strand
from ednabed.sequences import normalise, normalise_one, raw_records
from ednabed.store.defaults import workspace_folder
from ednabed.tables.fill import MIN_LENGTH, embed_table
from ednabed.tables.table import Database, VectorColumns

log = logging.getLogger("ednabed")


@dataclass
class Report:
    """Report of the last call of ``get_embeddings``.

    Attributes:
        given: Number of input sequences.
        embedded: Sequences with a vector.
        distinct: Distinct sequences that were embedded.
        truncated: Sequences cut at the token limit.
        ambiguous: Sequences with an N.
        rejected: Maps positions to reasons; these rows are zeros.
        seconds: Wall time.
    """

    given: int = 0
    embedded: int = 0
    distinct: int = 0
    truncated: int = 0
    ambiguous: int = 0
    rejected: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0


class EmbeddingEngine:
    """Embeds sequences with one model under one policy.

    Args:
        model_name: Name from ``ednabed models list``, hub id or model folder (text or ``Path``).
        batch_size: Maximum sequences per batch; None limits batches only by tokens, which usually is better.
        use_gpu: True forces a GPU (an error if there is none; a warning for a model that cannot use one), False the
            CPU, None takes the best device available.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        layer: Hidden state to pool; None takes the final one.
        pooling: ``mean``, ``mean-no-cls`` or ``cls``; None takes that of the model.
        max_tokens: Token limit, lower than that of the model.
        strand: ``given`` or ``both``.
        long: ``truncate``, ``window`` or ``reject``, for sequences above the token limit.
        alphabet: ``iupac`` or ``strict``.
        min_length: Minimum sequence length, in bases; None accepts what the model can embed, and 20 for tables.

    Attributes:
        last_report: Report of the last call of ``get_embeddings``.

    Raises:
        UsageError: A name or setting is unknown, or impossible on this machine.
        ModelError: The weights are missing or damaged.
    """

    def __init__(
        self,
        model_name: str | Path = DEFAULT_MODEL,
        batch_size: int | None = None,
        use_gpu: bool | None = None,
        precision: str = "auto",
        *,
        layer: int | None = None,
        pooling: str | None = None,
        max_tokens: int | None = None,
        strand: Strand = "given",
        long: Long = "truncate",
        alphabet: Alphabet = "iupac",
        min_length: int | None = None,
    ) -> None:
        layer, max_tokens = whole_number(layer, "layer"), whole_number(max_tokens, "max_tokens")
        self.batch_size = whole_number(batch_size, "batch_size")
        self.min_length = whole_number(min_length, "min_length")
        policy = Policy(layer, pooling, max_tokens, strand, long, alphabet)
        self.embedder = open_embedder(
            model_of(model_name), policy, use_gpu=yes_or_no(use_gpu, "use_gpu"), precision=precision
        )
        self.last_report = Report()
        self._engine = Engine(self.embedder, self.batch_size)
        spec, encoder = self.embedder.spec, self.embedder.encoder
        log.info("model: %s, %d dimensions, on %s in %s", spec.model, spec.dimension, encoder.device, encoder.precision)

    def get_embedding_single(self, sequence: str | bytes) -> FloatArray:
        """Return the vector of one sequence, float32, shape (d,).

        Raises:
            UsageError: It is not text.
            InputError: It is empty, too short, or has a character that is not accepted.
            EmbeddingError: The model cannot embed it.
        """
        bases = normalise_one(sequence_text(sequence, "`sequence`"), self.embedder.spec.alphabet)
        if len(bases) < (self.min_length or 1):
            raise InputError(f"the sequence has {len(bases)} bases, fewer than `min_length` {self.min_length}")
        vectors, refused = self._engine.embed([bases])
        if refused:
            raise EmbeddingError(f"the sequence cannot be embedded by {self.embedder.spec.model}: {refused[0]}")
        vector: FloatArray = vectors[0]
        return vector

    def get_embeddings(self, sequences: Iterable[str | bytes | None], show_progress: bool = False) -> FloatArray:
        """Return the vectors of sequences, float32, shape (n, d), row i for ``sequences[i]``.

        A rejected sequence has a row of zeros; a warning is issued, and ``last_report`` lists the rejected sequences
        with reasons. Identical sequences are embedded once.

        Args:
            sequences: A list, an array (numpy, Arrow, pandas), or any other ordered iterable of text.
            show_progress: Whether to draw a progress bar.

        Raises:
            UsageError: ``sequences`` is something else, or contains an item that is not text.
            EmbeddingError: The model failed on a sequence.
        """
        sequences = sequences_of(sequences)
        started = time.monotonic()
        n = len(sequences)
        report = Report(given=n)
        vectors = np.zeros((n, self.embedder.spec.dimension), np.float32)
        truncated = np.zeros(n, bool)
        first: dict[str, int] = {}
        with progress_bar(n, show=show_progress) as bar:
            for start, end in _windows(sequences):
                self._embed_window(sequences, start, end, first, vectors, truncated, report)
                bar.update(end - start)
        report.distinct = sum(1 for row in first.values() if row not in report.rejected)
        report.truncated = int(np.count_nonzero(truncated))
        report.embedded = n - len(report.rejected)
        report.seconds = time.monotonic() - started
        self.last_report = report
        if report.rejected:
            lowest = min(report.rejected)
            warnings.warn(
                f"{len(report.rejected)} of {n} sequences were rejected and have rows of zeros; the first is number "
                f"{lowest} ({report.rejected[lowest]}); last_report.rejected lists all of them",
                stacklevel=2,
            )
        return vectors

    def _embed_window(
        self,
        sequences: Sequence[str | None],
        start: int,
        end: int,
        first: dict[str, int],
        vectors: FloatArray,
        truncated: npt.NDArray[np.bool_],
        report: Report,
    ) -> None:
        """Embed ``sequences[start:end]`` into ``vectors``; ``first`` maps each earlier sequence to its row."""
        raw = raw_records([str(i) for i in range(start, end)], sequences[start:end])
        accepted, refused = normalise(raw, alphabet=self.embedder.spec.alphabet, min_length=self.min_length or 1)
        for row, reason in zip(refused.column("record").to_pylist(), refused.column("reason").to_pylist(), strict=True):
            report.rejected[start + row] = reason
        report.ambiguous += int(np.count_nonzero(accepted.column("n_ambiguous")))
        rows = [start + row for row in accepted.column("record").to_pylist()]
        bases = accepted.column("sequence").to_pylist()
        new = [row for row, sequence in zip(rows, bases, strict=True) if first.setdefault(sequence, row) == row]
        by_row = dict(zip(rows, bases, strict=True))
        unusable, batches = self._engine.stream([by_row[row].encode() for row in new])
        new_rows = np.array(new, np.int64)
        for batch in batches:
            vectors[new_rows[batch.index]] = batch.vectors
            truncated[new_rows[batch.index]] = batch.truncated
        report.rejected |= {new[i]: reason for i, reason in unusable.items()}
        for row, sequence in by_row.items():
            origin = first[sequence]
            if origin == row:
                continue
            vectors[row], truncated[row] = vectors[origin], truncated[origin]
            if origin in report.rejected:
                report.rejected[row] = report.rejected[origin]

    def embed_and_update_lancedb(
        self,
        db_path: str | Path | None = None,
        max_sequences: int | None = None,
        resume: bool = True,
        *,
        workspace: str | Path | None = None,
        vector_column: str = "vector",
        storage_options: Mapping[str, str] | None = None,
        show_progress: bool | None = None,
    ) -> dict[str, Any]:
        """Embed every pending row of the LanceDB table ``sequences``; return counts (``EmbedStats``).

        It also has ``sequences_processed`` (all processed rows), ``sequences_embedded`` and ``errors`` (rejected rows).

        Args:
            db_path: Folder or object-store address of the database; None takes ``EDNABED_DB``, else ``data/lancedb`` of
                the workspace.
            max_sequences: Maximum rows in this call; None takes all.
            resume: False also replaces vectors computed by another function.
            workspace: Folder of the checkpoint file; None takes ``EDNABED_WORKSPACE``, else the current folder.
            vector_column: Column to fill.
            storage_options: Lance options for object stores.
            show_progress: True, False, or None for only on a terminal.

        Raises:
            UsageError: ``max_sequences`` is not a positive number.
            StoreError: See ``ednabed.tables.fill.embed_table``.
        """
        folder = workspace_folder(workspace)
        database = Database.at(folder, None if db_path is None else str(db_path), storage_options)
        stats = embed_table(
            database.open(VectorColumns(vector_column)),
            self.embedder,
            folder,
            batch_size=self.batch_size,
            max_sequences=whole_number(max_sequences, "max_sequences"),
            min_length=MIN_LENGTH if self.min_length is None else self.min_length,
            resume=resume,
            show_progress=show_progress,
        )
        return {
            **asdict(stats),
            "sequences_processed": stats.embedded + stats.rejected,
            "sequences_embedded": stats.embedded,
            "errors": stats.rejected,
        }

    def validate_embeddings(
        self, test_sequences: Mapping[str, str] | Iterable[tuple[str, str]] | None = None
    ) -> FloatArray:
        """Print and return the cosine matrix of labelled sequences, float32, shape (n, n).

        Args:
            test_sequences: Pairs of sequence and label, or a mapping of label to sequence. Labels that are lineages
                (seven fields with semicolons, QIIME 2 or SINTAX format) determine which sequences are related; with
                other labels, the first two of three or more are. None takes two COI sequences of one genus and one 18S
                sequence, which are part of the package.

        Raises:
            EmbeddingError: A related sequence is not nearer than an unrelated one.
            InputError: A sequence or lineage cannot be used.
            UsageError: ``test_sequences`` does not consist of pairs.
        """
        if test_sequences is None:
            result = validate(self.embedder)
        else:
            result = compare_pairs(self.embedder, _pairs(test_sequences))
        # Users of the guide read the matrix in their notebook or log.
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(result.to_text().encode(encoding, "backslashreplace").decode(encoding) + "\n")
        if not result.passed:
            raise EmbeddingError(f"{self.embedder.spec.model} failed the check: {result.failures[0]}")
        return result.similarity

    def get_model_info(self) -> dict[str, Any]:
        """Return name, dimension, token limit, licence, device, precision, fingerprint and the complete spec.

        ``gpu_available`` states whether this machine has a usable GPU, whatever device the model runs on.
        """
        spec, encoder = self.embedder.spec, self.embedder.encoder
        return {
            "model_name": spec.model,
            "embedding_dim": spec.dimension,
            "max_tokens": spec.max_tokens,
            "max_length": spec.max_tokens,
            "tokenizer_type": spec.tokenizer,
            "licence": spec.licence,
            "device": encoder.device,
            "gpu_available": available_gpu() is not None,
            "precision": encoder.precision,
            "batch_size": self.batch_size,
            "token_budget": self._engine.token_budget,
            "fingerprint": spec.fingerprint,
            "spec": spec.to_dict(),
        }


def _pairs(test_sequences: Mapping[str, str] | Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return pairs of sequence and label."""
    if isinstance(test_sequences, Mapping):
        return [(sequence, label) for label, sequence in test_sequences.items()]
    pairs = []
    for number, item in enumerate(test_sequences, start=1):
        pair = () if isinstance(item, str) else tuple(item)
        if len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise UsageError(
                f"`test_sequences`: number {number} is {reprlib.repr(item)}, expected a pair of sequence and label "
                'such as ("ACGT…", "Sequence_A")'
            )
        pairs.append((pair[0], pair[1]))
    return pairs


def _windows(sequences: Sequence[str | None]) -> Iterator[tuple[int, int]]:
    """Yield the bounds of consecutive parts of some millions of bases."""
    start = n_bases = 0
    for i, sequence in enumerate(sequences):
        n_bases += len(sequence or "")
        if n_bases >= WINDOW_BASES:
            yield start, i + 1
            start, n_bases = i + 1, 0
    if start < len(sequences):
        yield start, len(sequences)
