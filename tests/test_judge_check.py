"""The check of a cohort, as a table and a page: what it counts, what it shows, and what it must never show."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmm.config import CategoryColumn, CohortConfig, LabelColumns, NumberColumn
from medmm.errors import DataError, Reason
from medmm.judge import inventory
from medmm.judge.check import MOST_ROWS, MOST_TILES, Check, check_cases, write_check
from medmm.judge.leak.audit import Audit, audit
from medmm.judge.leak.duplicate import Duplicate, Verdict
from medmm.judge.leak.shortcut import Shortcut
from medmm.read.cohort import CaseRow, Cohort
from medmm.read.remark import concern
from medmm.read.survey import Look, Surveyed

CONFIG = CohortConfig(
    labels=LabelColumns(columns=("sick", "rare")),
    record={
        "age": NumberColumn(unit="a", low=0, high=120),
        "sex": CategoryColumn(categories=("F", "M")),
    },
)
NAN = float("nan")
VOID = {"img", "br", "meta", "link", "hr"}


def look(seed: int = 0, *, remarks: tuple[str, ...] = (), **acquisition: str) -> Look:
    pixels = np.random.default_rng(seed).integers(256, size=(96, 64), dtype=np.uint8)
    size = {"Rows": "960", "Columns": "640"}
    return Look("CR", f"digest-{seed}", (seed,), pixels, size | acquisition, remarks)


def case(number: int, **more: Any) -> Surveyed:
    known: dict[str, Any] = {
        "case_id": f"case-{number}",
        "patient_id": f"CANARYPATIENT{number}",
        "study_patient_id": f"CANARYPATIENT{number}",
        "study_uid": f"1.2.{number}",
        "present": ("image", "note", "record"),
        "looks": (look(number),),
        "note": f"CANARYNOTE{number}",
        "record": {"age": 40.0 + number, "sex": "F"},
        "cells": {"ward": f"CANARYCELL{number}"},
        "targets": {"sick": float(number % 2), "rare": NAN},
        "remarks": (),
    }
    return Surveyed(**known | more)


def refusal(case_id: str, code: Reason = Reason.CORRUPT) -> DataError:
    return DataError(case_id, code, "its file does not decode", "Export the study again")


def check_of(answers: Sequence[Surveyed | DataError], config: CohortConfig = CONFIG, **more: Any) -> Check:
    rows = tuple(CaseRow(one.case_id, getattr(one, "patient_id", "CANARYPATIENT-"), None) for one in answers)
    surveyed = tuple(one for one in answers if isinstance(one, Surveyed))
    known: dict[str, Any] = {
        "cohort": Cohort(Path(), config, rows, ("columns were guessed",)),
        "cases": check_cases(list(zip(rows, answers, strict=True))),
        "surveyed": surveyed,
        "audit": Audit((), (), ()),
        "parts": {},
        "seed": 0,
        "made_on": date(2026, 11, 24),
        "version": "0.1.0",
    }
    return Check(**known | more)


def written(folder: Path, check: Check) -> tuple[list[dict[str, str]], str]:
    write_check(folder, check)
    with (folder / "check.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file)), (folder / "check.html").read_text(encoding="utf-8")


class Page(HTMLParser):
    """A page as a browser sees it: text, pictures, rows of tables; a tag that is not closed fails."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(dict(attrs))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.words.append(data)
        if self.rows and {"td", "th"} & set(self._open):
            self.rows[-1][-1] = " ".join(f"{self.rows[-1][-1]} {data}".split())


