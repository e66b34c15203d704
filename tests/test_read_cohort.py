"""A table or a folder becomes rows that are checked before anything is opened; a row becomes its case."""

import csv
import math
import os
import pickle
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from medmm.case import Case
from medmm.config import CategoryColumn, CohortConfig, LabelColumns, NumberColumn
from medmm.errors import CohortError, ConfigError, DataError, Reason
from medmm.read.cohort import Cohort, join_sides, read_case, read_cohort
from medmm.read.sources.folder import read_folder
from medmm.read.sources.source import Source
from tests.dicom_files import CANARIES, ramp, write

LABELS = LabelColumns(columns=("pneumonia", "effusion"))
CONFIG = CohortConfig(
    labels=LABELS,
    record={"age": NumberColumn(unit="a", low=0, high=120), "sex": CategoryColumn(categories=("F", "M"))},
)
HEADER = ["case_id", "patient_id", "study", "note", "age", "sex", "pneumonia", "effusion", "source"]
ROW = ["c1", "CANARYID", "studies/c1", "CANARYNOTE", "61", "F", "1", "", "https://CANARYACCESSION"]


def table(folder: Path, *rows: list[str], header: list[str] | None = None) -> Path:
    with (folder / "cases.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header or HEADER, *rows])
    return folder


def row(**cells: str) -> list[str]:
    return [cells.get(name, cell) for name, cell in zip(HEADER, ROW, strict=True)]


def refusal(folder: Path, config: CohortConfig | None = CONFIG) -> str:
    with pytest.raises(CohortError) as caught:
        read_cohort(folder, config)
    told = str(caught.value)
    assert "\n" not in told
    assert not any(canary in told + repr(caught.value) for canary in CANARIES)
    return told


def test_a_row_holds_what_its_cells_say(tmp_path: Path) -> None:
    cohort = read_cohort(table(tmp_path, ROW), CONFIG)

    (only,) = cohort.rows
    assert (only.case_id, only.patient_id, only.study, only.note) == (
        "c1",
        "CANARYID",
        Source(tmp_path / "studies/c1"),
        "CANARYNOTE",
    )
    assert dict(only.cells) == {"age": "61", "sex": "F"}
    assert only.targets["pneumonia"] == 1
    assert math.isnan(only.targets["effusion"])


def test_a_column_that_is_not_named_is_never_an_input(tmp_path: Path) -> None:
    (only,) = read_cohort(table(tmp_path, ROW), CONFIG).rows

    assert "source" not in only.cells
    assert "pneumonia" not in only.cells


def test_a_row_and_a_cohort_tell_nothing_of_the_patient(tmp_path: Path) -> None:
    cohort = read_cohort(table(tmp_path, row(study="studies/CANARYNAME")), CONFIG)

    told = repr(cohort) + repr(cohort.rows[0]) + str(cohort.remarks)
    assert "c1" in told
    assert not any(canary in told for canary in CANARIES)


def test_a_row_travels_between_processes(tmp_path: Path) -> None:
    (only,) = read_cohort(table(tmp_path, row(effusion="0")), CONFIG).rows

    again = pickle.loads(pickle.dumps(only))

    assert (again.case_id, again.study, dict(again.cells)) == ("c1", only.study, dict(only.cells))
    assert again.targets == only.targets


@pytest.mark.parametrize(
    ("cell", "value"), [("1", 1), ("0", 0), ("1.0", 1), ("0.0", 0), (" 1 ", 1), ("", math.nan), (" ", math.nan)]
)
def test_an_answer_is_present_absent_or_not_stated(tmp_path: Path, cell: str, value: float) -> None:
    (only,) = read_cohort(table(tmp_path, row(pneumonia=cell)), CONFIG).rows

    assert only.targets["pneumonia"] == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize("cell", ["2", "yes", "-1", "0.5", "nan", "CANARYNOTE"])
def test_any_other_answer_is_refused_without_repeating_it(tmp_path: Path, cell: str) -> None:
    told = refusal(table(tmp_path, row(pneumonia=cell)))

    assert told == (
        "case c1: 'pneumonia' is not 1, 0 or empty. Write 1 for present, 0 for absent, and nothing for not stated."
    )


CLASSES = CohortConfig(labels=LabelColumns(class_column="finding", classes=("flu", "none")))
CLASS_HEADER = ["case_id", "patient_id", "study", "note", "finding"]


def test_one_class_is_present_and_the_others_absent(tmp_path: Path) -> None:
    folder = table(tmp_path, ["c1", "p1", "", "x", "none"], ["c2", "p2", "", "x", ""], header=CLASS_HEADER)

    first, second = read_cohort(folder, CLASSES).rows

    assert dict(first.targets) == {"flu": 0, "none": 1}
    assert all(math.isnan(value) for value in second.targets.values())


def test_a_class_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    told = refusal(table(tmp_path, ["c1", "p1", "", "x", "CANARYNOTE"], header=CLASS_HEADER), CLASSES)

    assert "case c1: 'finding' is not one of flu, none" in told


def test_a_missing_column_is_told_with_its_neighbour(tmp_path: Path) -> None:
    header = ["efusion" if name == "effusion" else name for name in HEADER]

    told = refusal(table(tmp_path, ROW, header=header))

    assert told.startswith("cases.csv has no column 'effusion'. Did you mean 'efusion'? Columns there: case_id, ")


def test_a_column_with_two_meanings_is_refused(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"record": {"pneumonia": NumberColumn(unit="1")}})

    assert "'pneumonia' is named for two things. An answer is never an input" in refusal(table(tmp_path, ROW), config)


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    header = ["age" if name == "source" else name for name in HEADER]

    assert "columns 5 and 9 of cases.csv have one name" in refusal(table(tmp_path, ROW, header=header))


