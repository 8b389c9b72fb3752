"""A process that trains a small model, for tests that kill it.

Usage: python train_driver.py INPUT OUTPUT STEPS
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from ednabed.training import loop
from ednabed.training.train import TrainRequest, train_model


def main() -> None:
    torch.set_num_threads(1)
    # Saved at every point, so that there is something to take up.
    loop._SAVE_SECONDS = 0.0
    train_model(request_of(*sys.argv[1:]), show_progress=False)


def request_of(source: str, output: str, steps: str) -> TrainRequest:
    return TrainRequest(
        inputs=[Path(source)], output=Path(output), patterns=("11111",), dimension=16, steps=int(steps), batch=32,
        rate=1e-2, validation=5, min_length=50, seed=7, use_gpu=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
