"""Writes the whole cohort: films, notes, records, answers, and the truth beside them.

Everything that chance decides is drawn from the seed and the position of the case, so the number of workers does not
matter and the same arguments give the same bytes.
"""

import csv
import io
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from medmm.errors import CohortError
from sample_data import notes, record, truth
from sample_data.anatomy import draw_build
from sample_data.dicom import TRANSFER_SYNTAXES, Identity, write_film
from sample_data.film import Film, make_film
from sample_data.findings import FINDINGS
from sample_data.lateral import make_lateral

VERSION = 3
"""Raised whenever the same arguments would give other bytes."""
STAMP = "stamp.json"
"""What is being written, and whether it is complete."""
TWICE = 0.10
"""Share of the patients with a second study."""
BEDSIDE = 0.15
"""Share of the frontal films taken AP."""
LATERALS = 0.18
"""Share of the studies with a lateral film as well."""
INVERTED = 0.25
"""Share of the films stored as MONOCHROME1."""


@dataclass(frozen=True, slots=True, eq=False)
class Planned:
    """One case before anything is written: plain values, so that it can cross to another process."""

    case_id: str
    seed: tuple[int, ...]
    """Seed of everything about this case that is not in here."""
    body_seed: tuple[int, ...]
    """Seed of the patient's build, the same in all of the patient's studies."""
    identity: Identity
    findings: tuple[str, ...]
    lateral: bool
    order: int
    """Number of the case; decides the transfer syntax."""


@dataclass(frozen=True, slots=True, eq=False)
class Patients:
    """Who the cases belong to."""

    patient: np.ndarray
    """(cases,) number of the patient, from 1."""
    study: np.ndarray
    """(cases,) 1 or 2."""
    female: np.ndarray
    """(cases,) bool."""
    age: np.ndarray
    """(cases,) years at the study."""
    date: tuple[str, ...]
    """(cases,) YYYYMMDD."""


