"""Do contributions and words say what decides, and what do they cost? The sample cohort, whose truth is known.

python -m benchmarks.explanations COHORT --run RUN --out FOLDER

RUN is what `medmm train COHORT --out RUN` wrote; asked are its test cases. A label of which only the picture can tell
(pneumothorax) should be owed to the image, one of which only note and record can (pulmonary embolism) to them, and a
case that by the exact posteriors of COHORT/truth neither side decides alone, but both together do, to both. Hiding
the three words that say most should cost a flagged label more than hiding three others. Costs are processor time, in
turns: an answer from files, with the contributions, with all that is shown beside it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rich.progress import track

from benchmarks.accuracy.command import code_of, publish
from benchmarks.accuracy.table import machine, versions
from medmm.case import Case
from medmm.errors import CohortError, DataError
from medmm.explain.contribution import predict
from medmm.explain.explanation import explain, worth_a_look
from medmm.explain.hiding import Questions, pieces
from medmm.explain.words import word_units, words
from medmm.judge.metrics import Estimate, resample_patients, share
from medmm.learn.split import read_split
from medmm.model.batch import Features
from medmm.model.folder import Model
from medmm.read.cohort import CaseRow, read_case, read_cohort
from medmm.result import Prediction
from pipelines.score import memory_of
from pipelines.terminal import console
from sample_data.truth import SIDES

ONLY = {"pneumothorax": ("image",), "pulmonary_embolism": ("note", "record")}
"""Labels that some sides alone can tell of, see sample_data.truth."""
_LIKELY = 0.5
_TOP = 3
_DRAWS = 20
"""Sets of three other words that the three are held against."""
_EXACT = 1e-6


@dataclass(frozen=True, slots=True)
class Share:
    """How often something holds."""

    what: str
    cases: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One test case, answered."""

    row: CaseRow
    case: Case
    features: Features
    said: Prediction


def asked_of(model: Model, folder: Path, run: Path, most: int) -> list[Asked]:
    """The first test cases of the run that can be read."""
    cohort = read_cohort(folder, model.card.cohort)
    part, found = read_split(run / "split.csv"), []
    rows = [row for row in cohort.rows if part.get(row.case_id) == "test"]
    for row in track(rows[:most], "Answering", console=console):
        try:
            case = read_case(cohort, row)
        except DataError:
            continue
        features = model.encode(case, keep_trunks=True)
        found.append(Asked(row, case, features, predict(model, [features])[0]))
    return found


def exact(asked: Sequence[Asked]) -> float:
    """The largest difference between a prediction's log-odds and base plus contributions, over all cases and labels."""
    worst = 0.0
    for one in asked:
        for finding in one.said.findings:
            total = finding.base_log_odds + sum(part.log_odds for part in finding.contributions)
            probability = np.clip(finding.probability, 1e-12, 1 - 1e-12)
            worst = max(worst, abs(total - float(np.log(probability / (1 - probability)))))
            absent = [part.log_odds for part in finding.contributions if part.modality in one.said.absent]
            worst = max([worst, *(abs(value) for value in absent)])
    return worst


def ranked_first(asked: Sequence[Asked], label: str, sides: Sequence[str], seed: int) -> Share:
    """Of cases with all sides that are flagged for a label and have it: how often the right side is owed the most."""
    some = [one for one in asked if not one.said.absent and one.row.targets.get(label) == 1]
    pairs = [(one, finding) for one in some for finding in one.said.flagged if finding.label == label]
    first = [max(finding.contributions, key=lambda part: part.log_odds).modality in sides for _, finding in pairs]
    return _share(f"{label}: owed to {' or '.join(sides)}", first, [one.row.patient_id for one, _ in pairs], seed)


def both_speak(asked: Sequence[Asked], truth: pd.DataFrame, seed: int) -> Share:
    """Of flagged cases with all sides that only both can decide: how often image and the rest are owed something.

    Args:
        asked: answered cases.
        truth: by case id, the exact posterior of each label given the image, note and record, and all.
        seed: of the intervals.
    """
    some = [one for one in asked if not one.said.absent]
    pairs = [(one, f) for one in some for f in one.said.flagged if _needs_both(truth, one.row.case_id, f.label)]
    owed = [{part.modality: part.log_odds for part in finding.contributions} for _, finding in pairs]
    held = [parts["image"] > 0 and parts["note"] + parts["record"] > 0 for parts in owed]
    return _share("what only both can decide: owed to both", held, [one.row.patient_id for one, _ in pairs], seed)


def _needs_both(truth: pd.DataFrame, case_id: str, label: str) -> bool:
    """Whether a label is likely given all, and likely given neither side."""
    image, rest, both = (float(truth[f"{side}_{label}"][case_id]) for side in SIDES)
    return both >= _LIKELY > max(image, rest)


