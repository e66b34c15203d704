"""AutoGluon-MultiModal with its defaults, in an environment of its own: its torch and transformers are older than ours.

It downloads weights from a hub when it learns. Where it does not install, or the hub is not reachable, the table says
so. The same training, validation and test cases; picture, note and record values are columns of its tables.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image

from benchmarks.accuracy.fold import Fold, NotRunError, Said, is_multi_class, targets_of, thresholds_of
from benchmarks.accuracy.inputs import DEVIATION, MEAN, squares, texts
from medmm.learn.train import Prepared

_REQUIREMENT = "autogluon.multimodal==1.4.0"
_SECONDS_TO_INSTALL = 1800
_SECONDS_TO_LEARN = 600
_SIZE = 224


def autogluon(prepared: Prepared, fold: Fold, work: Path) -> Said:
    """One predictor for all classes, or one a label."""
    python = _environment(work.parents[2] / "autogluon")
    table = _table(prepared, work)
    targets = targets_of(prepared)
    if is_multi_class(prepared):
        said = _learned(
            python, table, np.where(np.isfinite(targets).all(axis=1), targets.argmax(axis=1), np.nan), fold, work
        )
        answers = np.zeros(targets.shape)
        for column in said:
            answers[:, int(float(str(column)))] = said[column]
    else:
        parts = [_learned(python, table, targets[:, i], fold, work) for i in range(targets.shape[1])]
        answers = np.stack([part["1.0"].to_numpy() for part in parts], axis=1)
    validation = np.array([part == "validation" for part in fold.parts])
    return Said(answers[fold.test], thresholds_of(targets[validation], answers[validation]))


def _environment(folder: Path) -> Path:
    """The Python of an environment with AutoGluon, made if need be."""
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        call([sys.executable, "-m", "venv", "--clear", str(folder)], _SECONDS_TO_INSTALL)
        call([str(python), "-m", "pip", "install", "--quiet", _REQUIREMENT], _SECONDS_TO_INSTALL)
        (folder / "installed").touch()
    return python


def _table(prepared: Prepared, work: Path) -> pd.DataFrame:
    """A row a case: the path of its picture, its note, its record values."""
    pixels = squares(prepared, _SIZE).astype(np.float32)
    mean, deviation = (np.array(channels, dtype=np.float32)[:, None, None] for channels in (MEAN, DEVIATION))
    paths = []
    for number, case in enumerate(prepared.cases):
        if case.case.study is None:
            paths.append("")
            continue
        shown = np.rint(255 * (pixels[number] * deviation + mean)).clip(0, 255).astype(np.uint8)
        paths.append(str((work / f"{number}.png").resolve()))
        PIL.Image.fromarray(shown.transpose(1, 2, 0)).save(paths[-1])
    record = {
        f"record {name}": [case.case.record.get(name) for case in prepared.cases]
        for name in prepared.cohort.config.record
    }
    return pd.DataFrame({"image": paths, "note": texts(prepared)} | record)


def _learned(python: Path, table: pd.DataFrame, answer: np.ndarray, fold: Fold, work: Path) -> pd.DataFrame:
    """Let the other environment learn one answer (N,): what it says of all cases, a column an answer."""
    worker = Path(__file__).with_name("autogluon_worker.py")
    table.assign(answer=answer, part=fold.parts).to_csv(work / "cases.csv", index=False)
    call([str(python), str(worker), str(work), str(_SECONDS_TO_LEARN), str(fold.seed)], 2 * _SECONDS_TO_LEARN)
    return pd.read_csv(work / "said.csv")


def call(command: Sequence[str], seconds: float) -> None:
    """Run a command to its end.

    Raises:
        NotRunError: if it fails or takes longer; with the last line of what it said.
    """
    what = f"'{Path(command[0]).name} {' '.join(Path(word).name for word in command[1:])}'"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise NotRunError(f"{what} was not done in {seconds:.0f} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it did not say why"])[-1]
        raise NotRunError(f"{what} failed: {last[:300]}")
