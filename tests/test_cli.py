"""What the command promises: help at once, an exit code for each end, and one line that says what to do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner, Result

from medmm.config import RunConfig, read_toml
from medmm.read.cohort import read_cohort
from medmm.read.pool import read_cases
from medmm.store.store import Store
from pipelines import plan, terminal
from pipelines.cli import app
from tests.cohorts import RUN_TOML, Run, copy_cohort, table, write_table

COMMANDS = ("train", "plan", "pretrain", "check", "deidentify", "score", "review", "demo")
HEAVY = ("torch", "monai", "transformers", "streamlit", "pandas", "matplotlib", "sklearn", "pyarrow", "sqlalchemy")
FRESH = """
import json, sys
from typer.testing import CliRunner
from pipelines.cli import app
asked = [["--help"], *([name, "--help"] for name in {commands})]
codes = [CliRunner().invoke(app, arguments).exit_code for arguments in asked]
print(json.dumps([codes, sorted({heavy} & set(sys.modules))]))
"""


def medmm(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def assert_one_line(done: Result, *words: str) -> None:
    """Exit code 3 and one line on standard error: the problem, then the remedy."""
    assert done.exit_code == 3, done.output
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("medmm: ")
    assert "Traceback" not in done.output
    for word in words:
        assert word in done.stderr


def test_help_answers_without_loading_anything_heavy() -> None:
    code = FRESH.format(commands=COMMANDS, heavy=set(HEAVY))

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert json.loads(said.stdout) == [[0] * (1 + len(COMMANDS)), []]


def test_help_names_every_command_and_every_command_says_what_it_needs() -> None:
    assert all(name in medmm("--help").stdout for name in COMMANDS)
    for name in COMMANDS:
        assert f"Usage: medmm {name}" in " ".join(medmm(name, "--help").stdout.split())


def test_the_installed_command_is_this_one() -> None:
    (command,) = entry_points(group="console_scripts", name="medmm")

    assert command.load() is app


def test_an_unknown_dial_is_one_line_that_names_its_neighbour(sample: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("[training]\nlearning_rat = 0.1\n")

    done = medmm("train", sample, "--out", tmp_path / "run", "--config", tmp_path / "run.toml")

    assert_one_line(done, "unknown key 'learning_rat'", "Did you mean 'learning_rate'")
    assert not (tmp_path / "run").exists()


def test_a_missing_column_is_one_line_that_names_its_neighbour(sample: Path, tmp_path: Path) -> None:
    def rename(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        return [{name.replace("crp_mg_l", "crp_mgl"): cell for name, cell in row.items()} for row in rows]

    done = medmm("train", copy_cohort(sample, tmp_path / "cohort", rename), "--out", tmp_path / "run")

    assert_one_line(done, "no column 'crp_mg_l'", "Did you mean 'crp_mgl'")


def test_an_empty_cohort_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    done = medmm("score", tmp_path / "empty", "--model", run.out, "--out", tmp_path / "out")

    assert_one_line(done, "empty cohort", "Put each study into a folder of its own")


def test_a_cohort_without_a_table_cannot_be_trained_on(tmp_path: Path) -> None:
    assert_one_line(medmm("train", tmp_path, "--out", tmp_path / "run"), "cases.csv is not there", "Check the folder")


def test_a_folder_that_is_no_model_is_one_line(sample: Path, tmp_path: Path) -> None:
    done = medmm("score", sample, "--model", tmp_path, "--out", tmp_path / "out")

    assert_one_line(done, "is not a model folder", "Give the folder that 'medmm train' wrote")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_was_not_scored_cannot_be_reviewed(tmp_path: Path) -> None:
    done = medmm("review", tmp_path, "--no-browser")

    assert_one_line(done, "Give the folder that 'medmm score' wrote")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_model_is_one_line(sample: Path, run: Run, tmp_path: Path) -> None:
    model = Path(shutil.copytree(run.out / "model", tmp_path / "model"))
    (model / "network.safetensors").write_bytes(b"cut")

    assert_one_line(medmm("score", sample, "--model", model, "--out", tmp_path / "out"), "damaged", "Copy the folder")


def out_is_a_file(out: Path) -> None:
    out.write_text("mine")


def out_holds_a_table_folder(out: Path) -> None:
    (out / "predictions.csv").mkdir(parents=True)


@pytest.mark.parametrize("spoil", [out_is_a_file, out_holds_a_table_folder])
def test_what_the_disk_refuses_is_one_line(
    sample: Path, run: Run, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(tmp_path / "out")
    few = copy_cohort(sample, tmp_path / "few", lambda rows: rows[:1])

    done = medmm("score", few, "--model", run.out, "--out", tmp_path / "out", "--workers", 1)

    assert done.exit_code == 3
    assert done.stderr.splitlines()[-1].startswith("medmm: ")
    assert "Check the path, its permissions and the room on its disk." in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["score", ".", "--model", ".", "--out", ".", "--workers", "0"],
        ["train", "."],
        ["review", ".", "--port", "70000"],
        ["demo", ".", "--patients", "3"],
        ["unknown"],
    ],
    ids=["no workers", "no --out", "no such port", "too few patients", "no such command"],
)
def test_a_wrong_command_line_is_refused_before_anything_happens(arguments: list[str]) -> None:
    done = medmm(*arguments)

    assert done.exit_code == 2
    assert "Usage:" in done.stderr
    assert "Traceback" not in done.output


def test_scoring_ends_with_0_if_every_case_was_scored_and_with_2_if_some_were_refused(
    sample: Path, run: Run, tmp_path: Path
) -> None:
    whole = copy_cohort(sample, tmp_path / "whole", lambda rows: rows[:2])
    spoilt = copy_cohort(sample, tmp_path / "spoilt", lambda rows: [rows[0], rows[1] | {"study": "studies/none"}])

    codes = [
        medmm("score", folder, "--model", run.out, "--out", tmp_path / f"{folder.name}-out", "--workers", 1).exit_code
        for folder in (whole, spoilt)
    ]

    assert codes == [0, 2]


def test_a_model_folder_and_the_run_around_it_are_the_same_model(sample: Path, run: Run, tmp_path: Path) -> None:
    few = copy_cohort(sample, tmp_path / "few", lambda rows: rows[:1])

    for name, model in {"run": run.out, "model": run.out / "model"}.items():
        assert medmm("score", few, "--model", model, "--out", tmp_path / name, "--workers", 1).exit_code == 0

    contents = [(tmp_path / name / "predictions.csv").read_bytes() for name in ("run", "model")]
    assert contents[0] == contents[1]


def test_training_leaves_a_model_a_report_the_split_and_the_reasons(
    sample: Path, features: Path, tmp_path: Path
) -> None:
    (tmp_path / "run.toml").write_text(RUN_TOML)
    spoilt = copy_cohort(sample, tmp_path / "cohort", lambda rows: [rows[0] | {"age": "old"}, *rows[1:]])
    dials = ["--config", tmp_path / "run.toml", "--seed", "5", "--cache", features, "--workers", "1"]

    done = medmm("train", spoilt, "--out", tmp_path / "run", *dials)

    assert done.exit_code == 0, done.output
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left >= {"model", "report.html", "split.csv", "quarantine.csv", "run.json"}
    assert json.loads((tmp_path / "run" / "run.json").read_text())["run"]["training"]["seed"] == 5
    assert [row["code"] for row in table(tmp_path / "run" / "quarantine.csv")] == ["bad-record"]
    assert "late ensemble (stack)" in done.stdout
    assert "textbook (concatenation)" in done.stdout


def test_folds_end_with_one_report_of_all_of_them(sample: Path, features: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(RUN_TOML)
    dials = ["--config", tmp_path / "run.toml", "--cache", features, "--workers", "1"]

    done = medmm("train", sample, "--out", tmp_path / "run", "--folds", "2", "--epochs", "1", *dials)

    assert done.exit_code == 0, done.output
    said = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (said["folds"], said["test_cases"]) == (2, len(table(sample / "cases.csv")))
    assert "each judged by a model that never saw them" in done.stdout
    assert (tmp_path / "run" / "fold-2" / "model" / "model.json").exists()
    made_of = json.loads((tmp_path / "run" / "run.json").read_text())["run"]
    assert (made_of["split"]["folds"], made_of["training"]["epochs"]) == (2, 1)


def test_a_plan_is_a_run_toml_that_train_takes_with_a_reason_for_every_line(sample: Path, tmp_path: Path) -> None:
    done = medmm("plan", sample, "--out", tmp_path / "run.toml", "--budget", "2m")

    assert done.exit_code == 0, done.output
    lines = (tmp_path / "run.toml").read_text().splitlines()
    chosen = [place for place, line in enumerate(lines) if " = " in line and not line.startswith("#")]
    assert len(chosen) > 5
    for place in chosen:
        assert lines[place - 1].startswith("# ")
        assert lines[place - 1].removeprefix("# ") in done.stdout
    assert read_toml(tmp_path / "run.toml", RunConfig).fusion.modalities == ("image", "note", "record")


def test_the_start_of_what_reads_is_not_taken_for_the_time_that_a_case_takes(
    sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = next(one for _, one in read_cases(read_cohort(sample), read_cohort(sample).rows[:1], 1) if one)

    monkeypatch.setattr(plan, "read_cases", lambda *_: [(None, case)] * 4)
    monkeypatch.setattr(plan, "time", SimpleNamespace(perf_counter=iter([0.0, 100.0, 101.0, 102.0, 103.0]).__next__))

    cases, seconds = plan._few(read_cohort(sample))

    assert (len(cases), seconds) == (4, 1.0)


def test_a_plan_keeps_a_record_whose_values_are_dated_and_whose_studies_alone_say_when(
    sample: Path, tmp_path: Path
) -> None:
    dated = copy_cohort(sample, tmp_path / "dated", lambda rows: [row | {"when": "2020-01-01T08:00"} for row in rows])
    config = (sample / "cohort.toml").read_text()
    (dated / "cohort.toml").write_text(re.sub(r"(\[record\.\w+\]\n)", r'\1taken = "when"\n', config))

    done = medmm("plan", dated, "--out", tmp_path / "run.toml", "--budget", "2m")

    assert done.exit_code == 0, done.output
    assert read_toml(tmp_path / "run.toml", RunConfig).fusion.modalities == ("image", "note", "record")


def test_a_plan_overwrites_nothing_and_knows_what_a_time_is(sample: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("# mine\n")

    assert_one_line(medmm("plan", sample, "--out", tmp_path / "run.toml"), "is there already")
    assert_one_line(medmm("plan", sample, "--out", tmp_path / "new.toml", "--budget", "soon"), "'soon' is no time")

    assert (tmp_path / "run.toml").read_text() == "# mine\n"
    assert not (tmp_path / "new.toml").exists()


@pytest.mark.parametrize("kind", ["tensorboard", "mlflow"])
def test_a_tracker_that_is_not_installed_is_one_line_before_anything_happens(
    sample: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"accelerate.utils.is_{kind}_available", lambda: False)
    (tmp_path / "run.toml").write_text(f'[training]\ntracker = "{kind}"\n')

    done = medmm("train", sample, "--out", tmp_path / "run", "--config", tmp_path / "run.toml")

    assert done.exit_code == 3
    assert f"medmm: tracker '{kind}' is not installed. pip install {kind}" in done.stderr
    assert not (tmp_path / "run").exists()


class Notebook:
    """A tracker that remembers what it was told."""

    def __init__(self) -> None:
        self.dials: dict[str, str] = {}
        self.said: list[tuple[dict[str, float], int | None]] = []
        self.open = False

    def start(self) -> None:
        self.open = True

    def store_init_configuration(self, values: dict[str, str]) -> None:
        self.dials = values

    def log(self, values: dict[str, float], step: int | None = None) -> None:
        assert self.open
        self.said.append((values, step))

    def finish(self) -> None:
        self.open = False


def test_a_tracker_hears_every_epoch_and_the_figures_and_nothing_of_a_patient(
    sample: Path, features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Notebook()
    monkeypatch.setattr("pipelines.tracking.make_tracker", lambda kind, folder: heard)
    (tmp_path / "run.toml").write_text(RUN_TOML + 'tracker = "mlflow"\n')
    dials = ["--config", tmp_path / "run.toml", "--cache", features, "--workers", "1"]

    assert medmm("train", sample, "--out", tmp_path / "run", *dials).exit_code == 0

    history = json.loads((tmp_path / "run/work/model/interaction/done.json").read_text())
    told = [(values, step) for values, step in heard.said if "interaction/held-out loss" in values]
    assert [step for _, step in told] == [epoch["number"] for epoch in history]
    assert [v["interaction/held-out loss"] for v, _ in told] == [epoch["held_out_loss"] for epoch in history]
    figures = json.loads((tmp_path / "run/metrics.json").read_text())["systems"]
    assert heard.said[-1][0]["test macro AUROC/fused"] == pytest.approx(figures[0]["macro"]["value"], abs=1e-6)
    assert heard.dials["training.folds"] == "2"
    assert not heard.open
    everything = repr((heard.dials, heard.said))
    assert not any(row["patient_id"] in everything for row in table(sample / "cases.csv"))


def test_training_into_another_run_is_refused(sample: Path, run: Run, features: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(run.out, tmp_path / "run"))
    (tmp_path / "run.toml").write_text(RUN_TOML)
    dials = ["--config", tmp_path / "run.toml", "--seed", "9", "--cache", features, "--workers", "1"]

    done = medmm("train", sample, "--out", mine, *dials)

    assert done.exit_code == 3
    assert "holds another run" in done.stderr.splitlines()[-1]


def test_columns_can_be_described_apart_from_the_cohort(sample: Path, features: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(RUN_TOML)
    cohort = copy_cohort(sample, tmp_path / "cohort", lambda rows: rows)
    columns = (cohort / "cohort.toml").rename(tmp_path / "columns.toml")
    dials = ["--config", tmp_path / "run.toml", "--cache", features, "--workers", "1", "--columns", columns]

    assert medmm("train", cohort, "--out", tmp_path / "run", *dials).exit_code == 0


def test_names_with_brackets_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.remarks(["column '[/red] :warning:' was left out"])

    assert capsys.readouterr().out == "Note: column '[/red] :warning:' was left out\n"


def test_an_interrupted_command_says_how_to_go_on(
    sample: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.score.score_cohort", interrupted)

    done = medmm("score", sample, "--model", run.out, "--out", tmp_path / "out")

    assert done.exit_code == 130
    assert done.stderr.splitlines()[-1] == "medmm: stopped; give the same command to go on"


def test_a_case_with_an_odd_name_goes_all_the_way(sample: Path, run: Run, tmp_path: Path) -> None:
    name = "[/bold] é, 'x'; 1"
    folder = copy_cohort(sample, tmp_path / "cohort", lambda rows: rows[:2])
    rows = table(folder / "cases.csv")
    write_table(folder / "cases.csv", [rows[0] | {"case_id": name}, rows[1] | {"case_id": "[red]", "age": "old"}])

    done = medmm("score", folder, "--model", run.out, "--out", tmp_path / "[out]", "--workers", 1)

    assert done.exit_code == 2
    assert "case [red]: bad-record" in done.stdout
    assert f"results in {tmp_path / '[out]'}" in done.stdout
    assert {row["case_id"] for row in table(tmp_path / "[out]" / "predictions.csv")} == {name}
    with Store(tmp_path / "[out]" / "store.sqlite") as store:
        assert set(store.contents(run.trained.model.model_id)) == {name}
