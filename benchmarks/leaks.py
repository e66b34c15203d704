"""Does the leak audit find what is there and what is planted, and is it quiet otherwise? Two real cohorts.

python -m benchmarks.leaks COHORTS --seed 0        # a folder with skin/ and chest/
"""

from __future__ import annotations

import argparse
import csv
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import PIL.Image
from rich.table import Table

from medmm.config import CohortConfig, LabelColumns
from medmm.errors import DataError
from medmm.judge.leak.audit import Audit, audit
from medmm.read.cohort import Cohort, read_case, read_cohort
from medmm.read.survey import Surveyed, survey
from pipelines.terminal import console

_CLASSES = ("ACK", "BCC", "MEL", "NEV", "SCC", "SEK")
_HIDDEN = ("label", "label_name", "malignant", "finding", "licence", "source")
"""Columns that nobody would give to a model; all others are inputs here."""
_PLANTED = 12
"""Copies of each kind."""


@dataclass(frozen=True, slots=True)
class _Real:
    folder: str
    labels: LabelColumns
    planted: str = ""
    """The label that gets a word."""


_REAL = {
    "skin, malignant": _Real("skin", LabelColumns(columns=("malignant",)), "malignant"),
    "skin, six classes": _Real("skin", LabelColumns(class_column="label", classes=_CLASSES)),
    "chest, four labels": _Real("chest", LabelColumns(columns=("survived", "intubated", "icu", "oxygen")), "icu"),
}

