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

from medmm.errors import ConfigError, MedmmError
from pipelines.form import Form

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
Database = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="MEDMM_STORE",
        show_default=False,
        help="URL of a database, instead of the store in the folder.",
    ),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes at a time; one a core if not given.")]


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
        named = problem.filename is not None and Path(os.fsdecode(problem.filename)).absolute()
        ours = named and named.is_relative_to(out.absolute())
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
    external: External = False,
    cache: Cache = None,
    workers: Workers = None,
) -> None:
    """Calibration, thresholds and limits chosen on local patients, or moved to a prevalence that is known or estimated.

    What the model learnt from images and notes stays as it is. Patients that it has met are left out.
    """
    from pipelines.calibrate import calibrate_model

    with one_line_errors(out):
        calibrate_model(run, cohort, out, prevalence=prevalence or (), external=external, cache=cache, workers=workers)


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
    shard: Annotated[
        str,
        typer.Option(metavar="I/N", help="Score the Ith of N parts, each on a machine and into a folder of its own."),
    ] = "",
    watch: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="SECONDS", help="Look again this often, and score what is new, until Ctrl+C."),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Where: on this machine, or on a Ray cluster (docs/scaling.md).")
    ] = "local",
    ray_address: Annotated[
        str,
        typer.Option(
            envvar="RAY_ADDRESS",
            help="Of a running Ray: HOST:PORT, or auto for the one of this machine; local starts one here.",
        ),
    ] = "local",
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder for encoded cases: another model with the same encoders, or another OUT, needs no decoding."
        ),
    ] = None,
    store: Database = None,
    workers: Workers = None,
) -> None:
    """Score studies: Parquet, CSV, quarantine.csv and the store that `medmm review` opens.

    Exit code 0 if every case was scored, 2 if some were refused (quarantine.csv says why), 3 if nothing could be done.
    A run that was killed goes on with the same command. With --watch a study is scored once its files have not changed
    from one look to the next; Ctrl+C finishes the case in hand, and the exit code is 0.
    With --store, postgresql://... or sqlite:///..., several parts may be scored into one database; its password belongs
    into MEDMM_STORE, PGPASSWORD or .pgpass. What --cache holds is as private as OUT, and may be deleted at any time.
    """
    from medmm.score.shard import Shard
    from pipelines.score import Manner, Query, score_studies

    with one_line_errors(out):
        query, cluster = Query(patient, date, modality), ray_address if engine == "ray" else None
        manner = Manner(workers, deletions, Shard.parse(shard) if shard else None, cluster, store, cache)
        if watch is not None:
            if cluster is not None:
                raise ConfigError("a folder is watched by one machine", "Leave out --watch, or --engine ray")
            from pipelines.watch import watch_studies

            watch_studies(studies, model, out, query, watch, manner)
            return
        done = score_studies(studies, model, out, query, manner)
        if done.refused:
            raise typer.Exit(LOOK)


@app.command(short_help="Write what was said for a PACS, a record system or paper.")
def export(
    out: Annotated[Path, typer.Argument(help="The folder that `medmm score` wrote.")],
    forms: Annotated[
        list[Form] | None,
        typer.Option(
            "--as",
            help="Once for each: DICOM SR (the default), Secondary Capture, Parametric Map, FHIR, PDF.",
        ),
    ] = None,
    flagged_only: Annotated[
        bool, typer.Option("--flagged-only", help="Only cases with a flagged finding, and overlays of what is flagged.")
    ] = False,
    store: Database = None,
) -> None:
    """Write predictions and reviews of the store into OUT/export; a rerun writes only what is new.

    Exit code 0 if all was written, 2 if some could not be (export.csv says why), 3 if nothing could be done.
    """
    from pipelines.export import export_folder

    with one_line_errors(out):
        if export_folder(out, forms or [Form.SR], flagged_only=flagged_only, store=store).refused:
            raise typer.Exit(LOOK)


@app.command(short_help="Say whether what is scored has drifted.")
def monitor(
    out: Annotated[Path, typer.Argument(help="The folder that `medmm score` wrote.")],
    report: Annotated[
        Path | None, typer.Option(help="Where monitor.html and monitor.json go; OUT if not given.")
    ] = None,
    store: Database = None,
) -> None:
    """Compare every window of the scoring history with the first ones: monitor.html and monitor.json.

    Exit code 0 if nothing drifted (also if it is too early to say), 2 if something did, 3 if there is no history.
    """
    from pipelines.monitor import monitor_folder

    with one_line_errors(report or out):
        found = monitor_folder(out, report, store)
    if any(drift.judgement == "drifted" for drift in found):
        raise typer.Exit(LOOK)


