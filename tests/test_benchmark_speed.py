"""The benchmark of speed: its studies are what they say, and a whole run on small ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid

from benchmarks.speed import studies
from benchmarks.speed.__main__ import main
from benchmarks.speed.rounds import ENCODED, limit_of
from benchmarks.speed.studies import STORED, Kind, write_stored
from medmm.read.dicom.study import read_study
from tests.cohorts import Run
from tests.dicom_files import make_dicom, ramp

SMALL = (Kind("raw", 100, 130, uid.ExplicitVRLittleEndian), Kind("J2K", 800, 1000, uid.JPEG2000Lossless))


@pytest.mark.parametrize("syntax", STORED, ids=lambda syntax: syntax.keyword)
def test_a_film_is_stored_in_the_syntax_that_it_is_named_by(tmp_path: Path, syntax: uid.UID) -> None:
    path = tmp_path / "film.dcm"

    write_stored(path, make_dicom(ramp(), WindowCenter=2048, WindowWidth=4096), ramp(), syntax)

    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == syntax
    off = np.abs(read_study(path, "c1").images[0].pixels * 4095 - ramp())
    assert off.max() <= (0.51 if syntax != uid.JPEG2000 else 60)


def test_the_additive_limit_is_cores_by_core_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)

    spent = {"decode": 0.5, "encode": 1.0, "answer": 0.0, "explain": 0.5, "by hand": 7.0}
    assert limit_of(spent) == 2


def test_a_run_is_measured_all_the_way_and_beside_a_pipeline_written_by_hand(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "KINDS", SMALL)
    asked = ["--rounds", "1", "--studies", "3", "--small", "3"]

    assert main([str(run.out), "--out", str(tmp_path), *asked]) == 0

    written = json.loads((tmp_path / "speed.json").read_text("utf-8"))
    for line, kind in zip(written["kinds"], SMALL, strict=True):
        assert line["kind"] == kind.name
        assert line["F"] == pytest.approx(line["end_to_end"] / line["forward"])
        assert line["E"] == pytest.approx(line["end_to_end"] / limit_of(line["core_seconds"]))
        assert line["F from cache"] == pytest.approx(line["cached"] / line["forward"])
        assert line["E from cache"] == pytest.approx(line["cached"] / limit_of(line["core_seconds"], ENCODED))
        assert all(seconds > 0 for seconds in line["core_seconds"].values())
        assert all(len(values) == 1 and values[0] > 0 for values in line["rounds"].values())
    assert written["kinds"][0]["reduced_changes"] == 0
    assert 0 < written["kinds"][1]["reduced_changes"] < 0.1
    assert len(written["films"]) == len(SMALL) * len(STORED)
    assert written["scan"]["studies"] == 3
    assert "| J2K |" in (tmp_path / "speed.md").read_text("utf-8")


def test_a_folder_that_is_no_run_is_said_to_be_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--out", str(tmp_path / "out"), "--rounds", "1"]) == 3

    assert "is not a model folder" in capsys.readouterr().out.replace("\n", " ")
