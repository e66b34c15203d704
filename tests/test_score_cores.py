"""A process for each core answers as one process does, and nothing that befalls a process befalls the run."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from medmm.errors import ModelError, Reason
from medmm.read.cohort import Cohort
from medmm.read.sources.folder import read_folder
from medmm.score import cores
from medmm.score.content import Beside
from medmm.score.cores import on_cores
from medmm.score.engine import Engine
from medmm.score.here import in_process
from pipelines.score import Manner, find_cases, memory_of, score_cases
from tests import dicom_files
from tests.cohorts import Run, copy_cohort, table
from tests.readers import unlucky_worker

HANDS_OUT = """
import sys
from pathlib import Path
from pipelines.score import Manner, score_folder
done = score_folder(*map(Path, sys.argv[1:]), manner=Manner(workers=1))
print(done.scored, {"torch", "transformers"} & set(sys.modules))
"""


@pytest.fixture(scope="module")
def few(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five cases of the sample, and one that cannot be read."""

    def some(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        broken = {"case_id": "broken", "patient_id": "nobody", "study": "studies/nowhere"}
        return [*[row for row in rows if row["study"]][:5], dict.fromkeys(rows[0], "") | broken]

    return copy_cohort(sample, tmp_path_factory.mktemp("few") / "cohort", some)


@pytest.fixture
def one(tmp_path: Path) -> Cohort:
    """A bare folder of one small study."""
    dicom_files.write(tmp_path / "in" / "film.dcm", dicom_files.ramp())
    return read_folder(tmp_path / "in")


def engine_of(run: Run) -> Engine:
    return on_cores(run.out / "model", run.out / "similar.safetensors")


def files_of(out: Path) -> dict[str, bytes]:
    paths = [path for path in out.rglob("*") if path.is_file() and path.suffix in (".parquet", ".csv", ".json", ".png")]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in paths}


def test_processes_on_all_cores_leave_the_same_bytes_as_one(few: Path, run: Run, tmp_path: Path) -> None:
    model, beside = run.trained.model, Beside(similar=True)
    cohort = find_cases(few, model.card, tmp_path, workers=1)

    for name, engine in (("one", in_process(model, memory_of(run.out))), ("cores", engine_of(run))):
        done = score_cases(model.info, cohort, tmp_path / name, engine, manner=Manner(workers=2), beside=beside)
        assert (done.scored, len(done.refused)) == (5, 1)

    assert files_of(tmp_path / "one") == files_of(tmp_path / "cores")


def test_a_case_that_takes_its_process_with_it_is_a_row_and_the_others_are_scored(
    one: Cohort, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("killed", "greedy", "well")
    cohort = replace(one, rows=tuple(replace(one.rows[0], case_id=name) for name in names))
    monkeypatch.setattr(cores, "answer", unlucky_worker)

    done = score_cases(run.trained.model.info, cohort, tmp_path / "out", engine_of(run), manner=Manner(workers=1))

    codes = {row["case_id"]: row["code"] for row in table(tmp_path / "out" / "quarantine.csv")}
    assert done.scored == 1
    assert codes == {"killed": Reason.CRASH, "greedy": Reason.TOO_LARGE}


def test_a_full_disk_ends_the_run_and_refuses_no_case(
    one: Cohort, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = replace(one, rows=tuple(replace(one.rows[0], case_id=name) for name in ("well", "full")))
    monkeypatch.setattr(cores, "answer", unlucky_worker)

    with pytest.raises(OSError, match="space"):
        score_cases(run.trained.model.info, cohort, tmp_path / "out", engine_of(run), manner=Manner(workers=1))

    monkeypatch.undo()
    again = score_cases(run.trained.model.info, cohort, tmp_path / "out", engine_of(run), manner=Manner(workers=1))
    assert (again.known, again.scored, again.refused) == (1, 1, ())


def test_a_model_that_was_replaced_meanwhile_ends_the_run(one: Cohort, run: Run, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run.out / "model", tmp_path / "model"))
    (other / "model.json").write_text((other / "model.json").read_text().replace(": ", ":  ", 1))

    with pytest.raises(ModelError, match="another model"):
        score_cases(run.trained.model.info, one, tmp_path / "out", on_cores(other, None), manner=Manner(workers=1))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is used by the command itself")
def test_the_command_that_hands_out_cases_holds_neither_torch_nor_a_model(
    one: Cohort, run: Run, tmp_path: Path
) -> None:
    places = [str(one.folder), str(run.out), str(tmp_path / "out")]

    told = subprocess.run([sys.executable, "-c", HANDS_OUT, *places], capture_output=True, text=True, check=True).stdout

    assert told.splitlines()[-1] == "1 set()"