@pytest.mark.parametrize("config", [CONFIG, CohortConfig(), None], ids=["described", "plain", "guessed"])
def test_a_first_line_that_is_a_patients_is_not_repeated(tmp_path: Path, config: CohortConfig | None) -> None:
    told = refusal(table(tmp_path, ROW, row(case_id="c2", pneumonia="0"), header=ROW), config)

    assert told == (
        "cases.csv has no column 'case_id'. Name the columns in the first line, and say in cohort.toml what they are."
    )


@pytest.mark.parametrize("content", ["", "\n", ",".join(HEADER), ",".join(HEADER) + "\n"])
def test_an_empty_cohort_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "cases.csv").write_text(content)

    assert refusal(tmp_path).startswith("empty cohort: cases.csv ")


def test_a_folder_without_a_table_is_refused(tmp_path: Path) -> None:
    assert "cases.csv is not there" in refusal(tmp_path)


@pytest.mark.parametrize("second", ["c1", " c1 "])
def test_a_case_id_that_is_there_twice_is_refused(tmp_path: Path, second: str) -> None:
    told = refusal(table(tmp_path, ROW, row(case_id="c2"), row(case_id=second)))

    assert told == "case c1 is in cases.csv twice, in rows 1 and 3. Make 'case_id' unique."


@pytest.mark.parametrize("case_id", ["", "  ", "c\n1", "c\x071"])
def test_a_case_needs_an_id_on_one_line(tmp_path: Path, case_id: str) -> None:
    assert "row 2 of cases.csv has no 'case_id'" in refusal(table(tmp_path, ROW, row(case_id=case_id)))


def test_a_case_needs_a_patient(tmp_path: Path) -> None:
    assert "case c1 has no 'patient_id'" in refusal(table(tmp_path, row(patient_id=" ")))


@pytest.mark.parametrize(
    "path", ["../CANARYNAME", "a/../../b", "/etc/CANARYNAME", "C:\\x", "\\\\server\\x", "a\\..\\b"]
)
def test_a_path_outside_the_folder_is_refused_without_repeating_it(tmp_path: Path, path: str) -> None:
    assert "the study of case c1 lies outside the cohort" in refusal(table(tmp_path, row(study=path)))


def test_commas_quotes_and_line_breaks_in_a_note_are_kept(tmp_path: Path) -> None:
    note = 'Cough, fever.\n"Worse" since Monday; 3,5 kg lost'

    first, second = read_cohort(table(tmp_path, row(note=note), row(case_id="c2")), CONFIG).rows

    assert first.note == note
    assert second.case_id == "c2"


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = table(tmp_path, ROW) / "cases.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())

    assert read_cohort(tmp_path, CONFIG).rows[0].case_id == "c1"


