"""A cohort or a bare folder of studies to one without identities, case by case, each in place only once verified."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import tomlkit

from medmm.config import CohortConfig, NumberColumn
from medmm.errors import CohortError, ConfigError, DataError
from medmm.files import write_whole
from medmm.privacy.case import (
    COUNTS,
    PRIOR,
    STUDY,
    Dates,
    Job,
    Treated,
    digest_of,
    discard,
    names_in,
    names_of,
    treat_case,
)
from medmm.privacy.header import METHOD
from medmm.privacy.key import Key, open_key, write_private
from medmm.privacy.note import identifying_words, names_someone
from medmm.privacy.pixels import BurnedIn
from medmm.privacy.table import clean_config, clean_row, columns_of, said_in, words_in_paths
from medmm.privacy.verify import verify_case
from medmm.read.chart.record import read_values
from medmm.read.chart.times import read_time
from medmm.read.cohort import CaseRow, Cohort, read_cohort
from medmm.read.pool import in_children
from medmm.read.sources.folder import read_folder

UNVERIFIED = "unverified"
"""Folder beside the key where files are until they are verified."""
REPORT = "deidentification"
"""Name of the report, .csv and .json."""
TIMEOUT_S = 3600.0
"""Seconds for one case: a volume of 1,000 slices, each searched for text, takes some minutes."""
_FOLDER = re.compile(r"C[0-9A-F]{16}(-prior)?|\.pending-.*")
"""Names of folders that this module makes."""


@dataclass(frozen=True, slots=True)
class Deidentified:
    """What came of a cohort; nothing in it identifies a patient."""

    done: int
    """Cases in the output, those of an earlier run among them."""
    known: int
    """Of these, cases of an earlier run in which nothing has changed."""
    refused: tuple[DataError, ...]
    """Cases that are not in the output, by pseudonym."""
    remarks: tuple[str, ...]
    private: Path = field(repr=False)
    """Folder beside the key with what links the output to the patients."""


def deidentify(
    source: Path,
    out: Path,
    key: Path,
    dates: Dates = "shift",
    burned_in: BurnedIn = "mask",
    progress: Callable[[int, int], object] = lambda done, total: None,
    workers: int | None = None,
) -> Deidentified:
    """Write a cohort, or a bare folder or archive of studies, without identities.

    A rerun does only what is left. Cases that are no more in `source` leave the output.

    Args:
        source: with cases.csv, or a bare folder of studies.
        out: new, or of an earlier run with the same key.
        key: made if it is not there; beside it comes the folder `<key>.<out>` with map.csv and notes.csv.
        dates: move by the patient's own number of days, or remove.
        burned_in: mask text in pixels, or refuse the case.
        progress: called with how many cases are done, and how many there are.
        workers: child processes; one a core if None.

    Raises:
        ConfigError: if a path lies where it must not, or the key is not that of the earlier run.
        CohortError, ConfigError: as read_cohort and read_folder.
    """
    key = key.resolve()
    _check_places(source, out, key)
    cohort = _read(source, workers)
    secret = open_key(key)
    private = key.with_name(f"{key.name}.{out.resolve().name}")
    _claim(private, out)
    _begin(out, secret)
    plan = _plan(cohort, out, secret, private, dates, burned_in, workers)
    config, everyone = clean_config(cohort.config, plan.rows.values(), dates), names_in(plan.everyone)
    _refuse_names("cohort.toml", [_toml(config), *columns_of(config)] if plan.table else [], everyone)
    remarks = tuple(_remarks(cohort, dates))
    treated: list[Treated] = []
    refused = list(plan.refused)
    total = len(plan.jobs) + len(refused)
    with _unverified(private), closing(_answers(plan.jobs, workers)) as answers:
        for job, answer in zip(plan.jobs, answers, strict=True):
            if isinstance(answer, DataError):
                _forget(job)
                refused.append(answer)
            else:
                _put_in_place(job, answer)
                treated.append(answer)
            progress(len(treated) + len(refused), total)
    report = _report(treated, refused)
    _refuse_names("the report", [*remarks, *(str(cell) for row in report[1:] for cell in row)], everyone, sentence=True)
    if plan.table:
        table = _table(cohort, config, plan, treated)
        numbers = {name for name, column in config.record.items() if isinstance(column, NumberColumn)}
        cells = [cell for row in table for name, cell in row.items() if name not in numbers]
        _refuse_names("cases.csv", cells, everyone)
        names = columns_of(config)
        _write_csv(out / "cases.csv", [names, *([row.get(name, "") for name in names] for row in table)])
        write_whole(out / "cohort.toml", lambda path: path.write_text(_toml(config), encoding="utf-8"))
    _sweep(out, plan, treated)
    _write_private(private, plan, treated)
    _write_report(out, secret, treated, report, remarks)
    known = sum(one.from_earlier_run for one in treated)
    return Deidentified(len(treated), known, tuple(refused), remarks, private)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be done."""

    jobs: tuple[Job, ...]
    rows: dict[str, CaseRow] = field(repr=False)
    """Pseudonym of a case -> its row."""
    refused: tuple[DataError, ...]
    """Cases whose row cannot be used."""
    everyone: Path = field(repr=False)
    """JSON file with the names and ids of all patients, folded."""
    table: bool
    """Whether the source has a table; else it is a bare folder."""


