"""What reading a cohort found, case by case: check.csv for machines and check.html for people; nothing is trained.

A case is refused if it cannot be used, a warning if one of its remarks is a concern (medmm.read.remark), else ok.
"""

from __future__ import annotations

import base64
import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal

from medmm.errors import DataError
from medmm.files import write_whole
from medmm.judge import inventory
from medmm.judge.leak.audit import Audit
from medmm.judge.leak.duplicate import RANK, Duplicate
from medmm.judge.leak.shortcut import Shortcut
from medmm.judge.page import render
from medmm.judge.words import counted
from medmm.read.cohort import CaseRow, Cohort
from medmm.read.remark import CONCERN, concern, is_concern
from medmm.read.survey import Look, Surveyed

Status = Literal["ok", "warning", "refused"]
PAGE, TABLE = "check.html", "check.csv"
MOST_TILES = 120
"""Pictures of the contact sheet: so many evenly chosen, and so many with a warning."""
MOST_ROWS = 100
"""Refused cases and warnings that the page lists; the table has all of them."""
MOST_KINDS = 20
"""Kinds of remarks that the page lists."""
_PARTS = ("train", "validation", "test")
_CALLED = {"leak": "a leak", "suspicious": "suspicious"}
_LOOK_AT_IT = "Look at the case, and correct it or take it out if it is wrong"


@dataclass(frozen=True, slots=True, eq=False)
class CheckedCase:
    """What was found of one case: a row of check.csv."""

    case_id: str
    present: tuple[str, ...] = ()
    """Modalities that the case has; none of a case that was refused."""
    concerns: tuple[str, ...] = ()
    """What a person should look at, in plain words."""
    remarks: tuple[str, ...] = ()
    """Everything else that was said of the case and its pictures."""
    refusal: DataError | None = None

    @property
    def status(self) -> Status:
        """Whether the case can be used, and whether it should be looked at first."""
        return "refused" if self.refusal else "warning" if self.concerns else "ok"

    @property
    def code(self) -> str:
        """Reason code of a refused case; empty of any other."""
        return self.refusal.code.value if self.refusal else ""

    @property
    def problem(self) -> str:
        """Why the case is not ok; empty if it is."""
        return self.refusal.problem if self.refusal else "; ".join(self.concerns)

    @property
    def remedy(self) -> str:
        """What to do about the problem; empty if there is none."""
        return self.refusal.remedy if self.refusal else _LOOK_AT_IT if self.concerns else ""


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """A cohort as it was found."""

    cohort: Cohort = field(repr=False)
    cases: tuple[CheckedCase, ...]
    """In the order of the cohort's rows."""
    surveyed: tuple[Surveyed, ...] = field(repr=False)
    """The cases that could be read, in the same order."""
    audit: Audit
    parts: Mapping[str, str]
    """Case id -> train, validation or test, as training with `seed` would split; empty where it cannot."""
    seed: int
    made_on: date
    version: str

    def count(self, status: Status) -> int:
        """How many cases have this status."""
        return sum(case.status == status for case in self.cases)

    @property
    def findings(self) -> tuple[Duplicate | Shortcut, ...]:
        """What the leak audit does not call quiet, the worst first."""
        found: list[Duplicate | Shortcut] = [*self.audit.duplicates, *self.audit.shortcuts]
        return tuple(sorted((one for one in found if one.verdict != "quiet"), key=lambda one: RANK[one.verdict]))

    @property
    def headline(self) -> str:
        """One sentence: how many cases there are, and what came of them."""
        patients = f" of {counted(self.cohort.patients, 'patient')}" if self.cohort.patients else ""
        warnings = counted(self.count("warning"), "warning")
        start = f"{counted(len(self.cases), 'case')}{patients}: {self.count('ok'):,} ok, {warnings}"
        return f"{start}, {self.count('refused'):,} refused."

    @property
    def refused(self) -> dict[str, int]:
        """Reason code -> refused cases, the most frequent first."""
        return dict(Counter(case.code for case in self.cases if case.status == "refused").most_common())


def check_cases(answers: Sequence[tuple[CaseRow, Surveyed | DataError]]) -> tuple[CheckedCase, ...]:
    """Say of each case whether it is ok, a warning or refused, and why."""
    others = _mistaken_identities([answer for _, answer in answers if isinstance(answer, Surveyed)])
    return tuple(_checked(answer, others.get(row.case_id, ())) for row, answer in answers)


def _checked(answer: Surveyed | DataError, more: tuple[str, ...]) -> CheckedCase:
    """Say of one case what there is to say; `more` are remarks that only the whole cohort shows."""
    if isinstance(answer, DataError):
        return CheckedCase(answer.case_id, refusal=answer)
    said = dict.fromkeys((*more, *answer.remarks, *(remark for look in answer.looks for remark in look.remarks)))
    return CheckedCase(
        case_id=answer.case_id,
        present=answer.present,
        concerns=tuple(remark.removeprefix(CONCERN) for remark in said if is_concern(remark)),
        remarks=tuple(remark for remark in said if not is_concern(remark)),
    )