def test_a_sound_a_doubtful_and_a_bad_case_are_told_apart(tmp_path: Path) -> None:
    doubtful = case(
        1, looks=(look(1, remarks=("VOI window 1/2", concern("gap of 5 mm"))),), remarks=(concern("no date"),)
    )

    rows, page = written(tmp_path, check_of([case(0, remarks=("a side file",)), doubtful, refusal("case-2")]))

    found = [(row["case_id"], row["status"], row["code"], row["problem"], row["remarks"]) for row in rows]
    assert found == [
        ("case-0", "ok", "", "", "a side file"),
        ("case-1", "warning", "", "no date; gap of 5 mm", "VOI window 1/2"),
        ("case-2", "refused", "corrupt", "its file does not decode", ""),
    ]
    assert [row["remedy"] for row in rows][2] == "Export the study again"
    assert rows[1]["remedy"]
    assert [row["present"] for row in rows] == ["image; note; record", "image; note; record", ""]
    shown = Page(page)
    assert "3 cases of 3 patients: 1 ok, 1 warning, 1 refused." in shown.text
    assert ["refused: corrupt", "1"] in shown.rows
    assert ["case-2", "corrupt", "its file does not decode", "Export the study again"] in shown.rows
    assert ["case-1", "no date; gap of 5 mm"] in shown.rows


def test_answers_are_counted_by_case_and_by_patient() -> None:
    cases = [
        case(0, targets={"sick": 1.0, "rare": NAN}),
        case(1, targets={"sick": 1.0, "rare": NAN}, patient_id="CANARYPATIENT0"),
        case(2, targets={"sick": 0.0, "rare": 1.0}),
        case(3, targets={"sick": NAN, "rare": NAN}),
    ]

    sick, rare = inventory.labels(cases, ("sick", "rare"))

    assert (sick.present, sick.absent, sick.not_stated, sick.patients_present, sick.patients_absent) == (2, 1, 1, 1, 1)
    assert sick.few
    assert not sick.one_sided
    assert (rare.present, rare.absent, rare.not_stated) == (1, 0, 3)
    assert rare.one_sided


def test_a_label_without_both_answers_needs_attention(tmp_path: Path) -> None:
    _, page = written(tmp_path, check_of([case(0), case(1)]))

    assert "Label 'rare' is never stated to be present: nothing can be learnt of it." in Page(page).text


def test_what_is_missing_is_counted_by_pattern(tmp_path: Path) -> None:
    cases = [case(0), case(1), case(2, present=("record",), looks=()), case(3, present=("image", "note"))]

    _, page = written(tmp_path, check_of(cases))

    rows = Page(page).rows
    assert [row for row in rows if row[0].startswith(("image", "record"))] == [
        ["image + note + record", "2", "2"],
        ["image + note", "1", "1"],
        ["record", "1", "1"],
    ]


def test_record_columns_have_unit_range_and_what_is_missing() -> None:
    cases = [case(0), case(10), case(30), case(4, record={"sex": "M"})]

    age, sex = inventory.columns(cases, CONFIG.record)

    assert (age.kind, age.stated, age.missing, age.values) == ("a, from 0 to 120", 3, 1, "40 to 70, median 50")
    assert (sex.kind, sex.stated, sex.missing, sex.values) == ("categories", 4, 0, "F: 3, M: 1")


def test_header_elements_are_counted_and_uids_have_names() -> None:
    looks = [look(0, TransferSyntaxUID="1.2.840.10008.1.2.1")]
    looks += [look(n, TransferSyntaxUID="1.2.840.10008.1.2.1", KVP=str(60 + n)) for n in range(1, 9)]
    cases = [case(n, looks=(one,)) for n, one in enumerate(looks)]

    found = {row.name: row for row in inventory.header(cases)}

    assert found["Transfer Syntax UID"].values == "Explicit VR Little Endian: 9"
    assert (found["KVP"].stated, found["KVP"].missing, found["KVP"].values) == (8, 1, "61 to 68, median 64.5")
    assert next(iter(found)) == "Modality"


def test_words_of_a_header_that_few_patients_share_are_not_shown() -> None:
    cases = [case(n, looks=(look(n, Manufacturer="ACME" if n < 6 else f"CANARYNAME {n}"),)) for n in range(10)]
    one_patient = [case(n, patient_id="p", looks=(look(n, Manufacturer="CANARYNAME"),)) for n in range(10)]

    (shared,) = [row for row in inventory.header(cases) if row.name == "Manufacturer"]
    (alone,) = [row for row in inventory.header(one_patient) if row.name == "Manufacturer"]

    assert shared.values == "ACME: 6, 4 other values"
    assert alone.values == "1 different value"