_Picture = PIL.Image.Image
_COPIES: Mapping[str, Callable[[_Picture], _Picture]] = {
    "stored as PNG": lambda shown: shown,
    "JPEG, quality 40": lambda shown: shown,
    "one grey level up or down": lambda shown: _one_level(shown),
    "half the size": lambda shown: shown.resize((shown.width // 2, shown.height // 2)),
    "stretched by 5 %": lambda shown: shown.resize((shown.width, round(shown.height * 1.05))),
    "brighter by a fifth": lambda shown: shown.point(lambda level: min(255, round(1.2 * level))),
    "cropped by 2 %": lambda shown: _cropped(shown, 0.02),
    "cropped by 5 %": lambda shown: _cropped(shown, 0.05),
    "cropped by 10 %": lambda shown: _cropped(shown, 0.10),
}


def main() -> int:
    """Print the tables; 1 if `sex` is not found, or an honest column is called a leak."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.leaks", description=__doc__)
    parser.add_argument("cohorts", type=Path, help="a folder with skin/ and chest/")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    machine = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    console.print(f"{date.today()}, {machine}, seed {arguments.seed}; AUROC of held-out patients, 95 % interval")
    quiet = True
    for name, real in _REAL.items():
        _, cases = _survey(arguments.cohorts / real.folder, real.labels)
        quiet &= _show(name, cases, real.labels.names, arguments.seed)
    sex = _record_with_a_leak(arguments.cohorts / "skin", arguments.seed)
    for name in ("skin, malignant", "chest, four labels"):
        _plant(arguments.cohorts, _REAL[name], arguments.seed)
    return 0 if quiet and sex else 1


def _survey(folder: Path, labels: LabelColumns | None) -> tuple[Cohort, list[Surveyed]]:
    """Read a cohort as `medmm check` does; every column but labels is among the cells."""
    cohort = read_cohort(folder, CohortConfig(labels=labels))
    return cohort, [answer for _, answer in survey(cohort) if not isinstance(answer, DataError)]


def _inputs(cases: Sequence[Surveyed]) -> list[str]:
    return [name for name in cases[0].cells if name not in _HIDDEN]


def _show(title: str, cases: Sequence[Surveyed], labels: Sequence[str], seed: int) -> bool:
    """Print what an audit says of a cohort as it is; False if it calls an input column a leak."""
    start = time.perf_counter()
    result = audit(cases, _inputs(cases), labels, seed=seed)
    console.print(f"\n{title}: {len(cases):,} cases, {time.perf_counter() - start:.1f} s")
    _print(result)
    return not any(one.verdict == "leak" and one.kind in ("missing", "value") for one in result.shortcuts)


def _print(result: Audit) -> None:
    table = Table("verdict", "kind", "what")
    for pair in result.duplicates:
        table.add_row(pair.verdict, pair.kind, pair.sentence)
    for one in result.shortcuts:
        if one.verdict != "quiet":
            table.add_row(one.verdict, one.kind, one.sentence)
    quiet = [one for one in result.shortcuts if one.verdict == "quiet"]
    for one in sorted(quiet, key=lambda one: -np.nan_to_num(one.low))[:5]:
        table.add_row("quiet", one.kind, one.sentence)
    console.print(table)
    console.print(f"{len(quiet)} of {len(result.shortcuts)} shortcuts quiet; not tested: {len(result.not_tested)}")


def _record_with_a_leak(folder: Path, seed: int) -> bool:
    """Audit the record in which `sex` is empty for a reason; True if that, and no other column, is a leak."""
    with (folder / "record_with_a_leak.csv").open(encoding="utf-8", newline="") as file:
        rows = {row.pop("case_id"): row for row in csv.DictReader(file)}
    labels = LabelColumns(columns=("malignant",))
    _, cases = _survey(folder, labels)
    hidden = ("patient_id", "malignant")
    cases = [
        replace(case, cells={name: cell for name, cell in rows[case.case_id].items() if name not in hidden})
        for case in cases
    ]
    result = audit(cases, _inputs(cases), labels.names, seed=seed)
    console.print("\nskin/record_with_a_leak.csv")
    _print(result)
    return {one.suspect for one in result.shortcuts if one.verdict == "leak"} == {"sex"}


def _plant(cohorts: Path, real: _Real, seed: int) -> None:
    """Give copies of pictures and notes to patients who never were, and a word to those with a label."""
    cohort, cases = _survey(cohorts / real.folder, real.labels)
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as made:
        origin = _write_copies(cohort, Path(made), rng)
        _, copies = _survey(Path(made), None)
    result = audit(
        [*cases, *(replace(copy, targets=dict.fromkeys(real.labels.names, np.nan)) for copy in copies)], [], ()
    )
    found = {(pair.first, pair.second) for pair in result.duplicates}
    table = Table(title=f"{real.folder}: copies of pictures in other patients", title_justify="left")
    table.add_column("copy")
    table.add_column("found", justify="right")
    for kind in _COPIES:
        pairs = [(case, copy) for copy, case in origin.items() if copy.startswith(kind)]
        table.add_row(kind, f"{sum(pair in found for pair in pairs)} of {len(pairs)}")
    console.print(table)
    owner = {case.case_id: case.patient_id for case in cases}
    owner |= {copy: owner[case] for copy, case in origin.items()}
    wrong = sum(owner[pair.first] != owner[pair.second] for pair in result.duplicates)
    console.print(f"{real.folder}: pairs of different patients that were not planted: {wrong}")
    _plant_notes(real, cases, rng, seed)


def _write_copies(cohort: Cohort, folder: Path, rng: np.random.Generator) -> dict[str, str]:
    """Write a cohort of copies, each of another case; return copy -> original."""
    rows = [row for row in cohort.rows if row.study is not None]
    chosen = iter(rng.permutation(len(rows)))
    origin: dict[str, str] = {}
    for kind, change in _COPIES.items():
        for number in range(_PLANTED):
            row = rows[next(chosen)]
            study = read_case(cohort, row).study
            if study is None or not study.images:
                continue
            copy = f"{kind} {number}"
            origin[copy] = row.case_id
            (folder / copy).mkdir()
            shown = change(PIL.Image.fromarray(np.rint(255 * study.images[0].pixels).astype(np.uint8)))
            shown.save(folder / copy / ("1.jpg" if kind.startswith("JPEG") else "1.png"), quality=40)
    with (folder / "cases.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("case_id", "patient_id", "study"))
        writer.writerows((copy, copy, copy) for copy in origin)
    return origin


def _plant_notes(real: _Real, cases: Sequence[Surveyed], rng: np.random.Generator, seed: int) -> None:
    """Copy notes to other patients; add a sentence to the notes of those with a label, half of them."""
    label = real.planted
    noted = [place for place, case in enumerate(cases) if case.note]
    changed = list(cases)
    for first, second in _others(cases, rng.permutation(noted).tolist()):
        changed[second] = replace(cases[second], note=cases[first].note)
    before = {(pair.first, pair.second) for pair in audit(cases, [], ()).duplicates if pair.kind == "note"}
    copied = [pair for pair in audit(changed, [], ()).duplicates if pair.kind == "note"]
    new = sum((pair.first, pair.second) not in before for pair in copied)
    told = [
        replace(case, note=f"{case.note} Referred for resection.")
        if case.targets[label] == 1 and rng.random() < 0.5
        else case
        for case in cases
    ]
    words = [one for one in audit(told, [], (label,), seed=seed).shortcuts if one.kind == "word"]
    console.print(f"{real.folder}: same note of two patients: {len(before)} found before, {new} of {_PLANTED} planted")
    for one in words:
        console.print(f"{real.folder}: {one.verdict}: {one.sentence}")


def _others(cases: Sequence[Surveyed], order: Sequence[int]) -> Iterator[tuple[int, int]]:
    """So many pairs of cases of different patients, no case twice."""
    free, planted = list(order), 0
    while planted < _PLANTED and len(free) > 1:
        first = free.pop()
        other = next((place for place in free if cases[place].patient_id != cases[first].patient_id), None)
        if other is None:
            return
        free.remove(other)
        planted += 1
        yield first, other


def _one_level(shown: _Picture) -> _Picture:
    pixels = np.asarray(shown).astype(int)
    moved = pixels + np.random.default_rng(0).integers(-1, 2, pixels.shape)
    return PIL.Image.fromarray(np.clip(moved, 0, 255).astype(np.uint8))


def _cropped(shown: _Picture, share: float) -> _Picture:
    """Take half of the share off each side."""
    x, y = round(shown.width * share / 2), round(shown.height * share / 2)
    return shown.crop((x, y, shown.width - x, shown.height - y))


if __name__ == "__main__":
    raise SystemExit(main())
