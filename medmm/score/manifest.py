"""manifest.json: with what a scored folder was made, how many cases it holds, and the digests of its tables.

It says nothing of when: a run that was killed and went on, or one that had nothing to do, must leave the same bytes.
The store knows when each case was scored.
"""

from __future__ import annotations

import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path

from medmm.config import CohortConfig
from medmm.files import write_whole
from medmm.model.card import ModelInfo
from medmm.score.content import Beside, settings_of
from medmm.write.tables import CSV, PARQUET, QUARANTINE

MANIFEST = "manifest.json"
"""Name of the file in a folder that was scored."""
_PACKAGES = ("medmm", "imagecodecs", "numpy", "pillow", "pydicom", "pylibjpeg-openjpeg", "torch", "transformers")
"""Those whose version may change a number."""


def write_manifest(
    out: Path, model: ModelInfo, config: CohortConfig, beside: Beside, *, scored: int, refused: int
) -> None:
    """Write manifest.json, after the tables.

    Args:
        out: the scored folder, with its tables.
        model: the one that answered.
        config: of the cohort that was read last.
        beside: what was given with each answer.
        scored: cases with an answer.
        refused: cases with none.
    """
    said = {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "model": {
            "id": model.model_id,
            "sha256": model.digest,
            "encoders": model.card.encoders,
            "trained_by": model.card.medmm,
        },
        "config": settings_of(config),
        "asked": {"deletions": beside.deletions, "similar": beside.similar},
        "cases": {"scored": scored, "refused": refused},
        "sha256": {name: _digest(out / name) for name in (PARQUET, CSV, QUARANTINE)},
    }
    content = json.dumps(said, indent=2) + "\n"
    write_whole(out / MANIFEST, lambda path: path.write_text(content, encoding="utf-8"))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
