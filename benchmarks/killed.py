"""Does a training run that was killed end as one that was not? Real processes, kill -9, at moments all over the run.

python -m benchmarks.killed COHORT --times 20 --seed 0
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

RUN_TOML = """\
[encoders]
image_size = 96
max_words = 64

[fusion]
width = 32

[training]
epochs = 8
folds = 2
"""
_STAGES = {
    "metrics.json": "writing the report",
    "work/textbook": "training the textbook model",
    "model/model.json": "comparing",
    "work/model/interaction": "training the interaction",
    "run.json": "fitting the heads",
    "features": "encoding",
}
"""What is there when a stage has begun, from the last stage to the first."""


def main() -> int:
    """1 if a run that was killed and resumed ended with other metrics or another model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.killed", description=__doc__)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--times", type=int, default=20, help="kills, each in a run of its own")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    moments = np.random.default_rng(arguments.seed).random(arguments.times)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "run.toml").write_text(RUN_TOML)
        started = time.perf_counter()
        if start(arguments.cohort, Path(folder) / "whole").wait():
            parser.error("this cohort cannot be trained on: `medmm train` says why")
        whole = time.perf_counter() - started
        expected = figures(Path(folder) / "whole")
        print(f"Uninterrupted: {whole:.1f} s, model {json.loads(expected)['model_id']}")
        differ = 0
        for number, moment in enumerate(moments):
            out = Path(folder) / f"killed-{number}"
            after = killed(arguments.cohort, out, whole * (number + moment) / arguments.times)
            stage = next((name for file, name in _STAGES.items() if (out / file).exists()), "starting")
            start(arguments.cohort, out).wait()
            same = figures(out) == expected
            differ += not same
            verdict = "same metrics and model" if same else "OTHER metrics or model"
            print(f"Kill {number + 1} of {arguments.times} after {after:.1f} s, {stage}: {verdict}", flush=True)
            shutil.rmtree(out)
    print("Every run ended as the one that was not killed" if not differ else f"{differ} runs ended otherwise")
    return 1 if differ else 0


def start(cohort: Path, out: Path) -> subprocess.Popen[bytes]:
    """`medmm train` in a process group of its own, with a cache of its own."""
    command = [sys.executable, "-m", "pipelines.cli", "train", str(cohort), "--out", str(out), "--workers", "1"]
    dials = ["--config", str(out.parent / "run.toml")]
    return subprocess.Popen([*command, *dials], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0)


def killed(cohort: Path, out: Path, after: float) -> float:
    """Start a run and kill it and its children after so many seconds; earlier if it should be done by then."""
    while True:
        process = start(cohort, out)
        try:
            process.wait(timeout=after)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return after
        shutil.rmtree(out)
        after *= 0.9


def figures(out: Path) -> str:
    """Every number of the report, with the model's digest; empty if the run left none."""
    path = out / "metrics.json"
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    raise SystemExit(main())