@pytest.mark.parametrize("text", ["NA", "null", "None", "nan", "007"])
def test_a_cell_is_text_and_nothing_else(tmp_path: Path, text: str) -> None:
    (only,) = read_cohort(table(tmp_path, row(case_id=text, note=text, sex=text)), CONFIG).rows

    assert (only.case_id, only.note, only.cells["sex"]) == (text, text, text)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"case_id,patient_id\nc1,CANARYID,3\n", "another number of cells in row 1 than in its header"),
        (b"case_id,patient_id,note\nc1,CANARYID\n", "another number of cells in row 1 than in its header"),
        (b'case_id,patient_id\nc1,"CANARYID\n', "is not CSV (unexpected end of data)"),
        (b"case_id,patient_id\nc1,CANARYID\xff\n", "not UTF-8"),
        (
            "case_id,patient_id\nc1,CANARYID\n".encode("utf-16"),
            "is UTF-16 text, not UTF-8. Save it again as CSV in UTF-8",
        ),
        (b"case_id;patient_id\nc1;CANARYID\n", "has semicolons between its cells. Save it again as CSV with commas"),
        (b"case_id;patient_id;x\nc1;CANARYID;1,5\n", "has semicolons between its cells"),
        (b"case_id\tpatient_id\nc1\tCANARYID\n", "has tabs between its cells"),
    ],
)
def test_a_table_that_is_no_table_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "cases.csv").write_bytes(content)

    assert words in refusal(tmp_path, CohortConfig())


def test_the_description_beside_the_table_is_used(tmp_path: Path) -> None:
    header = ["Fall", "Mensch", "study", "note"]
    (tmp_path / "cohort.toml").write_text('case_id = "Fall"\npatient_id = "Mensch"\n')

    cohort = read_cohort(table(tmp_path, ["c1", "p1", "", "x"], header=header))

    assert (cohort.rows[0].case_id, cohort.rows[0].patient_id) == ("c1", "p1")
    assert cohort.remarks == ()


def test_a_description_that_does_not_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "cohort.toml").write_text('case = "Fall"\n')

    with pytest.raises(ConfigError, match="Did you mean 'case_id'"):
        read_cohort(table(tmp_path, ROW))


def test_without_a_description_columns_are_guessed_and_that_is_said(tmp_path: Path) -> None:
    cohort = read_cohort(table(tmp_path, ROW, row(case_id="c2", pneumonia="0", effusion="1")))

    assert cohort.labels == ("pneumonia",)
    assert set(cohort.config.record) == {"age"}
    assert cohort.remarks[0] == "no cohort.toml: columns were guessed from their names"


@pytest.mark.parametrize("absent", ["study", "note"])
def test_a_cohort_may_lack_images_or_notes(tmp_path: Path, absent: str) -> None:
    kept = [name for name in HEADER if name != absent]

    cohort = read_cohort(table(tmp_path, [ROW[HEADER.index(name)] for name in kept], header=kept), CONFIG)

    assert not getattr(cohort.rows[0], absent)
    assert cohort.remarks == (f"no column '{absent}': no case has one from the table",)


def test_a_column_that_was_asked_for_by_name_may_not_lack(tmp_path: Path) -> None:
    config = CohortConfig(note="anamnesis")

    assert "no column 'anamnesis'" in refusal(table(tmp_path, ROW), config)


def answered(folder: Path, *answers: str, config: CohortConfig = CONFIG) -> Cohort:
    rows = [row(case_id=f"c{n}", pneumonia=answer, effusion=str(n % 2)) for n, answer in enumerate(answers)]
    return read_cohort(table(folder, *rows), config)


def test_labels_with_both_answers_can_be_learnt(tmp_path: Path) -> None:
    cohort = answered(tmp_path, "1", "0", "")

    cohort.require_both_answers()

    assert cohort.labels == ("pneumonia", "effusion")
    assert cohort.patients == 1


