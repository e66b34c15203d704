"""A round trip through a real PACS: what is queried, retrieved and scored is what lies in the folder, bit for bit."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

from medmm.errors import CohortError, DataError, Reason
from medmm.read.dicom.study import read_study
from medmm.read.sources import dicomweb
from medmm.read.sources.dicomweb import Server, read_server
from medmm.read.sources.scan import hashed
from medmm.read.sources.source import Source
from tests.dicom_files import CANARIES, compressed_frame, make_dicom, ramp, save, write
from tests.orthanc import PASSWORD, USER, Orthanc, running

FILMS = {"1.2.826.1": ("CANARYID", "20260102"), "1.2.826.2": ("CANARYID2", "20260203")}
"""Study -> patient and date: two films of two patients; a stack of slices of the first patient comes with them."""
STACK = "1.2.826.3"


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.fixture(scope="module")
def folder(orthanc: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The studies as files; Orthanc has the same ones."""
    folder = tmp_path_factory.mktemp("studies")
    for number, (uid, (patient, date)) in enumerate(FILMS.items()):
        syntax = ExplicitVRLittleEndian if number else JPEG2000Lossless
        known = {"StudyInstanceUID": uid, "SeriesInstanceUID": f"{uid}.1", "PatientID": patient, "StudyDate": date}
        write(folder / uid / "1.dcm", ramp() + number, syntax, **known)
    for number in range(5):
        write_slice(folder / STACK / f"{number}.dcm", number)
    orthanc.put(*folder.rglob("*.dcm"))
    return folder


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(dicomweb.USER, USER)
    monkeypatch.setenv(dicomweb.PASSWORD, PASSWORD)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def write_slice(path: Path, number: int) -> Path:
    return write(
        path,
        ramp() + number,
        Modality="CT",
        SOPClassUID=CTImageStorage,
        SOPInstanceUID=generate_uid(entropy_srcs=["slice", str(number)]),
        StudyInstanceUID=STACK,
        SeriesInstanceUID=f"{STACK}.1",
        StudyDate="20260102",
        InstanceNumber=number + 1,
        ImagePositionPatient=[0, 0, 2.5 * number],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        PixelSpacing=[0.7, 0.7],
        SliceThickness=2.5,
        RescaleSlope=1,
        RescaleIntercept=-1024,
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"patient": "CANARYID"}, {"1.2.826.1", STACK}),
        ({"patient": "CANARYID2"}, {"1.2.826.2"}),
        ({"date": "20260102"}, {"1.2.826.1", STACK}),
        ({"date": "20260101-20260131", "modality": "CT"}, {STACK}),
        ({"date": "20260101-20261231", "patient": "CANARYID"}, {"1.2.826.1", STACK}),
        ({"date": "20260101-20261231", "modality": "CR"}, {"1.2.826.1", "1.2.826.2"}),
        ({"patient": "CANARY"}, set()),
    ],
)
def test_studies_are_found_by_patient_date_and_modality(
    orthanc: Orthanc, folder: Path, query: dict[str, str], expected: set[str]
) -> None:
    with Server(orthanc.url) as server:
        found = server.find(**query)

    assert {study.uid for study in found} == expected
    assert {study.instances for study in found} <= {1, 5}


def test_more_studies_than_a_page_holds_are_all_found(
    orthanc: Orthanc, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicomweb, "_PAGE", 1)

    with Server(orthanc.url) as server:
        assert len(server.find(date="20260101-20261231")) == 3


def test_what_is_retrieved_is_what_was_stored_byte_for_byte(orthanc: Orthanc, folder: Path, tmp_path: Path) -> None:
    with Server(orthanc.url) as server:
        (study,) = server.find(modality="CT")
        where = server.retrieve(study, tmp_path)

    stored = sorted(file.read_bytes() for file in (folder / STACK).iterdir())
    assert sorted(file.read_bytes() for file in where.glob("*.dcm")) == stored
    assert where == tmp_path / study.case_id
    assert not any(word in str(path) for path in tmp_path.rglob("*") for word in (*CANARIES, STACK))


def test_a_retrieved_study_reads_to_the_same_pixels(orthanc: Orthanc, folder: Path, tmp_path: Path) -> None:
    cohort = read_server(orthanc.url, tmp_path, date="20260101-20261231", workers=1)

    read = {study.uid: study for study in (read_study(row.study, row.case_id) for row in cohort.rows if row.study)}
    assert set(read) == {*FILMS, STACK}
    for uid, study in read.items():
        (ours, theirs) = pixels(study), pixels(read_study(Source(folder / uid), "c1"))
        assert len(ours) == len(theirs) > 0
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)


def pixels(study: object) -> list[np.ndarray]:
    images, volumes = getattr(study, "images", ()), getattr(study, "volumes", ())
    return [image.pixels for image in images] + [volume.voxels for volume in volumes]