def test_digests_of_places_are_counted_and_not_shown() -> None:
    cases = [case(n, looks=(look(n, InstitutionName="0123456789ab"),)) for n in range(9)]

    (place,) = [row for row in inventory.header(cases) if row.name == "Institution Name"]

    assert place.values == "1 different value"


def test_remarks_that_differ_in_numbers_only_are_one_kind() -> None:
    said = [("VOI window 128/256", "MONOCHROME1 inverted"), ("VOI window -40/2048.5",), ()]

    found = [(row.text, row.cases) for row in inventory.remarks(said)]

    assert found == [("VOI window n/n", 2), ("MONOCHROME1 inverted", 1)]


def test_nothing_of_a_patient_is_in_the_page_or_the_table(tmp_path: Path) -> None:
    cases = [case(n, looks=(look(n, Manufacturer="CANARYDEVICE"),)) for n in range(4)]
    check = check_of([*cases, refusal("case-9")])

    write_check(tmp_path, replace(check, audit=audit(cases, CONFIG.record, ("sick",))))

    for name in ("check.csv", "check.html"):
        assert "CANARY" not in (tmp_path / name).read_text(encoding="utf-8"), name
    assert "CANARY" not in repr(check)


def test_the_contact_sheet_shows_every_film_of_a_small_cohort_with_case_and_size(tmp_path: Path) -> None:
    _, page = written(tmp_path, check_of([case(0), case(1, looks=(look(1), look(2)))]))

    shown = Page(page)
    assert [picture["alt"] for picture in shown.pictures] == [
        "CR 640 × 960 of case case-0",
        "CR 640 × 960 of case case-1",
        "CR 640 × 960 of case case-1",
    ]
    assert all((picture["src"] or "").startswith("data:image/jpeg;base64,") for picture in shown.pictures)
    assert (shown.pictures[0]["width"], shown.pictures[0]["height"]) == ("64", "96")
    assert "case-1 CR 640 × 960" in shown.text


def test_the_contact_sheet_of_a_large_cohort_is_bounded_even_and_has_the_warnings(tmp_path: Path) -> None:
    cases = [case(n, remarks=(concern("odd"),) if n == 7 or n >= 500 else ()) for n in range(1000)]

    _, page = written(tmp_path, check_of(cases))

    of = [(picture["alt"] or "").rpartition(" ")[2] for picture in Page(page).pictures]
    assert of[:MOST_TILES] == ["case-7", *(f"case-{n}" for n in range(500, 500 + MOST_TILES - 1))]
    places = [int(name.removeprefix("case-")) for name in of[MOST_TILES:]]
    assert len(places) == MOST_TILES
    assert places[0] == 0
    assert {after - before for before, after in itertools.pairwise(places)} <= {8, 9}
    assert len(page) < 2_500_000


def test_long_lists_of_bad_cases_end_and_say_where_the_rest_is(tmp_path: Path) -> None:
    rows, page = written(tmp_path, check_of([refusal(f"bad-{n}") for n in range(MOST_ROWS + 20)]))

    assert len(rows) == MOST_ROWS + 20
    assert sum(row[0].startswith("bad-") for row in Page(page).rows) == MOST_ROWS
    assert f"The first {MOST_ROWS} of {MOST_ROWS + 20} refused cases; check.csv has all of them." in Page(page).text


def shortcut(label: str, verdict: Verdict, suspect: str) -> Shortcut:
    return Shortcut(label, "missing", suspect, 0.86, 0.81, 0.91, 90, True, verdict, f"'{label}' by '{suspect}'.")