@pytest.mark.parametrize(("answers", "words"), [(("1", "1"), "absent"), (("0", ""), "present"), (("", ""), "present")])
def test_a_label_with_one_answer_cannot_be_learnt(tmp_path: Path, answers: tuple[str, str], words: str) -> None:
    cohort = answered(tmp_path, *answers)

    with pytest.raises(CohortError, match=f"label 'pneumonia' is never stated to be {words}"):
        cohort.require_both_answers()


def test_a_cohort_without_labels_cannot_be_learnt(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="no labels"):
        answered(tmp_path, "1", config=CohortConfig()).require_both_answers()


def test_each_folder_and_each_image_of_a_bare_folder_is_a_case(tmp_path: Path) -> None:
    for number, name in enumerate(("b/film.dcm", "a/x/film.dcm", "single.dcm", ".hidden/film.dcm")):
        write(tmp_path / name, ramp(), StudyInstanceUID=f"1.2.{number}")
    for name in ("DICOMDIR", "report.pdf"):
        (tmp_path / name).write_bytes(b"x")

    cohort = read_folder(tmp_path)

    assert [found.case_id for found in cohort.rows] == ["a", "b", "single.dcm"]
    assert cohort.remarks == ("files beside the studies left out: 1",)
    assert (cohort.labels, cohort.patients) == ((), 0)


def test_a_bare_folder_needs_a_study(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(CohortError, match=r"holds no study|is not a folder"):
            read_folder(folder)


def test_the_note_beside_the_images_and_no_other_text_is_read(tmp_path: Path) -> None:
    write(tmp_path / "a" / "film.dcm", ramp())
    (tmp_path / "a" / "note.txt").write_text("Cough.\n")
    (tmp_path / "a" / "report.txt").write_text("Pneumonia.")
    cohort = read_folder(tmp_path)

    case = read_case(cohort, cohort.rows[0])

    assert case.note is not None
    assert case.note.text == "Cough."
    assert case.present == ("image", "note")


def case_of(folder: Path, **cells: str) -> Any:
    cohort = read_cohort(table(folder, row(**cells)), CONFIG)
    return read_case(cohort, cohort.rows[0])


def test_a_row_becomes_its_case(tmp_path: Path) -> None:
    write(tmp_path / "studies/c1/film.dcm", ramp())

    case = case_of(tmp_path)

    assert case.present == ("image", "note", "record")
    assert dict(case.record.values) == {"age": 61.0, "sex": "F"}
    assert not any(canary in repr(case) for canary in CANARIES)


def test_a_row_without_anything_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="case c1: has no image, no note and no record value") as caught:
        case_of(tmp_path, study="", note=" ", age="", sex="")

    assert caught.value.code == Reason.NOTHING_TO_READ


@pytest.mark.parametrize(
    ("cells", "code"), [({}, Reason.MISSING_STUDY), ({"study": "", "age": "CANARYID"}, Reason.BAD_RECORD)]
)
def test_a_row_with_something_unusable_is_refused(tmp_path: Path, cells: dict[str, str], code: Reason) -> None:
    with pytest.raises(DataError) as caught:
        case_of(tmp_path, **cells)

    assert caught.value.code == code
    assert not any(canary in str(caught.value) for canary in CANARIES)


def test_a_folder_whose_name_is_not_utf8_becomes_a_case_with_a_printable_id(tmp_path: Path) -> None:
    for name in (b"M\xfcller", b"two\nlines"):
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))).mkdir()

    rows = read_folder(tmp_path).rows

    assert [row.case_id for row in rows] == [r"M\udcfcller", r"two\nlines"]
    assert all(row.study is not None and row.study.path.is_dir() for row in rows)


# What else a row may name: a text file, a prior study, times; and what it may not

MORE = CONFIG.model_copy(
    update={
        "prior": "before",
        "time": "at",
        "record": {
            "crp": NumberColumn(unit="mg/L", taken="crp_at"),
            "lactate": NumberColumn(unit="mmol/L", taken="crp_at"),
        },
    }
)
MORE_HEADER = ["case_id", "patient_id", "study", "note", "before", "at", "crp", "lactate", "crp_at"]
MORE_HEADER += ["pneumonia", "effusion", "ward"]
MORE_ROW = ["c1", "CANARYID", "studies/c1", "Cough.", "studies/c0", "2024-05-31T14:30", "12", "", "2024-05-31T10:00"]
MORE_ROW += ["1", "", "CANARYACCESSION"]