def test_scores_from_the_server_and_from_the_folder_are_equal_bit_for_bit(
    orthanc: Orthanc, folder: Path, tmp_path: Path
) -> None:
    from medmm.config import EncoderConfig, RunConfig
    from medmm.read.sources.folder import read_folder
    from medmm.score.here import in_process
    from pipelines.score import Manner, score_cases
    from tests.models import random_model

    model = random_model(RunConfig(encoders=EncoderConfig(image_size=96)))
    remote = read_server(orthanc.url, tmp_path / "retrieved", date="20260101-20261231", workers=1)
    done = score_cases(model.info, remote, tmp_path / "remote", in_process(model), manner=Manner(workers=1))
    local = read_folder(folder, workers=1)
    score_cases(model.info, local, tmp_path / "local", in_process(model), manner=Manner(workers=1))

    assert (done.scored, done.refused) == (3, ())
    ours, theirs = said(tmp_path / "remote"), said(tmp_path / "local")
    assert {f"study-{hashed(uid)}": theirs[uid] for uid in (*FILMS, STACK)} == ours


def said(out: Path) -> dict[str, list[dict[str, object]]]:
    """Case id -> every other cell of its rows."""
    import pyarrow.parquet as pq

    rows: dict[str, list[dict[str, object]]] = {}
    for row in pq.read_table(out / "predictions.parquet").to_pylist():
        rows.setdefault(row.pop("case_id"), []).append(row)
    return rows


def test_a_study_that_is_whole_is_not_retrieved_again_and_one_that_is_not_is_completed(
    orthanc: Orthanc, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(orthanc.url) as server:
        (study,) = server.find(modality="CT")
        where = server.retrieve(study, tmp_path)
        first, *others = sorted(where.glob("*.dcm"))
        kept = {path: path.stat().st_mtime_ns for path in others}
        first.unlink()

        server.retrieve(study, tmp_path)
        monkeypatch.setattr(dicomweb._Client, "search_for_instances", None)  # a call would fail
        server.retrieve(study, tmp_path)

    assert first.is_file()
    assert {path: path.stat().st_mtime_ns for path in others} == kept


def test_a_file_that_was_cut_short_is_stored_and_still_refused(orthanc: Orthanc, tmp_path: Path) -> None:
    frame = compressed_frame(ramp(), JPEG2000Lossless)
    film = make_dicom(ramp(), StudyInstanceUID="1.2.826.9", StudyDate="20250101", PatientID="CANARYID9")
    orthanc.put(save(film, tmp_path / "cut.dcm", JPEG2000Lossless, frame[: int(0.7 * len(frame))]))

    (row,) = read_server(orthanc.url, tmp_path / "retrieved", patient="CANARYID9", workers=1).rows

    assert row.study is not None
    with pytest.raises(DataError) as caught:
        read_study(row.study, row.case_id)
    assert caught.value.code == Reason.CORRUPT


def test_nothing_of_a_patient_is_said(
    orthanc: Orthanc, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        cohort = read_server(orthanc.url, tmp_path, patient="CANARYID", workers=1)
        with pytest.raises(CohortError) as caught:
            read_server(orthanc.url, tmp_path, patient="CANARYIDX", workers=1)

    told = json.dumps([caplog.text, *capfd.readouterr(), str(caught.value), repr(cohort), *cohort.remarks])
    assert not any(word in told for word in (*CANARIES, PASSWORD, "1.2.826"))


@pytest.mark.parametrize("password", ["", "wrong"])
def test_a_server_that_refuses_access_is_told(orthanc: Orthanc, password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(dicomweb.PASSWORD, password)

    with Server(orthanc.url) as server, pytest.raises(CohortError, match=r"refuses access \(401\). Set MEDMM_DICOMWEB"):
        server.find(modality="CR")


def test_a_query_is_scored_in_one_command(orthanc: Orthanc, folder: Path, tmp_path: Path) -> None:
    from medmm.config import RunConfig
    from medmm.model.folder import Model
    from pipelines import score
    from tests.models import random_model

    made = random_model(RunConfig())
    Model.save(tmp_path / "model", made.card, made.network, made.encoders)
    query = score.Query(patient="CANARYID", date="20260102", modality="CR")

    first = score.score_studies(orthanc.url, tmp_path / "model", tmp_path / "out", query, score.Manner(workers=1))
    again = score.score_studies(orthanc.url, tmp_path / "model", tmp_path / "out", query, score.Manner(workers=1))

    assert (first.scored, first.refused) == (1, ())
    assert (again.scored, again.known) == (0, 1)
    assert list(said(tmp_path / "out")) == [f"study-{hashed('1.2.826.1')}"]
