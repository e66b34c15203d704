"""A small stage of training for several processes: python -m tests.together FOLDER RANK; RANK dies, or nobody at -1."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from medmm.config import TrainingConfig
from medmm.learn.auxiliary import Auxiliary
from medmm.learn.fit import Epoch
from medmm.learn.processes import accelerator
from medmm.learn.stage import Stage
from medmm.model.fusion import Fusion
from tests.cohorts import planted_cases
from tests.models import LABELS, WIDTHS, fusion

CONFIG = TrainingConfig(epochs=3, batch_size=15, seed=7)
"""Of 46 cases the last batch has one: a process of two has nothing to do."""


def main(folder: Path, dies: int = -1) -> None:
    """Train, and die after the first epoch if this is the process that should."""

    def tell(stage: str, epoch: Epoch) -> None:
        if accelerator().process_index == dies:
            os._exit(9)

    torch.manual_seed(CONFIG.seed)
    network = Auxiliary(Fusion(WIDTHS, len(LABELS), False, fusion(dropout=0.3, modality_dropout=0.25)))
    train, held_out = (planted_cases(cases, seed=cases, missing=0.2, not_stated=0.2) for cases in (46, 30))
    Stage("interaction", folder, tell).run(network, train, held_out, CONFIG, multi_class=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
