"""`medmm export`: what was said, as files for a PACS, a record system and paper; again and again, the same ones."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import PIL.Image
import pydicom
import pytest
import requests
from typer.testing import CliRunner, Result

from medmm.errors import StoreError
from medmm.files import write_whole
from medmm.result import Limits, Review
from medmm.store.store import STORE, Store
from medmm.write.picture import FILMS
from pipelines.cli import app
from pipelines.export import export_folder
from pipelines.form import Form
from tests.dicom_files import CANARIES, ramp, write
from tests.exported import complaints, read_case
from tests.orthanc import PASSWORD, USER, Orthanc, running
from tests.scored import MODEL

DICOM = (Form.SR, Form.CAPTURE, Form.MAP)
STUDIES = {"CANARYID-1": "1.2.826.1", "CANARYID-2": "1.2.826.2"}
"""Case -> its study. The ids of the cases are those of the patients: no file may be called after them."""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A scored folder with two cases of one film each; of each, one finding is flagged."""
    out = tmp_path / "out"
    out.mkdir()
    with Store(out / STORE) as store:
        for number, (case_id, uid) in enumerate(STUDIES.items()):
            folder = tmp_path / "studies" / str(number)
            known: dict[str, Any] = {
                "StudyInstanceUID": uid,
                "SeriesInstanceUID": f"{uid}.1",
                "SOPInstanceUID": f"{uid}.1.1",
            }
            write(folder / "film.dcm", ramp() + number, PatientID=case_id, StudyDate="20260102", StudyID="7", **known)
            store.keep([read_case(case_id, folder, out / FILMS)])
    return out


def photograph(out: Path) -> None:
    """One more case, of a PNG."""
    folder = out.parent / "photograph"
    folder.mkdir()
    PIL.Image.fromarray(ramp().astype("uint8")).save(folder / "film.png")
    with Store(out / STORE) as store:
        store.keep([read_case("a-photograph", folder, out / FILMS)])


