"""The `medmm` command: one recipe a command, each of which says what went wrong in one line and what to do about it.

Heavy libraries are imported inside the commands, so that help answers at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from medmm.errors import MedmmError

LOOK, FATAL = 2, 3
"""Exit codes: done, and something wants a look (cases refused, a leak, a drift); nothing could be done."""

app = typer.Typer(
    name="medmm",
    help="Medical image-plus-record diagnosis support: DICOM studies, notes and records in; calibrated, explained, "
    "reviewable findings out. Decision support for research, not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Dates = Literal["shift", "remove"]
BurnedIn = Literal["mask", "refuse"]
CohortFolder = Annotated[Path, typer.Argument(help="Folder with cases.csv, studies and, if there is one, cohort.toml.")]
Columns = Annotated[
    Path | None, typer.Option(help="What the columns of cases.csv are, instead of COHORT/cohort.toml or a guess.")
]
Port = Annotated[int, typer.Option(min=1, max=65535, help="Where the screen listens on 127.0.0.1.")]
Cache = Annotated[Path | None, typer.Option(help="Folder of encoded studies; runs may share it.")]
External = Annotated[
    bool, typer.Option("--external", help="COHORT is another one than the run's, although case ids are the same.")
]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes that decode studies; one a core if not given.")]


@contextmanager
def one_line_errors(out: Path) -> Iterator[None]:
    """Turn what medmm raises on purpose, and what the disk says, into one line on standard error and exit code 3.

    A file is named only if it lies in `out`: the name of any other may be a patient's.
    """
    try:
        yield
    except MedmmError as problem:
        typer.echo(f"medmm: {problem}", err=True)
        raise typer.Exit(FATAL) from None
    except OSError as problem:
        ours = problem.filename is not None and Path(os.fsdecode(problem.filename)).is_relative_to(out)
        where, what = problem.filename if ours else "a file", problem.strerror or type(problem).__name__
        typer.echo(f"medmm: {where}: {what}. Check the path, its permissions and the room on its disk.", err=True)
        raise typer.Exit(FATAL) from None
    except KeyboardInterrupt:
        typer.echo("medmm: stopped; give the same command to go on", err=True)
        raise typer.Exit(130) from None


@app.command(short_help="Train on a cohort and report.")
def train(
    cohort: CohortFolder,
    out: Annotated[Path, typer.Option(help="Folder of the run; the same command goes on after a stop.")],
    config: Annotated[Path | None, typer.Option(help="run.toml with the dials of training.")] = None,
    columns: Columns = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Overrides [training] seed.")] = None,
    folds: Annotated[
        int | None, typer.Option(min=2, max=20, help="K-fold by patient, instead of one hold-out: [split] folds.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Overrides [training] epochs, the most of a stage.")] = None,
    cache: Cache = None,
    workers: Workers = None,
) -> None:
    """Train on a cohort, and set the result beside its floors on test patients: OUT/model, OUT/report.html.

    With --folds every patient is tested once, by a model that never saw it: OUT/fold-1 and so on; OUT/model then learns
    from all of them. Several processes or GPUs: accelerate launch --multi_gpu -m pipelines.cli train ...
    """
    from pipelines.train import train_cohort

    with one_line_errors(out):
        train_cohort(
            cohort,
            out,
            config=config,
            columns=columns,
            seed=seed,
            folds=folds,
            epochs=epochs,
            cache=cache,
            workers=workers,
        )


@app.command(short_help="Write the run.toml that suits a cohort and a time.")
def plan(
    cohort: CohortFolder,
    out: Annotated[Path, typer.Option(help="Where the run.toml goes; a file that is there is not overwritten.")] = Path(
        "run.toml"
    ),
    budget: Annotated[str, typer.Option(help="Time for all of training: 90s, 10m, 2h.")] = "10m",
    columns: Columns = None,
) -> None:
    """Look at a cohort and this machine, and write the dials of `medmm train`, each with its reason."""
    from pipelines.plan import plan_cohort

    with one_line_errors(out.parent):
        plan_cohort(cohort, out, budget=budget, columns=columns)


pretrain = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(
    pretrain,
    name="pretrain",
    short_help="Teach the encoders on what nobody labelled.",
    help="Teach an encoder on what nobody labelled, and leave a folder that [encoders] of run.toml takes.",
)
Unlabelled = Annotated[
    Path, typer.Argument(metavar="SOURCE", help="A cohort, or a bare folder of studies; labels are not looked at.")
]
Pretrained = Annotated[Path, typer.Option(help="Folder of the encoder; the same command goes on after a stop.")]
Begin = Annotated[Path | None, typer.Option(help="run.toml whose [encoders] are taught.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="At most so many; it stops early by itself.")]
Budget = Annotated[str | None, typer.Option(help="Time for learning: 90s, 10m, 2h; no epoch begins after it.")]
Seed = Annotated[int, typer.Option(min=0, help="Of everything random.")]
LeaveOut = Annotated[
    Path | None, typer.Option(help="A run of `medmm train` on this cohort, whose test patients are left out.")
]


@pretrain.command("notes", short_help="The text encoder, on notes.")
def pretrain_notes(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A cohort with notes, or a folder of .txt files, read whole.")
    ],
    out: Pretrained,
    config: Begin = None,
    epochs: Epochs = None,
    budget: Budget = None,
    seed: Seed = 0,
    leave_out: LeaveOut = None,
) -> None:
    """Hidden words: the text encoder learns how notes are written. OUT is a Hugging Face folder."""
    from pipelines.pretrain import Wish, notes

    with one_line_errors(out):
        notes(Wish(source, out, config, epochs, budget, seed, leave_out))


@pretrain.command("images", short_help="The image encoder, on studies.")
def pretrain_images(
    source: Unlabelled,
    out: Pretrained,
    config: Begin = None,
    epochs: Epochs = None,
    budget: Budget = None,
    seed: Seed = 0,
    leave_out: LeaveOut = None,
    workers: Workers = None,
) -> None:
    """SimCLR: the image encoder learns what two views of one picture have in common."""
    from pipelines.pretrain import Wish, images

    with one_line_errors(out):
        images(Wish(source, out, config, epochs, budget, seed, leave_out, workers))


@pretrain.command("pairs", short_help="Both encoders, on studies with their notes.")
def pretrain_pairs(
    source: Unlabelled,
    out: Pretrained,
    config: Begin = None,
    epochs: Epochs = None,
    budget: Budget = None,
    seed: Seed = 0,
    leave_out: LeaveOut = None,
    workers: Workers = None,
) -> None:
    """ConVIRT: both encoders learn to find each study's note, and each note's study. OUT/image and OUT/text."""
    from pipelines.pretrain import Wish, pairs

    with one_line_errors(out):
        pairs(Wish(source, out, config, epochs, budget, seed, leave_out, workers))


@app.command(short_help="Judge a model on cases that it never saw.")
def evaluate(
    run: Annotated[Path, typer.Argument(help="The run that `medmm train` wrote.")],
    cohort: CohortFolder,
    out: Annotated[Path, typer.Option(help="Where report.html, model_card.html and metrics.json go.")],
    external: External = False,
    cache: Cache = None,
    workers: Workers = None,
) -> None:
    """Of the run's own cohort only patients that it has not met are judged; any other cohort is judged whole.

    Exit code 0 if every case was read, 2 if some were refused (quarantine.csv says why), 3 if nothing could be done.
    """
    from pipelines.evaluate import evaluate_run

    with one_line_errors(out):
        if evaluate_run(run, cohort, out, external=external, cache=cache, workers=workers).summary.refused:
            raise typer.Exit(LOOK)


@app.command(short_help="Set two models side by side on cases that neither has met.")
def compare(
    first: Annotated[Path, typer.Argument(help="A run.")],
    second: Annotated[Path, typer.Argument(help="Another run; differences are this one less the first.")],
    cohort: CohortFolder,
    out: Annotated[Path, typer.Option(help="Where compare.html, compare.json and compare.csv go.")],
    external: External = False,
    cache: Cache = None,
    workers: Workers = None,
) -> None:
    """Paired differences of AUROC with intervals and DeLong's test, McNemar's at the thresholds, calls that changed."""
    from pipelines.compare import compare_runs

    with one_line_errors(out):
        compare_runs(first, second, cohort, out, external=external, cache=cache, workers=workers)


@app.command(short_help="Fit a trained model to another place, without training it.")
def calibrate(
    run: Annotated[Path, typer.Argument(help="The run that `medmm train` wrote, or its model folder.")],
    out: Annotated[Path, typer.Option(help="Where the model that fits goes: OUT/model.")],
    cohort: Annotated[
        Path | None, typer.Argument(help="Local cases. With labels they choose anew; without, their prevalence counts.")
    ] = None,
    prevalence: Annotated[
        list[str] | None, typer.Option(help="LABEL=SHARE where it is known, once a label; instead of a cohort.")
    ] = None,
    cache: Cache = None,
    workers: Workers = None,
) -> None:
    """Calibration, thresholds and limits chosen on local patients, or moved to a prevalence that is known or estimated.

    What the model learnt from images and notes stays as it is.
    """
    from pipelines.calibrate import calibrate_model

    with one_line_errors(out):
        calibrate_model(run, cohort, out, prevalence=prevalence or (), cache=cache, workers=workers)


@app.command(short_help="Say what is there; train nothing.")
def check(
    cohort: Annotated[Path, typer.Argument(help="A cohort, or a bare folder or archive of studies.")],
    out: Annotated[Path, typer.Option(help="Where check.html, check.csv and a first cohort.toml go.")] = Path("check"),
    columns: Columns = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the split that the leak audit judges.")] = 0,
    workers: Workers = None,
) -> None:
    """Read everything and train nothing: check.html and check.csv, a leak audit, a first cohort.toml.

    Exit code 0 if all is well, 2 if cases were refused or a leak was found, 3 if nothing could be read.
    """
    from pipelines.check import check_cohort

    with one_line_errors(out):
        done = check_cohort(cohort, out, columns=columns, seed=seed, workers=workers)
    if not done.surveyed:
        raise typer.Exit(FATAL)
    if done.refused or done.audit.verdict == "leak":
        raise typer.Exit(LOOK)


@app.command(short_help="Remove identities from a cohort or a folder of studies.")
def deidentify(
    source: Annotated[
        Path,
        typer.Argument(metavar="IN", help="A cohort with its cohort.toml, or a bare folder of studies."),
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Where cases without identities go; a rerun does only what is left.")
    ],
    key: Annotated[Path, typer.Option(help="Secret of the pseudonyms, made if absent; keep it outside IN and OUT.")],
    dates: Annotated[
        Dates, typer.Option(help="Move dates by the patient's own number of days, or remove them.")
    ] = "shift",
    burned_in: Annotated[BurnedIn, typer.Option(help="Mask text in pixels, or refuse such a case.")] = "mask",
    workers: Workers = None,
) -> None:
    """Headers by PS3.15 Basic Profile, text in pixels, notes and tables; every file verified: OUT/deidentification.csv.

    Exit code 0 if every case was done, 2 if some were refused, 3 if nothing could be done.
    """
    from pipelines.deidentify import deidentify_folder

    with one_line_errors(out):
        if deidentify_folder(source, out, key, dates=dates, burned_in=burned_in, workers=workers).refused:
            raise typer.Exit(LOOK)


@app.command(short_help="Score studies from a folder, an archive or a PACS.")
def score(
    studies: Annotated[
        str,
        typer.Argument(help="A cohort, a folder of studies, a .zip, a DICOMDIR, or the URL of a DICOMweb server."),
    ],
    model: Annotated[Path, typer.Option(help="The run that `medmm train` wrote, or its model folder.")],
    out: Annotated[Path, typer.Option(help="Where predictions go; a rerun does only what is left.")],
    patient: Annotated[str, typer.Option(help="Of a server: Patient ID.")] = "",
    date: Annotated[str, typer.Option(help="Of a server: YYYYMMDD, or YYYYMMDD-YYYYMMDD.")] = "",
    modality: Annotated[str, typer.Option(help="Of a server: CR, DX, CT, ...")] = "",
    deletions: Annotated[
        bool,
        typer.Option("--deletions", help="Say without which parts a flagged finding would not be; seconds a finding."),
    ] = False,
    workers: Workers = None,
) -> None:
    """Score studies: Parquet, CSV, quarantine.csv and the store that `medmm review` opens.

    Exit code 0 if every case was scored, 2 if some were refused (quarantine.csv says why), 3 if nothing could be done.
    """
    from pipelines.score import Query, score_studies

    with one_line_errors(out):
        query = Query(patient, date, modality)
        if score_studies(studies, model, out, query, workers=workers, deletions=deletions).refused:
            raise typer.Exit(LOOK)


@app.command(short_help="Say whether what is scored has drifted.")
def monitor(
    out: Annotated[Path, typer.Argument(help="The folder that `medmm score` wrote.")],
    report: Annotated[
        Path | None, typer.Option(help="Where monitor.html and monitor.json go; OUT if not given.")
    ] = None,
) -> None:
    """Compare every window of the scoring history with the first ones: monitor.html and monitor.json.

    Exit code 0 if nothing drifted (also if it is too early to say), 2 if something did, 3 if there is no history.
    """
    from pipelines.monitor import monitor_folder

    with one_line_errors(report or out):
        found = monitor_folder(out, report)
    if any(drift.judgement == "drifted" for drift in found):
        raise typer.Exit(LOOK)


@app.command(short_help="Open the review screen.")
def review(
    out: Annotated[Path, typer.Argument(help="The folder that `medmm score` wrote.")],
    port: Port = 8501,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
) -> None:
    """Open the review screen on 127.0.0.1."""
    from ui.serve import review as show

    with one_line_errors(out):
        raise typer.Exit(show(out, port, browser))


@app.command(short_help="All of it, on the sample cohort.")
def demo(
    folder: Annotated[Path, typer.Argument(help="Where everything goes; the same command goes on after a stop.")],
    patients: Annotated[int, typer.Option(min=60, help="Patients of the sample cohort.")] = 900,
    seed: Annotated[int, typer.Option(min=0, help="Of the cohort, the split and training.")] = 0,
    port: Port = 8501,
    browser: Annotated[
        bool, typer.Option(help="Without it the screen is left running and its address printed.")
    ] = True,
) -> None:
    """Make the sample cohort, train on it, score its test patients and open the review screen."""
    from pipelines.demo import run_demo

    with one_line_errors(folder):
        run_demo(folder, patients, seed, port=port, browser=browser)


if __name__ == "__main__":  # python -m pipelines.cli, which is what accelerate and torchrun start
    app()
