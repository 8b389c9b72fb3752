"""The words of the library in the words of the command line: its errors name parameters, people type options."""

from __future__ import annotations

import re

_OPTIONS = {
    "batch_size": "--batch-size",
    "max_sequences": "--max-sequences",
    "max_tokens": "--max-tokens",
    "min_length": "--min-length",
    "resume=False": "--no-resume",
    "seq_idx": "--seq-idx",
    "use_gpu": "--gpu",
    "vector_column": "--vector-column",
}
# Names in quotes or paths are those of files, columns and records.
_PARAMETER = re.compile(rf"(?<![\w'\"`./\\-])({'|'.join(map(re.escape, _OPTIONS))})(?![\w'\"`./\\-])")


def in_options(text: str) -> str:
    """Return an error of the library with options for its parameters.

    Args:
        text: The sentence.
    """
    return _PARAMETER.sub(lambda found: _OPTIONS[found[1]], text)