def _mistaken_identities(cases: Sequence[Surveyed]) -> dict[str, tuple[str, ...]]:
    """Case id -> a concern where the Patient ID of the files does not go with the patient of the table.

    Where most ids are the same, one that differs is a concern. The table may hold pseudonyms instead: then all studies
    of one pseudonym bear one Patient ID. Ids are compared, never shown. (One Patient ID that stands with several
    patients of the table is found by the leak audit.)
    """
    stated = [case for case in cases if case.patient_id and case.study_patient_id]
    ids_of = defaultdict[str, set[str]](set)
    for case in stated:
        ids_of[case.patient_id].add(case.study_patient_id)
    differ = [case for case in stated if case.patient_id != case.study_patient_id]
    if 2 * len(differ) < len(stated):
        return {case.case_id: (concern("its files bear another Patient ID than the table"),) for case in differ}
    return {
        case.case_id: (concern("the studies of its patient bear different Patient IDs"),)
        for case in stated
        if len(ids_of[case.patient_id]) > 1
    }


def write_check(folder: Path, check: Check) -> None:
    """Write check.csv and check.html; the same check gives the same bytes.

    Neither holds an id, a name or a date of a patient, text of a note, or a file's name; case ids are in both.

    Args:
        folder: made if it is not there.
        check: what to tell.
    """
    table, page = _table(check.cases), _page(check)
    write_whole(folder / TABLE, lambda path: path.write_text(table, encoding="utf-8"))
    write_whole(folder / PAGE, lambda path: path.write_text(page, encoding="utf-8"))


def _table(cases: Sequence[CheckedCase]) -> str:
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(["case_id", "status", "code", "problem", "remedy", "remarks", "present"])
    for case in cases:
        lists = ["; ".join(case.remarks), "; ".join(case.present)]
        writer.writerow([case.case_id, case.status, case.code, case.problem, case.remedy, *lists])
    return target.getvalue()


def _page(check: Check) -> str:
    cases, shortcuts = check.surveyed, check.audit.shortcuts
    labels = inventory.labels(cases, check.cohort.labels)
    return render(
        "check.html",
        check=check,
        made_on=check.made_on.isoformat(),
        headline=check.headline,
        attention=_attention(check, labels),
        refusals=[case for case in check.cases if case.status == "refused"],
        warnings=[case for case in check.cases if case.status == "warning"],
        patterns=inventory.patterns(cases),
        labels=labels,
        columns=inventory.columns(cases, check.cohort.config.record),
        header=inventory.header(cases),
        concerns=inventory.remarks(case.concerns for case in check.cases),
        remarks=inventory.remarks(case.remarks for case in check.cases),
        cohort_remarks=check.cohort.remarks,
        pictures=sum(len(case.looks) for case in cases),
        with_pictures=sum(bool(case.looks) for case in cases),
        parts={part: count for part in _PARTS if (count := list(check.parts.values()).count(part))},
        duplicates=[found for found in check.audit.duplicates if found.verdict != "quiet"],
        shortcuts=[found for found in shortcuts if found.verdict != "quiet"],
        quiet=[found for found in shortcuts if found.verdict == "quiet"],
        warned=list(_warned(check)),
        tiles=list(_chosen(check)),
        few=inventory.FEW,
        min_patients=inventory.MIN_PATIENTS,
        most_rows=MOST_ROWS,
        most_kinds=MOST_KINDS,
    )


def _attention(check: Check, labels: Sequence[inventory.LabelRow]) -> list[str]:
    """What a person has to do something about, in the order in which to do it."""
    said = [f"{counted(count, 'case')} refused: {code}." for code, count in check.refused.items()]
    if warnings := check.count("warning"):
        said.append(f"To look at before use: {counted(warnings, 'case')} with a warning.")
    for verdict in _CALLED:
        if count := sum(one.verdict == verdict for one in check.findings):
            said.append(f"The leak audit calls {counted(count, 'finding')} {_CALLED[verdict]}.")
    for row in labels:
        if row.one_sided:
            answer = "absent" if row.present else "present"
            said.append(f"Label '{row.label}' is never stated to be {answer}: nothing can be learnt of it.")
        elif row.few:
            patients = min(row.patients_present, row.patients_absent)
            said.append(
                f"Label '{row.label}' has {counted(patients, 'patient')} with one of its answers: few to judge by."
            )
    return said


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture of the contact sheet."""

    case_id: str
    kind: str
    """Modality and size, in words."""
    source: str
    """The thumbnail as a data address, so that the page needs no other file."""
    rows: int
    columns: int


def _warned(check: Check) -> Iterator[Tile]:
    """Pictures of cases with a warning, the first MOST_TILES."""
    warned = {case.case_id for case in check.cases if case.status == "warning"}
    pictures = [(case.case_id, look) for case in check.surveyed if case.case_id in warned for look in case.looks]
    return (_tile(*picture) for picture in pictures[:MOST_TILES])


def _chosen(check: Check) -> Iterator[Tile]:
    """At most MOST_TILES of all pictures, evenly chosen."""
    pictures = [(case.case_id, look) for case in check.surveyed for look in case.looks]
    step = max(1.0, len(pictures) / MOST_TILES)
    return (_tile(*pictures[int(place * step)]) for place in range(min(MOST_TILES, len(pictures))))


def _tile(case_id: str, look: Look) -> Tile:
    import PIL.Image

    target = io.BytesIO()
    PIL.Image.fromarray(look.thumbnail).save(target, format="JPEG", quality=85)
    size = [
        look.acquisition[keyword] for keyword in ("Columns", "Rows", "NumberOfSlices") if keyword in look.acquisition
    ]
    return Tile(
        case_id=case_id,
        kind=f"{look.modality} {' × '.join(size)}",
        source="data:image/jpeg;base64," + base64.b64encode(target.getvalue()).decode("ascii"),
        rows=look.thumbnail.shape[0],
        columns=look.thumbnail.shape[1],
    )