def test_the_leak_audit_is_told_the_worst_first_and_what_is_quiet_is_folded_away(tmp_path: Path) -> None:
    twice = Duplicate("pixels", "case-0", "case-1", True, ("train", "test"), 1.0, "leak", "case-0 and case-1 are one.")
    once = Duplicate("note", "case-0", "case-2", False, None, 1.0, "quiet", "of one patient")
    shortcuts = shortcut("sick", "suspicious", "sex"), shortcut("sick", "quiet", "age")
    audit = Audit((twice, once), shortcuts, ("label 'rare': too few",))

    check = check_of([case(0), case(1)], audit=audit)
    _, page = written(tmp_path, check)

    shown = Page(page)
    assert [found.verdict for found in check.findings] == ["leak", "suspicious"]
    assert ["leak", "pixels", "case-0 and case-1 are one."] in shown.rows
    assert ["suspicious", "sick", "0.86 0.81–0.91", "90", "'sick' by 'sex'."] in shown.rows
    assert ["sick", "missing", "age", "0.86 0.81–0.91", "90"] in shown.rows
    assert page.index("<details>") < page.index('"words">age<')
    assert "The leak audit calls 1 finding a leak. The leak audit calls 1 finding suspicious." in shown.text
    assert "count double and no more: 1 pair." in shown.text
    assert "label 'rare': too few" in shown.text


def test_a_quiet_cohort_needs_no_attention(tmp_path: Path) -> None:
    _, page = written(tmp_path, check_of([case(0)], CohortConfig(study="", note="")))

    assert "Nothing: every case is ok, and the leak audit is quiet." in Page(page).text


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ({0: ("a", "a"), 1: ("b", "b"), 2: ("c", "x")}, {2: "its files bear another Patient ID than the table"}),
        ({0: ("a", "X"), 1: ("b", "Y"), 2: ("c", "Z")}, {}),
        (
            {0: ("a", "X"), 1: ("a", "Y"), 2: ("c", "Z")},
            dict.fromkeys((0, 1), "the studies of its patient bear different Patient IDs"),
        ),
        ({0: ("a", "ANON"), 1: ("b", "ANON"), 2: ("c", "ANON")}, {}),
        ({0: ("a", "a"), 1: ("b", ""), 2: ("", "c")}, {}),
    ],
    ids=["one is another's", "pseudonyms", "two ids of one pseudonym", "a placeholder", "not stated"],
)
def test_a_study_of_another_patient_is_a_warning(ids: dict[int, tuple[str, str]], expected: dict[int, str]) -> None:
    cases = [case(n, patient_id=table, study_patient_id=files) for n, (table, files) in ids.items()]

    found = check_of(cases).cases

    assert {n: one.problem for n, one in enumerate(found) if one.status == "warning"} == expected


def test_the_page_asks_nothing_of_any_other_machine_and_runs_nothing(tmp_path: Path) -> None:
    _, page = written(tmp_path, check_of([case(0), refusal("case-1")]))

    assert re.findall(r'(?:src|href|action)="(?!data:image/jpeg)', page) == []
    assert "url(" not in page
    assert "@import" not in page
    assert "<script" not in page
    assert "default-src 'none'" in page


def test_whatever_the_cohort_says_is_shown_as_text(tmp_path: Path) -> None:
    odd = "<script>alert(1)</script>"

    _, page = written(tmp_path, check_of([case(0, case_id=odd), refusal(odd + "2")]))

    assert "<script" not in page
    assert odd in Page(page).text


def test_the_same_check_gives_the_same_bytes(tmp_path: Path) -> None:
    check = check_of([case(0), refusal("case-1")])

    first, again = written(tmp_path / "a", check), written(tmp_path / "b", check)

    assert first == again


def test_a_check_in_which_nothing_could_be_read_is_still_a_page(tmp_path: Path) -> None:
    _, page = written(tmp_path, check_of([refusal("a"), refusal("b", Reason.NOT_DICOM)]))

    shown = Page(page)
    assert "2 cases refused: corrupt" not in shown.text
    assert "1 case refused: corrupt." in shown.text
    assert "No pictures." in shown.text