@app.command(short_help="Open the review screen.")
def review(
    out: Annotated[Path, typer.Argument(help="The folder that `medmm score` wrote.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where to listen.")] = 8501,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    host: Annotated[str, typer.Option(help="Where to listen; beyond this machine only with --auth.")] = "127.0.0.1",
    auth: Annotated[
        Path | None, typer.Option(help="TOML file: OpenID Connect provider, and who is reader, lead or admin.")
    ] = None,
    store: Database = None,
) -> None:
    """Open the review screen, for this machine alone or, with --auth, behind a login: docs/review.md.

    A password of --store belongs into MEDMM_STORE, PGPASSWORD or .pgpass: others may read a command line.
    """
    from ui.serve import Place
    from ui.serve import review as show

    with one_line_errors(out):
        raise typer.Exit(show(out, port, browser, Place(host, auth, store)))


audit = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(
    audit,
    name="audit",
    short_help="Check and export what people decided.",
    help="Check the audit trail of a scored folder, and take what people decided out of it.",
)
Audited = Annotated[
    str, typer.Argument(metavar="OUT", help="The folder that `medmm score` wrote, or the URL of a PostgreSQL store.")
]


@audit.command("verify", short_help="Whether nobody changed the trail.")
def audit_verify(
    out: Audited,
    expect: Annotated[str | None, typer.Option(help="The head that an earlier verification printed.")] = None,
) -> None:
    """Walk the audit trail and find what was changed, deleted, inserted or moved; print its head.

    Exit code 0 if it is as it was written, 2 if not, 3 if there is no store.
    """
    from pipelines.audit import verify_trail

    with one_line_errors(Path(out)):
        if verify_trail(out, expect).faults:
            raise typer.Exit(LOOK)


@audit.command("export", short_help="What people did as CSV, or a cohort to train on.")
def audit_export(
    out: Audited,
    kind: Annotated[
        Literal["csv", "cohort"], typer.Option("--as", help="Every event and what stands, or cases with their labels.")
    ],
    to: Annotated[Path, typer.Option(help="Folder to write into.")],
) -> None:
    """csv: events.csv, with every hash, and decisions.csv. cohort: what people decided, ready for `medmm train`.

    Exit code 0 if it was written, 3 if there is no store, or for a cohort if nothing is decided or one is there.
    """
    from pipelines.audit import export_trail

    with one_line_errors(to):
        export_trail(out, kind, to)


@app.command(short_help="Send what was exported to a PACS.")
def send(
    out: Annotated[Path, typer.Argument(help="The folder that `medmm export` wrote into.")],
    to: Annotated[str, typer.Option(help="https://host/dicom-web (STOW-RS), or dicom://AET@host:port (C-STORE).")],
    ours: Annotated[str, typer.Option("--as", help="Our AE title, for C-STORE.")] = "MEDMM",
    patience: Annotated[float, typer.Option(min=0, help="Seconds that the PACS may be away.")] = 60.0,
) -> None:
    """Send the DICOM objects below OUT/export, each until it is acknowledged; a rerun sends only what is left.

    Exit code 0 if all are acknowledged, 2 if some wait or were refused, 3 if nothing could be done. Credentials as for
    `medmm score`: MEDMM_DICOMWEB_USER and _PASSWORD, or _TOKEN, or .netrc.
    """
    from pipelines.send import send_folder

    with one_line_errors(out):
        done = send_folder(out, to, ours=ours, patience_s=patience)
    if done.waiting or done.refused:
        raise typer.Exit(LOOK)


@app.command(short_help="Answer over HTTP, a study or a bundle of them a request.")
def serve(
    model: Annotated[Path, typer.Argument(help="The run that `medmm train` wrote, or its model folder.")],
    host: Annotated[str, typer.Option(help="Where to listen; beyond this machine only with a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where to listen.")] = 8000,
    certificate: Annotated[Path | None, typer.Option(help="PEM file, for https.")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file with the certificate's key.")] = None,
    waiting: Annotated[int, typer.Option(min=1, help="Requests served or waiting at a time; more are told 503.")] = 16,
    upload_mib: Annotated[int, typer.Option(min=1, help="The most that a request may bring, in MiB.")] = 1024,
    workers: Workers = None,
) -> None:
    """POST /v1/predictions: DICOM, note and record in; findings out as JSON, FHIR or DICOM SR. OpenAPI: /openapi.json.

    Clients bear the token of the environment variable MEDMM_SERVE_TOKEN; without one, this machine alone is answered.
    """
    from pipelines.serve import Place, serve_model

    with one_line_errors(model):
        where = Place(host, port, certificate, key)
        serve_model(model, where, waiting=waiting, upload_mib=upload_mib, workers=workers)


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