def write_cohort(
    folder: Path,
    patients: int,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a cohort, or return at once if the same one is there already.

    Args:
        folder: made if it is not there; otherwise empty, or a sample cohort, which is then written anew.
        patients: how many; about one in ten has two cases.
        seed: the same seed gives the same bytes.
        workers: processes; None for one a core. One works in this process.
        progress: called with the number of cases written and of all cases.

    Raises:
        CohortError: if the folder holds something that is not a sample cohort.
    """
    folder, stamp = Path(folder), _stamp(patients, seed)
    if _read_stamp(folder) == stamp | {"complete": True}:
        return
    _clear(folder)
    _write_json(folder / STAMP, stamp | {"complete": False})
    people, draw = plan(patients, seed)
    jobs = _jobs(people, draw, seed)
    _write_studies(folder, jobs, os.cpu_count() or 1 if workers is None else workers, progress)
    _write_tables(folder, people, draw, seed)
    _write_json(folder / "truth" / "ceilings.json", truth.ceilings())
    (folder / "cohort.toml").write_text(_toml(), encoding="utf-8")
    (folder / "README.md").write_text(_README, encoding="utf-8")
    _write_json(folder / STAMP, stamp | {"complete": True})


def plan(patients: int, seed: int) -> tuple[Patients, truth.Draw]:
    """Draw who there is and what is true of each case; first studies first, then second ones, then sorted."""
    rng = np.random.default_rng([seed, 1])
    again = np.flatnonzero(rng.random(patients) < TWICE)
    first = truth.draw_cases(rng, patients)
    earlier = np.concatenate([first.findings, first.histories], axis=1)[again]
    second = truth.draw_cases(rng, len(again), earlier)
    number = np.concatenate([np.arange(patients), again])
    order = np.argsort(number, kind="stable")
    parts = (np.concatenate([getattr(first, name), getattr(second, name)])[order] for name in truth.Draw.__slots__)
    female = rng.random(patients) < 0.5
    age = np.clip(np.rint(rng.normal(58, 17, patients)), *record.AGES)
    day = rng.integers(0, 1400, patients)
    later = np.where(np.arange(len(number)) < patients, 0, rng.integers(60, 400, len(number)))
    days = (day[number] + later)[order]
    dates = tuple((date(2018, 1, 1) + timedelta(days=int(n))).strftime("%Y%m%d") for n in days)
    study = np.where(np.arange(len(number)) < patients, 1, 2)[order]
    years = np.minimum(age[number] + (later > 330), record.AGES[1])[order]
    return Patients(number[order] + 1, study, female[number][order], years, dates), truth.Draw(*parts)


def _jobs(people: Patients, draw: truth.Draw, seed: int) -> list[Planned]:
    """The films to be made: one job for each case with an image."""
    lateral = np.random.default_rng([seed, 3]).random(len(people.patient)) < LATERALS
    jobs = []
    for k in np.flatnonzero(draw.present[:, 0]).tolist():
        number = int(people.patient[k])
        identity = Identity(
            key=f"seed {seed}",
            patient_id=patient_id(number),
            patient_name=f"SAMPLE^{number:05d}",
            sex="F" if people.female[k] else "M",
            age=int(people.age[k]),
            study=int(people.study[k]),
            date=people.date[k],
        )
        planted = tuple(name for name, there in zip(FINDINGS, draw.findings[k], strict=True) if there)
        case_seed, body_seed = (seed, 4, number, identity.study), (seed, 5, number)
        jobs.append(Planned(case_id(people, k), case_seed, body_seed, identity, planted, bool(lateral[k]), int(k)))
    return jobs


def patient_id(number: int) -> str:
    """Patient ID of a patient, in the table and in the files."""
    return f"SAMPLE-{number:05d}"


def case_id(people: Patients, k: int) -> str:
    """Case id of case `k`: the patient's number and the study's letter."""
    return f"case-{int(people.patient[k]):05d}{'ab'[int(people.study[k]) - 1]}"


def _write_studies(
    folder: Path, jobs: Sequence[Planned], workers: int, progress: Callable[[int, int], None] | None
) -> None:
    """Make and write every film, in other processes if there is more than one worker."""
    (folder / "truth" / "masks").mkdir(parents=True)
    (folder / "studies").mkdir()
    done = 0
    for count in _written(folder, jobs, workers):
        done += count
        if progress is not None:
            progress(done, len(jobs))


def _written(folder: Path, jobs: Sequence[Planned], workers: int) -> Iterable[int]:
    """Number of cases written, batch by batch."""
    batches = [jobs[start : start + 8] for start in range(0, len(jobs), 8)]
    if workers <= 1 or len(batches) <= 1:
        yield from (write_cases(folder, batch) for batch in batches)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(batches)), mp_context=context) as pool:
        for finished in as_completed([pool.submit(write_cases, folder, batch) for batch in batches]):
            yield finished.result()


def write_cases(folder: Path, jobs: Sequence[Planned]) -> int:
    """Make and write the films and masks of some cases; returns how many cases."""
    for job in jobs:
        write_case(folder, job)
    return len(jobs)


def write_case(folder: Path, job: Planned) -> None:
    """Make and write the films and the masks of one case."""
    rng = np.random.default_rng(job.seed)
    body = np.random.default_rng(job.body_seed)
    build = draw_build(body, female=job.identity.sex == "F")
    view = "AP" if rng.random() < BEDSIDE else "PA"
    films = [make_film(rng, job.findings, build=build, view=view)]
    if job.lateral:
        films.append(make_lateral(rng, job.findings, build, films[0].heart_ratio))
    study = folder / "studies" / job.case_id
    study.mkdir()
    for number, film in enumerate(films, start=1):
        syntax = TRANSFER_SYNTAXES[(job.order + number - 1) % len(TRANSFER_SYNTAXES)]
        inverted = bool(rng.random() < INVERTED)
        _write_one(study / f"{film.view.lower()}.dcm", film, job.identity, number, inverted, syntax)
    _write_masks(folder / "truth" / "masks" / f"{job.case_id}.npz", films[0])


def _write_one(path: Path, film: Film, identity: Identity, number: int, inverted: bool, syntax: str) -> None:
    """Write film `number` of a study."""
    values = {name: getattr(identity, name) for name in Identity.__slots__}
    whose = Identity(**(values | {"number": number}))
    write_film(path, film, monochrome1=inverted, transfer_syntax=syntax, identity=whose)


def _write_masks(path: Path, film: Film) -> None:
    """Write the masks as numpy writes them; zip entries of numpy carry a fixed date, so the bytes repeat."""
    buffer = io.BytesIO()
    masks: dict[str, Any] = {name: film.masks[name] for name in FINDINGS if name in film.masks}
    np.savez_compressed(buffer, **masks)
    path.write_bytes(buffer.getvalue())


def _write_tables(folder: Path, people: Patients, draw: truth.Draw, seed: int) -> None:
    """Write cases.csv and truth/cases.csv."""
    rng = np.random.default_rng([seed, 6])
    gap = rng.random((len(people.patient), 2)) < record.VALUE_GAP
    stated = rng.random(draw.labels.shape) >= truth.NOT_STATED
    chance = truth.posteriors(draw)
    cases, truths = [], []
    for k in range(len(people.patient)):
        name = case_id(people, k)
        image, note, values = draw.present[k]
        text = ""
        if note:
            writer = np.random.default_rng((seed, 7, k))
            text = notes.write_note(writer, draw.statements[k], int(people.age[k]), bool(people.female[k]))
        age = "" if gap[k, 0] else str(int(people.age[k]))
        sex = "" if gap[k, 1] else "FM"[not people.female[k]]
        taken = [age, sex, *("" if np.isnan(value) else f"{value:g}" for value in draw.values[k])]
        answers = [str(int(yes)) if known else "" for yes, known in zip(draw.labels[k], stated[k], strict=True)]
        study = f"studies/{name}" if image else ""
        row = [name, patient_id(int(people.patient[k])), study, text]
        cases.append([*row, *(taken if values else [""] * len(taken)), *answers])
        flags = [int(yes) for yes in (*draw.findings[k], *draw.histories[k], *draw.labels[k])]
        truths.append([name, *flags, *(f"{chance[side][k, j]:.6f}" for side in truth.SIDES for j in range(5))])
    _write_csv(folder / "cases.csv", _columns(), cases)
    _write_csv(folder / "truth" / "cases.csv", _truth_columns(), truths)


def _columns() -> list[str]:
    """Columns of cases.csv."""
    return ["case_id", "patient_id", "study", "note", *record.COLUMNS, *truth.LABELS]


def _truth_columns() -> list[str]:
    """Columns of truth/cases.csv: what was drawn, and what a perfect reader of each side would say."""
    drawn = [f"finding_{name}" for name in FINDINGS] + [f"history_{name}" for name in record.HISTORIES]
    drawn += [f"label_{name}" for name in truth.LABELS]
    return ["case_id", *drawn, *(f"{side}_{label}" for side in truth.SIDES for label in truth.LABELS)]


def _write_csv(path: Path, columns: list[str], rows: list[list[str]] | list[list[object]]) -> None:
    """Write a table: UTF-8, comma, one line feed a row."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def holds_another(folder: Path, patients: int, seed: int) -> bool:
    """Whether a sample cohort lies there that `write_cohort` would make another one of."""
    there = _read_stamp(folder)
    return isinstance(there, dict) and there | {"complete": True} != _stamp(patients, seed) | {"complete": True}


def _stamp(patients: int, seed: int) -> dict[str, object]:
    return {"made_by": "medmm sample_data", "version": VERSION, "patients": patients, "seed": seed}


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _read_stamp(folder: Path) -> object:
    """What the stamp says; None where there is none to read."""
    try:
        return json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _clear(folder: Path) -> None:
    """Make the folder, or remove an earlier sample cohort from it; what is not ours stays."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = _read_stamp(folder)
    ours = isinstance(stamp, dict) and stamp.get("made_by") == "medmm sample_data"
    if not ours and any(folder.iterdir()):
        raise CohortError(f"{folder} is not empty and holds no sample cohort", "Name an empty folder")
    for name in ("studies", "truth"):
        shutil.rmtree(folder / name, ignore_errors=True)


def _toml() -> str:
    """cohort.toml: what the columns of cases.csv are."""
    lines = ["# What the columns of cases.csv are.", "", "[labels]"]
    lines += ["columns = [" + ", ".join(f'"{label}"' for label in truth.LABELS) + "]", ""]
    lines += ["[record.age]", 'unit = "a"', f"low = {record.AGES[0]:g}", f"high = {record.AGES[1]:g}", ""]
    lines += ["[record.sex]", 'categories = ["F", "M"]', ""]
    for measure in record.MEASURES:
        bounds = [f"low = {measure.low:g}", f"high = {measure.high:g}"]
        bounds += [f"usual = [{measure.reference[0]:g}, {measure.reference[1]:g}]"]
        lines += [f"[record.{measure.name}]", f'unit = "{measure.unit}"', *bounds, ""]
    return "\n".join(lines)


_README = """# Sample cohort

Every film, note, value and answer in this folder was made by code. Nobody pictured or described here exists, and
nothing here has any clinical validity. Licence: Apache-2.0.

- `cases.csv`, `cohort.toml`: the cohort, as `medmm check` and `medmm train` read it. Empty cells are not stated.
- `studies/`: one folder a case, DICOM in six lossless transfer syntaxes.
- `truth/cases.csv`: what was planted in each case, the whole answers, and for each label the exact probability given
  the film (`image_`), the note and the record (`note_record_`) and everything (`all_`) that the case really has.
- `truth/masks/`: where the findings are, as booleans on the grid of the frontal film.
- `truth/ceilings.json`: the AUROC that no model can beat on such cases, except by luck.
"""
