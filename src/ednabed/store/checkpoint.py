"""The checkpoint file of ``table embed``: information for people, and for scripts that use the old guide's keys.

The program itself never uses it: pending rows are found in the table itself. Deleting the file, or a wrong id in it,
changes nothing.
"""

from __future__ import annotations

from pathlib import Path

from ednabed.base.atomic import write_atomic
from ednabed.base.sealed import Damaged, Seal, UnknownSchema
from ednabed.base.times import utc_now

CHECKPOINT = "embedding_checkpoint.json"
_SEAL = Seal("ednabed.checkpoint/1", unsealed=(None,))


def checkpoint_folder(workspace: Path) -> Path:
    """Return the folder for the checkpoint file and for work in progress on tables."""
    return workspace / "data" / "processed" / "embedder_checkpoints"


def write_checkpoint(workspace: Path, *, last_id: str, total: int, model: str) -> None:
    """Write the guide's keys: timestamp, last_embedded_id, total_processed (by this command so far), model."""
    write_atomic(
        checkpoint_folder(workspace) / CHECKPOINT,
        _SEAL.text(
            {
                "timestamp": utc_now(),
                "last_embedded_id": last_id,
                "total_processed": total,
                "model": model,
            }
        ),
    )


def verify_checkpoint(workspace: Path) -> list[str]:
    """Return the faults of the checkpoint file of a workspace; an empty list if there is no file."""
    path = checkpoint_folder(workspace) / CHECKPOINT
    try:
        _SEAL.read(path.read_bytes())
    except FileNotFoundError:
        return []
    except (Damaged, UnknownSchema) as error:
        return [f"{path} is damaged ({error}); delete it, because it is for information only"]
    return []