def more(folder: Path, config: CohortConfig = MORE, **cells: str) -> Cohort:
    found = [cells.get(name, cell) for name, cell in zip(MORE_HEADER, MORE_ROW, strict=True)]
    return read_cohort(table(folder, found, header=MORE_HEADER), config)


def test_a_row_holds_its_prior_study_its_time_and_the_times_of_its_values(tmp_path: Path) -> None:
    (only,) = more(tmp_path).rows

    assert only.prior == Source(tmp_path / "studies/c0")
    assert only.time == datetime(2024, 5, 31, 14, 30)
    assert dict(only.cells) == {"crp": "12", "lactate": "", "crp_at": "2024-05-31T10:00"}


def test_columns_that_are_no_input_are_kept_apart_for_checks(tmp_path: Path) -> None:
    (only,) = more(tmp_path).rows

    assert dict(only.other) == {"ward": "CANARYACCESSION", "at": "2024-05-31T14:30"}
    assert "CANARYACCESSION" not in repr(only)


def test_a_row_with_everything_travels_between_processes(tmp_path: Path) -> None:
    (only,) = more(tmp_path).rows

    again = pickle.loads(pickle.dumps(only))

    assert (again.prior, again.time, dict(again.other)) == (only.prior, only.time, dict(only.other))
    assert again.digest() == only.digest()


@pytest.mark.parametrize("changed", [{"note": "x"}, {"crp": "13"}, {"crp_at": ""}, {"at": "2024-06-01"}])
def test_the_digest_of_a_row_changes_with_its_inputs(tmp_path: Path, changed: Any) -> None:
    assert more(tmp_path).rows[0].digest() != more(tmp_path, **changed).rows[0].digest()


def test_the_digest_of_a_row_does_not_change_with_what_is_no_input(tmp_path: Path) -> None:
    assert more(tmp_path).rows[0].digest() == more(tmp_path, ward="x", pneumonia="0").rows[0].digest()


@pytest.mark.parametrize("column", ["before", "at", "crp_at"])
def test_every_column_that_is_named_must_be_there(tmp_path: Path, column: str) -> None:
    header = ["x" if name == column else name for name in MORE_HEADER]

    assert f"cases.csv has no column '{column}'" in refusal(table(tmp_path, MORE_ROW, header=header), MORE)


@pytest.mark.parametrize(
    "update",
    [
        {"time": "crp"},
        {"time": "crp_at"},
        {"prior": "study"},
        {"note": "before"},
        {"record": {"crp": NumberColumn(unit="", taken="pneumonia")}},
        {"record": {"at": NumberColumn(unit="")}},
        {"record": {"crp_at": NumberColumn(unit="", taken="crp_at")}},
    ],
)
def test_no_column_is_two_things(tmp_path: Path, update: dict[str, Any]) -> None:
    folder = table(tmp_path, MORE_ROW, header=MORE_HEADER)

    assert "is named for two things" in refusal(folder, MORE.model_copy(update=update))


def test_an_empty_time_or_prior_is_none(tmp_path: Path) -> None:
    (only,) = more(tmp_path, before=" ", at="").rows

    assert (only.prior, only.time) == (None, None)


@pytest.mark.parametrize("cell", ["CANARYNAME", "2024", "2024-05", "31.5.2024", "2024-W22-5", "2024-05-31T10"])
def test_a_time_of_a_study_that_is_none_is_refused_without_repeating_it(tmp_path: Path, cell: str) -> None:
    with pytest.raises(CohortError) as caught:
        more(tmp_path, at=cell)

    assert str(caught.value) == "case c1: 'at' is not a time. Write it as 2024-05-31T14:30 (ISO 8601)."