def words_count(model: Model, asked: Sequence[Asked], seed: int) -> Share:
    """Of flagged labels to which words speak: how often hiding the top three costs more than hiding three others."""
    rng = np.random.default_rng(seed)
    held, patients = [], []
    for one in asked:
        if one.case.note is None or not one.said.flagged:
            continue
        units = word_units(one.features, one.case.note.text, 10_000)
        if len(units) < 2 * _TOP:
            continue
        questions = Questions(model, one.features)
        spoken = words(questions, one.case.note.text)
        for finding in one.said.flagged:
            label = model.labels.index(finding.label)
            worth = np.array([word.log_odds for word in spoken[label]])
            top = np.argsort(-worth, kind="stable")[:_TOP]
            if worth[top[0]] <= 0:  # no word speaks for the label
                continue
            others = np.setdiff1d(np.arange(len(units)), top)
            sets = [top, *(rng.choice(others, _TOP, replace=False) for _ in range(_DRAWS))]
            hidden = torch.stack([pieces(one.features, [sum((units[k] for k in chosen), ())])[0] for chosen in sets])
            after = questions.without(note=hidden)[:, label].numpy()
            held.append(bool(after[0] < np.median(after[1:])))
            patients.append(one.row.patient_id)
    return _share("three top words cost more than three others", held, patients, seed)


def _share(what: str, held: Sequence[bool], patients: Sequence[str], seed: int) -> Share:
    hit = np.array(held, dtype=bool)
    found: Estimate = share(hit, np.ones(len(hit), dtype=bool), resample_patients(patients, 1000, seed))
    return Share(what, len(hit), found.value, found.low, found.high)


def costs(model: Model, folder: Path, run: Path, rows: Sequence[CaseRow], repeats: int) -> dict[str, float]:
    """Milliseconds of processor time a case, the median over turns of the mean over cases; on one thread."""
    cohort, memory = read_cohort(folder, model.card.cohort), memory_of(run)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def plain(row: CaseRow) -> None:
        model.log_odds([model.encode(read_case(cohort, row))])

    def contributions(row: CaseRow) -> None:
        predict(model, [model.encode(read_case(cohort, row))])

    def everything(row: CaseRow) -> None:
        case = read_case(cohort, row)
        features = model.encode(case, keep_trunks=True)
        (said,) = predict(model, [features])
        explain(model, features, case.note.text if case.note else "", worth_a_look(said))
        if memory is not None:
            memory.nearest(model, features, case.patient_id)

    ways: dict[str, Callable[[CaseRow], None]] = {
        "answer": plain,
        "answer and contributions": contributions,
        "answer and all beside it": everything,
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in track(range(repeats), "Timing", console=console):
        for name, way in ways.items():
            start = time.process_time()
            for row in rows:
                way(row)
            spent[name].append(1000 * (time.process_time() - start) / len(rows))
    torch.set_num_threads(threads)
    return {name: float(np.median(times)) for name, times in spent.items()}


def main(arguments: list[str] | None = None) -> int:
    """Print the tables and write explanations.md and explanations.json; 1 if a bar of the docstring is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explanations", description=__doc__)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--most", type=int, default=500, help="test cases")
    parser.add_argument("--timed", type=int, default=20, help="of these, those that are timed")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    return code_of(_run, parser.parse_args(arguments))


def _run(asked: argparse.Namespace) -> int:
    model = Model.load(asked.run / "model")
    cases = asked_of(model, asked.cohort, asked.run, asked.most)
    if not cases:
        raise CohortError("no test case of the run can be read", "Give the cohort that the run was trained on")
    worst = exact(cases)
    shares = [ranked_first(cases, label, sides, asked.seed) for label, sides in ONLY.items() if label in model.labels]
    truth = pd.read_csv(asked.cohort / "truth" / "cases.csv", index_col="case_id")
    shares += [both_speak(cases, truth, asked.seed), words_count(model, cases, asked.seed)]
    whole = [one.row for one in cases if not one.said.absent][: asked.timed]
    spent = costs(model, asked.cohort, asked.run, whole, asked.repeats)
    about = (
        f"{len(cases)} test cases; {len(whole)} of them with all sides timed in {asked.repeats} turns. "
        f"Seed {asked.seed}. {date.today().isoformat()}, {machine()}; "
        + ", ".join(f"{name} {number}" for name, number in versions().items())
    )
    rows = ["| what | cases | share |", "|---|---|---|"]
    rows += [f"| {one.what} | {one.cases} | {one.value:.3f} ({one.low:.3f} to {one.high:.3f}) |" for one in shares]
    first = spent["answer"]
    times = ["| what | ms a case | of an answer |", "|---|---|---|"]
    times += [f"| {name} | {value:.0f} | {value / first:.2f} |" for name, value in spent.items()]
    summed = f"Base and contributions sum to the log-odds to {worst:.1e} at worst; an absent side has exactly 0."
    text = "\n".join([*rows, "", summed, "", *times, "", about, ""])
    publish(
        asked.out,
        "explanations",
        text,
        {"about": about, "worst": worst, "shares": [asdict(one) for one in shares], "ms": spent},
    )
    return int(worst > _EXACT)


if __name__ == "__main__":
    raise SystemExit(main())
