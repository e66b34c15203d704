"""From nothing to the review screen: make the sample cohort, train, score its test patients, show them.

medmm demo FOLDER
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from medmm.errors import ConfigError
from medmm.judge.comparison import Report
from medmm.learn.split import read_split
from medmm.read.cohort import Cohort, read_cohort
from pipelines import terminal
from pipelines.score import engine_on, known_of, score_cases
from pipelines.train import train_cohort
from sample_data.cohort import holds_another, write_cohort
from ui.serve import review, start

_SIDES = {"image": "film alone", "note_record": "note and record alone", "all": "everything"}


def run_demo(folder: Path, patients: int, seed: int, *, port: int, browser: bool) -> None:
    """Do it all; what an earlier call did already is not done again."""
    report = learn_sample(folder, patients, seed)
    run = folder / "run"
    with engine_on(None, run) as engine:
        info, beside = known_of(run)
        score_cases(info, unseen(folder / "cohort", run), folder / "scored", engine, beside)
    beside_ceilings(report)
    if browser:
        review(folder / "scored", port, browser=True)
        return
    process, address = start(folder / "scored", port)
    terminal.console.print(f"Review screen: {address}  (left running; stop it with: kill {process.pid})")


def learn_sample(folder: Path, patients: int, seed: int) -> Report:
    """Write the sample cohort and train on it: `folder`/cohort and `folder`/run.

    Raises:
        ConfigError: if the folder holds a run on other patients.
    """
    if (folder / "run").is_dir() and holds_another(folder / "cohort", patients, seed):
        raise ConfigError(f"{folder} holds a demo with other patients", "Name another folder, or remove that one")
    with terminal.counting("Making films") as progress:
        write_cohort(folder / "cohort", patients, seed, progress=progress)
    found = json.loads((folder / "cohort" / "truth" / "ceilings.json").read_text(encoding="utf-8"))["cohort"]
    ceilings = {f"best possible, {_SIDES[side]}": found[side]["macro"] for side in _SIDES}
    return train_cohort(folder / "cohort", folder / "run", seed=seed, cache=folder / "features", ceilings=ceilings)


def unseen(cohort: Path, run: Path) -> Cohort:
    """The cases of the run's test patients, without their answers."""
    whole = read_cohort(cohort)
    part = read_split(run / "split.csv")
    rows = tuple(row for row in whole.rows if part.get(row.case_id) == "test")
    return replace(whole, rows=rows)


def beside_ceilings(report: Report) -> None:
    """Print the fused model beside what a perfect reader of each side could reach."""
    terminal.console.print(f"Fused, on {len(report.comparison.case_ids)} test cases: {report.scores[0].macro}")
    for name, ceiling in report.ceilings.items():
        word = "above" if report.scores[0].macro.value > ceiling else "below"
        terminal.console.print(f"  {word} the {name}: {ceiling:.3f}")