def _check_places(source: Path, out: Path, key: Path) -> None:
    """Refuse places where an identity would go into the output, or the output into its source."""
    inside, places = out.resolve(), source.resolve()
    if inside == places or inside.is_relative_to(places) or places.is_relative_to(inside):
        raise ConfigError("the output lies in its source, or the source in its output", "Give another folder")
    for place, name in ((inside, "output"), (places, "source")):
        if key.is_relative_to(place):
            raise ConfigError(f"the key lies in the {name}", "Keep it apart: with it, names can be linked again")


def _read(source: Path, workers: int | None) -> Cohort:
    """Read a cohort or a bare folder; no message names a case, whose id may be a name.

    Raises:
        ConfigError: if cohort.toml is missing: a guess may take free text for an answer.
        ConfigError, CohortError: as read_cohort and read_folder.
    """
    table = (source / "cases.csv").is_file()
    if table and not (source / "cohort.toml").is_file():
        remedy = "Run medmm check, correct the first cohort.toml that it writes, and put it beside cases.csv"
        raise ConfigError("a cohort is not de-identified by guessing what its columns are", remedy)
    try:
        return read_cohort(source) if table else read_folder(source, workers=workers)
    except CohortError as thrown:
        names_case = re.search(r"\bcase\s", thrown.problem) is not None
        problem = "a row of cases.csv cannot be used" if names_case else thrown.problem
        remedy = thrown.remedy.partition("Columns there")[0] or "Correct cohort.toml"
    raise CohortError(problem, f"{remedy} (medmm check says more)" if names_case else remedy)


def _claim(private: Path, out: Path) -> None:
    """Keep one private folder for one output: two of the same name would overwrite each other's map."""
    place, said = str(out.resolve()), private / "output.txt"
    if said.is_file() and said.read_text(encoding="utf-8", errors="surrogateescape") != place:
        problem = "the folder beside the key belongs to another output of the same name"
        raise ConfigError(problem, "Name the output otherwise, or move that folder away if the other is gone")
    write_private(said, place)


@contextmanager
def _unverified(private: Path) -> Iterator[None]:
    """A folder that only its owner can open; what is in it before or afterwards was never verified, and goes."""
    place = private / UNVERIFIED
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700)
    try:
        yield
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _begin(out: Path, key: Key) -> None:
    """Check that the output is new or of an earlier run with the same key; mark it as begun."""
    report = out / f"{REPORT}.json"
    if report.is_file():
        try:
            fingerprint = json.loads(report.read_text(encoding="utf-8"))["key"]
        except (ValueError, KeyError, TypeError):
            fingerprint = ""
        if fingerprint != key.fingerprint:
            raise ConfigError("the output is of another key", "Give the key of the earlier run, or another folder")
    elif out.is_dir() and any(out.iterdir()):
        raise ConfigError("the output folder holds something else", "Give a folder that is empty or not there yet")
    state = {"key": key.fingerprint, "state": "unfinished: run the same command again"}
    write_whole(report, lambda path: path.write_text(json.dumps(state), encoding="utf-8"))


