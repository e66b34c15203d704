"""Run by the environment that has AutoGluon, and by nothing else: learn `answer` in cases.csv, write said.csv.

python autogluon_worker.py FOLDER SECONDS SEED
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pandas as pd
from autogluon.multimodal import MultiModalPredictor  # type: ignore[import-not-found]  # lives elsewhere


def main(folder: Path, seconds: int, seed: int) -> None:
    """Learn from the rows of `train` and `validation` that state an answer; answer for every row."""
    cases = pd.read_csv(folder / "cases.csv")
    inputs = cases.drop(columns=["part", "answer"])
    stated = cases[cases["answer"].notna()]
    shutil.rmtree(folder / "model", ignore_errors=True)  # of a label before, or of a run that was stopped
    predictor = MultiModalPredictor(label="answer", path=str(folder / "model"), verbosity=0)
    predictor.fit(
        train_data=stated[stated["part"] == "train"].drop(columns="part"),
        tuning_data=stated[stated["part"] == "validation"].drop(columns="part"),
        time_limit=seconds,
        seed=seed,
        column_types={"image": "image_path", "note": "text"},
    )
    predictor.predict_proba(inputs).to_csv(folder / "said.csv", index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