def test_a_time_of_a_study_with_an_offset_needs_the_hospitals_time_zone(tmp_path: Path) -> None:
    here = MORE.model_copy(update={"timezone": "Europe/Vienna"})

    assert more(tmp_path, here, at="2024-05-31T12:30Z").rows[0].time == datetime(2024, 5, 31, 14, 30)
    with pytest.raises(CohortError) as caught:
        more(tmp_path, at="2024-05-31T12:30Z")

    assert str(caught.value) == (
        "case c1: 'at' has an offset from UTC, and the hospital's time zone is not stated. "
        "Give cohort.toml a timezone, as 'Europe/Vienna', or write it by the hospital's clock."
    )


def test_a_value_of_the_table_is_compared_by_the_hospitals_clock(tmp_path: Path) -> None:
    here = MORE.model_copy(update={"timezone": "Europe/Vienna"})

    assert sides(more(tmp_path, here, crp_at="2024-05-31T12:30Z"))[1].values["crp"] == 12.0
    assert sides(more(tmp_path, here, crp_at="2024-05-31T13:30Z"))[1] is None


@pytest.mark.parametrize("column", ["note", "before"])
@pytest.mark.parametrize("path", ["../CANARYNAME.txt", "/etc/CANARYNAME.txt", "C:\\x.txt", "a\\..\\b.txt", "a\0b.txt"])
def test_no_path_of_a_row_leads_out_of_the_folder(tmp_path: Path, column: str, path: str) -> None:
    cells: Any = {column: path}

    with pytest.raises(CohortError) as caught:
        more(tmp_path, **cells)

    name = {"note": "note", "before": "prior study"}[column]
    assert f"the {name} of case c1 lies outside the cohort" in str(caught.value)
    assert "CANARYNAME" not in str(caught.value)


def sides(cohort: Cohort) -> tuple[Any, Any, tuple[str, ...]]:
    (only,) = cohort.rows
    found = join_sides(cohort, only, only.time)
    assert not any(canary in repr(found) for canary in CANARIES)
    return found


def test_a_note_may_be_in_a_text_file(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "CANARYNAME 1.TXT").write_text("Fever.\nFINDINGS: CANARYNOTE")

    note, _, _ = sides(more(tmp_path, note="notes/CANARYNAME 1.TXT"))

    assert note.text == "Fever."
    assert note.remarks == ("sections left out, since they state the answer: FINDINGS",)


def test_a_text_file_that_is_not_there_refuses_the_case_and_its_name_is_no_note(tmp_path: Path) -> None:
    cohort = more(tmp_path, note="notes/CANARYNAME.txt")

    with pytest.raises(DataError) as caught:
        join_sides(cohort, cohort.rows[0], None)

    assert caught.value.code == Reason.MISSING_STUDY
    assert "CANARYNAME" not in str(caught.value)


@pytest.mark.parametrize("cell", ["See a.txt\nfor more: b.txt", "Report in a.txt."])
def test_a_note_that_speaks_of_a_text_file_is_a_note(tmp_path: Path, cell: str) -> None:
    assert sides(more(tmp_path, note=cell))[0].text == cell


def test_a_note_that_is_nothing_but_the_answer_is_none_and_that_is_said(tmp_path: Path) -> None:
    note, record, remarks = sides(more(tmp_path, note="IMPRESSION: CANARYNOTE"))

    assert note is None
    assert record is not None
    assert remarks == ("check: no note: nothing is left without the sections that state the answer: IMPRESSION",)