def medmm(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def files(out: Path) -> dict[str, bytes]:
    """Every file below OUT/export, by its path there."""
    root = out / "export"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def of_form(out: Path, form: Form) -> list[Path]:
    return sorted((out / "export" / form).iterdir())


# what is written


def test_every_form_of_every_case_is_written_and_valid(out: Path) -> None:
    asked = medmm("export", out, *(word for form in Form for word in ("--as", form)))

    assert asked.exit_code == 0, asked.output
    counts = {form: len(of_form(out, form)) for form in Form}
    assert counts == {Form.SR: 2, Form.CAPTURE: 6, Form.MAP: 6, Form.FHIR: 4, Form.PDF: 2}
    made = [path for form in DICOM for path in of_form(out, form)]
    assert {path.name: complaints(path) for path in made} == {path.name: [] for path in made}
    assert {pydicom.dcmread(path).StudyInstanceUID for path in made} == set(STUDIES.values())
    assert {json.loads(path.read_text("utf-8"))["resourceType"] for path in of_form(out, Form.FHIR)} == {"Bundle"}
    assert all(path.read_bytes().startswith(b"%PDF") for path in of_form(out, Form.PDF))


def test_a_report_alone_is_written_when_nothing_else_is_asked_for_and_one_line_says_so(out: Path) -> None:
    asked = medmm("export", out)

    assert asked.exit_code == 0
    assert [path.split("/")[0] for path in files(out)] == ["sr", "sr"]
    assert asked.stdout.strip() == f"2 cases: 2 files written; in {out / 'export'}"


def test_names_of_files_and_what_is_printed_hold_no_patient(out: Path) -> None:
    photograph(out)

    asked = medmm("export", out, *(word for form in Form for word in ("--as", form)))

    said = "".join([asked.output, *map(str, (out / "export").rglob("*"))])
    assert not any(word in said for word in (*CANARIES, *STUDIES, *STUDIES.values()))
    whose = {name.split("/")[1].split("-")[0] for name in files(out)}
    assert whose >= {hashlib.sha256(case_id.encode()).hexdigest()[:16] for case_id in STUDIES}


def test_only_what_is_flagged_is_written_if_no_more_is_wanted(out: Path) -> None:
    with Store(out / STORE) as store:
        said = store.case(MODEL, "CANARYID-1")
        findings = tuple(replace(finding, probability=0.01) for finding in said.prediction.findings)
        store.keep([replace(said, prediction=replace(said.prediction, findings=findings), content="e" * 64)])

    export_folder(out, DICOM, flagged_only=True)

    made = [pydicom.dcmread(path) for form in DICOM for path in of_form(out, form)]
    assert [one.StudyInstanceUID for one in made] == [STUDIES["CANARYID-2"]] * 3
    assert [one.ImageComments.split(",")[0] for one in made if "ImageComments" in one] == ["lung cancer"] * 2


def test_what_is_uncertain_is_not_written_as_flagged(out: Path) -> None:
    with Store(out / STORE) as store:
        said = store.case(MODEL, "CANARYID-1")
        findings = tuple(replace(finding, limits=Limits(0.01, 0.99, 0.1)) for finding in said.prediction.findings)
        store.keep([replace(said, prediction=replace(said.prediction, findings=findings), content="e" * 64)])

    export_folder(out, DICOM, flagged_only=True)

    made = [pydicom.dcmread(path) for form in DICOM for path in of_form(out, form)]
    assert {one.StudyInstanceUID for one in made} == {STUDIES["CANARYID-2"]}


def test_what_is_flagged_is_the_same_file_whether_alone_or_among_others(out: Path) -> None:
    export_folder(out, DICOM, flagged_only=True)
    alone = files(out)

    export_folder(out, DICOM)

    assert alone.items() <= files(out).items()
    assert len(files(out)) > len(alone)


# again


def test_a_second_run_writes_nothing(out: Path) -> None:
    first = export_folder(out, tuple(Form))
    stamps = {path: path.stat().st_mtime_ns for path in (out / "export").rglob("*")}

    again = export_folder(out, tuple(Form))

    assert (first.written, first.known, again.written, again.known) == (20, 0, 0, 20)
    assert {path: path.stat().st_mtime_ns for path in (out / "export").rglob("*")} == stamps


@pytest.mark.parametrize("stopped_at", [0, 5, 11])
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(
    out: Path, stopped_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    forms = (Form.SR, Form.CAPTURE, Form.FHIR)
    calls = iter(range(1000))

    def stop(path: Path, target: Path) -> None:
        """As os.replace, until it is killed just before a file is in place."""
        if next(calls) == stopped_at:
            raise KeyboardInterrupt
        path.rename(target)

    monkeypatch.setattr("medmm.files.os.replace", lambda one, two: stop(Path(one), Path(two)))
    with pytest.raises(KeyboardInterrupt):
        export_folder(out, forms)
    before = files(out)
    monkeypatch.undo()

    done = export_folder(out, forms)

    after = files(out)
    assert (len(before), done.known, done.written) == (stopped_at, stopped_at, 12 - stopped_at)
    assert before.items() <= after.items()
    for path in (out / "export").rglob("*.*"):
        path.unlink()
    export_folder(out, forms)
    assert files(out) == after


def test_a_new_word_adds_a_report_and_leaves_the_old_one(out: Path) -> None:
    export_folder(out)
    before = files(out)
    with Store(out / STORE) as store:
        later = datetime.now(UTC) + timedelta(seconds=1)
        store.trail.add(Review("CANARYID-1", MODEL, "pneumonia", "accept", "as I see it", "reader one", later))

    done = export_folder(out)

    assert (done.written, done.known) == (1, 1)
    (added,) = set(files(out)) - set(before)
    assert before.items() <= files(out).items()
    assert b"as I see it" in files(out)[added]
    assert complaints(out / "export" / added) == []


# what cannot be written


def test_a_photograph_is_listed_with_a_remedy_and_the_others_are_written(out: Path) -> None:
    photograph(out)

    asked = medmm("export", out, "--as", "sr", "--as", "capture", "--as", "fhir")

    assert asked.exit_code == 2
    assert len(of_form(out, Form.SR)) == 2
    assert len(of_form(out, Form.FHIR)) == 6
    with (out / "export.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    assert [(row["case_id"], row["as"], row["code"]) for row in rows] == [
        ("a-photograph", "sr", "not-dicom"),
        ("a-photograph", "capture", "not-dicom"),
    ]
    assert all(row["problem"] and row["remedy"] for row in rows)
    assert "2 could not be written" in asked.stdout


def test_what_could_be_written_meanwhile_is_listed_no_more(out: Path) -> None:
    pictures = list((out / FILMS).iterdir())
    kept = {path: path.read_bytes() for path in pictures}
    for path in pictures:
        path.unlink()
    assert len(export_folder(out, [Form.CAPTURE]).refused) == 2

    for path, data in kept.items():
        path.write_bytes(data)

    assert export_folder(out, [Form.CAPTURE]).refused == ()
    assert (out / "export.csv").read_text("utf-8").splitlines() == ["case_id,as,code,problem,remedy"]


def test_a_folder_without_a_store_is_told_so_and_nothing_is_made(tmp_path: Path) -> None:
    asked = medmm("export", tmp_path)

    assert asked.exit_code == 3
    assert "no store.sqlite" in asked.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_store_in_which_nothing_was_scored_is_told_so(tmp_path: Path) -> None:
    with Store(tmp_path / STORE):
        pass

    with pytest.raises(StoreError, match="nothing was scored"):
        export_folder(tmp_path)


def test_a_full_disk_ends_the_run_and_leaves_no_half_file(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, write: object) -> None:
        def half(target: Path) -> None:
            target.write_bytes(b"half")
            raise OSError(28, "No space left on device")

        write_whole(path, half)

    monkeypatch.setattr("medmm.write.dicom.study.write_whole", full)

    asked = medmm("export", out)

    assert asked.exit_code == 3
    assert "No space left on device" in asked.stderr
    assert files(out) == {}


def test_no_model_is_needed_nor_torch(out: Path) -> None:
    forms = ", ".join(f"'{form}'" for form in Form)
    script = f"""
import sys
from pathlib import Path
from pipelines.export import export_folder
from pipelines.form import Form
export_folder(Path({str(out)!r}), [Form(name) for name in ({forms})])
assert 'torch' not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert len(files(out)) == 20


# a PACS


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


def test_a_pacs_takes_every_object_and_shows_it_in_the_original_study(orthanc: Orthanc, out: Path) -> None:
    orthanc.put(*(out.parent / "studies").rglob("*.dcm"))
    export_folder(out, DICOM)
    made = [path for form in DICOM for path in of_form(out, form)]

    orthanc.put(*made)
    orthanc.put(*made)  # the same instances: nothing is doubled

    for uid in STUDIES.values():
        answer = requests.get(
            f"{orthanc.url}/studies/{uid}/instances", auth=(USER, PASSWORD), timeout=30, proxies={"http": ""}
        )
        kinds = sorted(instance["00080060"]["Value"][0] for instance in answer.json())
        assert kinds == ["CR", "OT", "OT", "OT", "OT", "OT", "OT", "SR"]