def _plan(
    cohort: Cohort, out: Path, key: Key, private: Path, dates: Dates, burned_in: BurnedIn, workers: int | None
) -> _Plan:
    """Say for every case who it is from here on and where it goes; collect the names of all patients."""
    rows = {key.pseudonym("case", row.case_id): row for row in cohort.rows}
    sources = [(case, (source,)) for case, row in rows.items() for source in (row.study, row.prior) if source]
    ids: dict[str, str] = {}
    everyone = set(identifying_words([row.patient_id for row in cohort.rows]))
    for case, answer in in_children(names_of, sources, workers):
        if not isinstance(answer, DataError):
            ids.setdefault(case, answer[0])
            everyone |= answer[1]
    words = private / "everyone.json"
    write_private(words, json.dumps(sorted(everyone)))
    table = any(row.patient_id for row in cohort.rows)
    jobs, refused = [], []
    words_of = words_in_paths(cohort)
    for case, row in rows.items():
        try:
            read_values(case, row.cells, cohort.config.record, None, cohort.config.zone)
        except DataError as problem:
            refused.append(problem)
            continue
        folder = out / "studies" / case if table else out / case
        names, values = said_in(row.other)
        jobs.append(
            Job(
                case=case,
                case_id=row.case_id,
                patient_id=row.patient_id or ids.get(case) or row.case_id,
                sources={side: source for side, source in ((STUDY, row.study), (PRIOR, row.prior)) if source},
                folders={STUDY: folder, PRIOR: folder.with_name(f"{case}-prior")},
                note=row.note_file or row.note,
                note_in_folder=not table,
                names=tuple(sorted(names | words_of[row.case_id])),
                values=tuple(sorted(values)),
                key=key,
                dates=dates,
                burned_in=burned_in,
                everyone=words,
                known=private / "cases" / f"{case}.json",
                unverified=private / UNVERIFIED,
            )
        )
    return _Plan(tuple(jobs), rows, tuple(refused), words, table)


def _answers(jobs: Sequence[Job], workers: int | None) -> Generator[Treated | DataError, None, None]:
    """Treat every case in one child and verify it in another, in the order of `jobs`."""
    treating = ((job.case, (job,)) for job in jobs)
    answers = in_children(treat_case, treating, workers, timeout_s=TIMEOUT_S)
    verifying = ((job.case, (job, answer)) for job, (_, answer) in zip(jobs, answers, strict=True))
    for _, answer in in_children(_verified, verifying, workers, timeout_s=TIMEOUT_S):
        yield answer


def _verified(job: Job, answer: Treated | DataError) -> Treated:
    """Runs in the child: read again what was written, and search it."""
    if isinstance(answer, DataError):
        raise answer
    if answer.from_earlier_run:
        return answer
    folders = {side: job.pending(side) for side in job.sources}
    verify_case(job.case, folders.values(), answer.note, answer.named, answer.hidden)
    files = {side: digest_of(folder) for side, folder in folders.items()}
    return replace(answer, files=files, named=frozenset(), hidden=frozenset())


def _put_in_place(job: Job, treated: Treated) -> None:
    """Move what was verified to where it belongs, and keep what was done."""
    if treated.from_earlier_run:
        return
    for side in job.sources:
        shutil.rmtree(job.folders[side], ignore_errors=True)
        job.folders[side].parent.mkdir(parents=True, exist_ok=True)
        shutil.move(job.pending(side), job.folders[side])  # a copy, where the key lies on another file system
    write_private(job.known, treated.to_json())


def _forget(job: Job) -> None:
    """Delete all that there is of a case that was refused."""
    discard(job)
    job.known.unlink(missing_ok=True)
    for folder in job.folders.values():
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(out: Path, plan: _Plan, treated: Sequence[Treated]) -> None:
    """Delete what an earlier run left of cases that are not there any more."""
    done = {treated.case for treated in treated}
    wanted = {job.folders[side] for job in plan.jobs if job.case in done for side in job.sources}
    place = out / "studies" if plan.table else out
    for folder in place.iterdir() if place.is_dir() else ():
        if _FOLDER.fullmatch(folder.name) and folder not in wanted:
            shutil.rmtree(folder)