def test_a_note_that_is_too_long_refuses_its_own_case_only(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    header = ["case_id", "patient_id", "note"]
    rows = [["c1", "p1", "w" * 200_000], ["c2", "p2", "w" * (2**20 + 1)]]

    cohort = read_cohort(table(tmp_path, *rows, header=header), CohortConfig())

    assert join_sides(cohort, cohort.rows[0], None)[0] is not None
    with pytest.raises(DataError) as caught:
        join_sides(cohort, cohort.rows[1], None)
    assert caught.value.code == Reason.TOO_LARGE
    assert csv.field_size_limit() == limit


def test_a_section_that_is_not_known_cannot_be_left_out(tmp_path: Path) -> None:
    config = MORE.model_copy(update={"sections_left_out": ("findings", "impresion")})

    with pytest.raises(ConfigError, match="no section 'impresion' is known in 'sections_left_out'"):
        more(tmp_path, config)


def test_values_that_are_later_than_the_study_are_left_out_and_said(tmp_path: Path) -> None:
    _, record, remarks = sides(more(tmp_path, lactate="2", crp_at="2024-06-01T10:00"))

    assert record is None
    assert remarks == ("crp left out: taken after the study", "lactate left out: taken after the study")


def test_the_time_of_the_table_comes_before_that_of_the_header(tmp_path: Path) -> None:
    write(tmp_path / "studies/c1/film.dcm", ramp(), StudyDate="20240101", StudyTime="120000")
    cohort, late = (more(tmp_path, before="", at=at) for at in ("2024-05-31T14:30", ""))

    assert dict(read_case(cohort, cohort.rows[0]).record.values) == {"crp": 12.0}  # type: ignore[union-attr]
    assert read_case(late, late.rows[0]).record is None


def prior_case(folder: Path, **elements: Any) -> Case:
    now: dict[str, Any] = {"StudyInstanceUID": "1.2.3", "StudyDate": "20240531", "StudyTime": "143000"}
    write(folder / "studies/c1/film.dcm", ramp(), **now)
    before = {"StudyInstanceUID": "1.2.2", "StudyDate": "20230101", "StudyTime": "090000"}
    write(folder / "studies/c0/film.dcm", ramp(), **(before | elements))
    cohort = more(folder, at="")
    return read_case(cohort, cohort.rows[0])


def test_a_prior_study_of_the_same_patient_is_read(tmp_path: Path) -> None:
    case = prior_case(tmp_path)

    assert case.prior is not None
    assert case.prior.uid == "1.2.2"
    assert case.remarks == ()


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"PatientID": "CANARYID2"}, "its prior study is another patient's"),
        ({"StudyDate": "20240601"}, "its prior study is not shown to be earlier than its study"),
        ({"StudyDate": "20240531", "StudyTime": "143000"}, "its prior study is not shown to be earlier than its study"),
        ({"StudyDate": "20240531", "StudyTime": None}, "its prior study is not shown to be earlier than its study"),
        ({"StudyInstanceUID": "1.2.3"}, "its prior study is the study itself"),
    ],
)
def test_a_prior_study_that_is_none_refuses_the_case(tmp_path: Path, elements: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError) as caught:
        prior_case(tmp_path, **elements)

    assert caught.value.code == Reason.WRONG_PRIOR
    assert words in str(caught.value)
    assert not any(canary in str(caught.value) for canary in CANARIES)


def test_what_cannot_be_checked_of_a_prior_study_is_said(tmp_path: Path) -> None:
    case = prior_case(tmp_path, PatientID=None, StudyDate=None)

    assert case.remarks == (
        "check: prior study not checked to be the same patient's, since a file does not state whose it is",
        "check: prior study not checked to be earlier, since its time or the study's is not known",
    )


def test_a_prior_study_without_a_study_of_now_is_left_out_and_said(tmp_path: Path) -> None:
    cohort = more(tmp_path, study="")

    case = read_case(cohort, cohort.rows[0])

    assert case.prior is None
    assert case.remarks == ("prior study left out: the case has no study to compare with it",)
    assert sides(cohort)[2] == case.remarks


def test_of_a_table_as_many_rows_are_read_as_are_asked_for(tmp_path: Path) -> None:
    rows = [f"c{number},p{number},cough" for number in range(5)]
    (tmp_path / "cases.csv").write_text("\n".join(["case_id,patient_id,note", *rows, "too,many,cells,in,this,row"]))

    assert [row.case_id for row in read_cohort(tmp_path, CohortConfig(), first=3).rows] == ["c0", "c1", "c2"]
    with pytest.raises(CohortError, match="number of cells"):
        read_cohort(tmp_path, CohortConfig())


def test_a_case_id_that_no_database_takes_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text(f"case_id,patient_id,note\n{'x' * 255},p1,cough\n{'y' * 256},p2,cough\n")

    with pytest.raises(CohortError, match=r"row 2 of cases.csv has a 'case_id' of more than 255 letters"):
        read_cohort(tmp_path, CohortConfig())
