"""Encoders for tests whose vectors can be worked out on paper, and a way to run the command line."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ednabed.base.arrays import FloatArray
from ednabed.models.base import Embedder, Encoder, Tokens
from ednabed.models.spec import Policy

LETTERS = b"ACGTN"
SHARED = Path(os.environ.get("EDNABED_SHARED", Path(__file__).resolve().parents[2] / "shared"))
"""The shared folder beside the checkout; users do not have it."""


class LetterEncoder(Encoder):
    """One token a letter; the vector is the share of A, C, G, T and N, and the mean place of each of them in the row.

    Args:
        max_tokens: Token limit, one special token counted; None for none.
        fits: Tokens (special ones counted) that fit into memory; more raise MemoryError. None: everything fits.
        log: File that gets one line a row computed, so that another process can count them.
        seconds_a_row: Time that each row takes.
        salt: Makes another function of it (another fingerprint, other vectors).
    """

    dimension = 10
    special_tokens = 1
    tokenizer = "letters"

    def __init__(
        self,
        max_tokens: int | None = None,
        fits: int | None = None,
        log: Path | None = None,
        seconds_a_row: float = 0.0,
        salt: int = 0,
    ) -> None:
        self.name = "letters" if not salt else f"letters-{salt}"
        self.max_tokens = max_tokens
        self.architecture = {"family": "letters", "salt": salt}
        self.token_budget = 1000
        self.fits = fits
        self.log = log
        self.seconds_a_row = seconds_a_row
        self.salt = salt
        self.batches: list[int] = []

    @property
    def rows(self) -> int:
        """Rows computed so far."""
        return sum(self.batches)

    def tokenize(self, sequences: Sequence[bytes]) -> Tokens:
        codes = np.full(256, -1, np.int64)
        codes[list(LETTERS)] = range(5)
        ids = codes[np.frombuffer(b"".join(sequences), np.uint8)]
        assert (ids >= 0).all(), "the engine must give normalised letters"
        return Tokens(ids, np.concatenate(([0], np.cumsum([len(s) for s in sequences]))).astype(np.int64))

    def forward(self, tokens: Tokens) -> FloatArray:
        total = int(tokens.lengths.sum()) + len(tokens)
        if self.fits is not None and total > self.fits:
            raise MemoryError(f"{total} tokens")
        if self.max_tokens is not None:
            assert int(tokens.lengths.max()) + 1 <= self.max_tokens, "the engine must keep to the limit"
        self.batches.append(len(tokens))
        out = np.zeros((len(tokens), 10), np.float32)
        for i in range(len(tokens)):
            row = tokens.ids[tokens.offsets[i] : tokens.offsets[i + 1]]
            out[i] = letter_vector(row, self.salt)
            if self.seconds_a_row:
                time.sleep(self.seconds_a_row)
            if self.log is not None:
                with self.log.open("a") as file:
                    file.write("x\n")
        return out


def letter_vector(ids: np.ndarray, salt: int = 0) -> np.ndarray:
    """The vector of one row of letter ids (A 0, C 1, G 2, T 3, N 4), from the definition."""
    places = np.arange(1, len(ids) + 1) / max(len(ids), 1)
    shares = [np.mean(ids == letter) for letter in range(5)]
    means = [places[ids == letter].mean() if (ids == letter).any() else 0.0 for letter in range(5)]
    return np.array(shares + means, np.float32) + salt


def expected(sequence: str, salt: int = 0) -> np.ndarray:
    """The vector of a normalised sequence by ``LetterEncoder``."""
    return letter_vector(np.array([LETTERS.index(c) for c in sequence.encode()]), salt)


def letters(policy: Policy | None = None, **settings) -> Embedder:
    """An embedder of a ``LetterEncoder``."""
    return Embedder.from_encoder(LetterEncoder(**settings), policy or Policy())


def ednabed(*arguments: str | Path, cwd: Path, stdin: bytes | None = None, env: dict[str, str] | None = None):
    """Run the command line in a process of its own; returns the finished process with text output."""
    return subprocess.run(
        [sys.executable, "-m", "ednabed.cli.main", *map(str, arguments)],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        timeout=1_200,
        check=False,
    )


def without(folder: Path, *names: str) -> dict[str, str]:
    """Variables of an environment in which packages seem not to be installed."""
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {names!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import importlib.metadata as metadata\n"
        "real = metadata.version\n"
        "def version(name):\n"
        f"    if name in {names!r}:\n"
        "        raise metadata.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "metadata.version = version\n",
        encoding="utf-8",
    )
    return {"PYTHONPATH": str(folder)}