def _table(cohort: Cohort, config: CohortConfig, plan: _Plan, treated: Sequence[Treated]) -> list[dict[str, str]]:
    """Return the rows of cases.csv."""
    patients = {job.case: job.patient for job in plan.jobs}
    rows = []
    for one in treated:
        row, patient = plan.rows[one.case], patients[one.case]
        cells = clean_row(cohort.config, row, one.case, patient, read_time(one.time))
        cells |= {config.study: f"studies/{one.case}"} if row.study else {}
        cells |= {config.prior: f"studies/{one.case}-prior"} if row.prior else {}
        rows.append(cells | {config.note: one.note})
    return rows


def _refuse_names(what: str, texts: Iterable[str], everyone: frozenset[str], sentence: bool = False) -> None:
    """Refuse to write a file that would name a patient of the cohort.

    Raises:
        CohortError: without the name.
    """
    if any(names_someone(text, everyone, sentence) for text in texts):
        remedy = "Rename the column, class or category that is a patient's name or id, in cases.csv and cohort.toml"
        raise CohortError(f"{what} would name a patient", remedy)


def _write_private(private: Path, plan: _Plan, treated: Sequence[Treated]) -> None:
    """Keep beside the key what links the output to the patients, and where notes were changed."""
    rows = [("kind", "original", "new")]
    rows += [("case", plan.rows[job.case].case_id, job.case) for job in plan.jobs]
    rows += dict.fromkeys(("patient", job.patient_id, job.patient.pseudonym) for job in plan.jobs)
    rows += dict.fromkeys(("uid", old, new) for one in treated for old, new in one.uids.items())
    write_private(private / "map.csv", _csv(rows))
    places: list[tuple[object, ...]] = [("case", "kind", "start", "end", "new_start", "new_end")]
    places += [(one.case, *place) for one in treated for place in one.replacements]
    write_private(private / "notes.csv", _csv(places))


def _report(treated: Sequence[Treated], refused: Sequence[DataError]) -> list[list[object]]:
    """Say what was done, case by case, below a header."""
    names: list[object] = ["case", "state", "code", "problem", "remedy", *COUNTS, "remarks"]
    rows: list[list[object]] = [
        [one.case, "done", "", "", "", *(one.counts[name] for name in COUNTS), "; ".join(one.remarks)]
        for one in treated
    ]
    rows += [[one.case_id, "refused", one.code, one.problem, one.remedy, *[""] * len(COUNTS), ""] for one in refused]
    return [names, *rows]


def _write_report(
    out: Path, key: Key, treated: Sequence[Treated], report: Sequence[Sequence[object]], remarks: Sequence[str]
) -> None:
    """Write the report, case by case and as a whole."""
    _write_csv(out / f"{REPORT}.csv", report)
    said = {
        "key": key.fingerprint,
        "state": "finished",
        "method": METHOD,
        "cases": len(treated),
        "refused": len(report) - 1 - len(treated),
        **{name: sum(one.counts[name] for one in treated) for name in COUNTS},
        "remarks": list(remarks),
    }
    write_whole(out / f"{REPORT}.json", lambda path: path.write_text(json.dumps(said, indent=1), encoding="utf-8"))


def _remarks(cohort: Cohort, dates: Dates) -> Iterator[str]:
    """What the user should know about the output as a whole."""
    config = cohort.config
    if config.fhir is not None:
        yield "FHIR resources were left out: notes and values that came from them are not in the output"
    if any(rule.description for rule in config.images):
        yield (
            "the Basic Profile removes Series Description: rules of [[images]] by description match nothing any more; "
            "in the new cohort.toml they have none, and may take more"
        )
    if other := len(cohort.rows[0].other):
        yield f"columns left out, since cohort.toml does not name them: {other}"
    if dates == "remove" and any(column.taken for column in config.record.values()):
        yield "dates were removed: values that were not shown to be taken before the study were left out"


def _write_csv(path: Path, rows: Sequence[Sequence[object]]) -> None:
    write_whole(path, lambda temporary: temporary.write_text(_csv(rows), encoding="utf-8", newline=""))


def _toml(config: CohortConfig) -> str:
    return tomlkit.dumps(config.model_dump(mode="json", exclude_defaults=True, exclude_none=True))


def _csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
