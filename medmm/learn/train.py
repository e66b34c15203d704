"""Training as one recipe: split by patient, encode once, fit, judge, save. Resumes wherever it was stopped."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from medmm.case import MODALITIES
from medmm.config import FusionConfig, RunConfig
from medmm.errors import CohortError, ConfigError, DataError
from medmm.files import write_whole
from medmm.judge.comparison import Comparison
from medmm.judge.metrics import youden_threshold
from medmm.learn.encode import EncodedRow, encode_cohort
from medmm.learn.fit import Epoch, Examples, infer
from medmm.learn.fuse import late_ensemble, stacked_ensemble, train_network
from medmm.learn.split import Part, split_patients
from medmm.model.encode import Encoders
from medmm.model.folder import Card, Model, build_network
from medmm.model.fusion import Fusion, Network
from medmm.read.cohort import Cohort
from medmm.tensors import RecordBins


class Listener(Protocol):
    """Who is told how far training has come."""

    def encoded(self, done: int, total: int) -> None:
        """After each case that went through the encoders."""

    def epoch(self, stage: str, epoch: Epoch) -> None:
        """After each epoch of a stage."""


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A model, what it can do, and what it never saw."""

    model: Model
    comparison: Comparison
    refused: tuple[DataError, ...]
    gates: np.ndarray | None
    """(patterns, L) share of the interaction that validation paid for; None for the textbook model."""


FUSED = "fused"
LATE = "late ensemble (mean)"
STACK = "late ensemble (stack)"
TEXTBOOK = "textbook (concatenation)"


def train(
    cohort: Cohort, run: RunConfig, out: Path, cache: Path, listener: Listener, workers: int | None = None
) -> Trained:
    """Train on a cohort and compare the result with its floors on test patients.

    Args:
        cohort: with labels, each with both answers.
        run: the dials; the split and everything random follow from `run.training.seed`.
        out: folder of the run: `model/`, `split.csv`, and `work/`, from which a run that was stopped goes on.
        cache: folder for encoded studies and notes; may be shared by runs.
        listener: told of progress.
        workers: processes that decode studies; one a core if None.

    Raises:
        CohortError: if there is nothing to learn, too few patients are left for three parts, or no patient who
            trains has a label stated.
        ConfigError: if `out` holds a run with other dials or other cases.
    """
    cohort.require_both_answers()
    encoders = Encoders(run.encoders)
    encoded = encode_cohort(cohort, encoders, cache, listener.encoded, workers)
    parts = split_patients([case.row.patient_id for case in encoded.cases], run.split, run.training.seed)
    chosen = {
        part: [c for c, p in zip(encoded.cases, parts, strict=True) if p == part]
        for part in ("train", "validation", "test")
    }
    if not all(chosen.values()):
        raise CohortError(f"{len(encoded.cases)} readable cases are too few to split by patient", "Give more patients")
    bins = RecordBins.learn(cohort.config.record, (case.case.record for case in chosen["train"]))
    sets = {part: _examples(cases, encoders, bins) for part, cases in chosen.items()}
    _require_stated(cohort.labels, sets["train"])

    _claim(out / "run.json", run, sets)
    _write_split(out / "split.csv", encoded.cases, parts)

    torch.manual_seed(run.training.seed)
    network = build_network(cohort.config, run, encoders)
    train_network(network, sets["train"], sets["validation"], run.training, out / "work" / "model", listener.epoch)
    card = _card(cohort, run, network, encoders, bins, sets)
    model = Model.save(out / "model", card, network, encoders)
    comparison = _compare(network, run, cohort, encoders, sets, out / "work", listener)
    gates = network.body.gate.numpy() if isinstance(network.body, Fusion) else None
    return Trained(model, comparison, encoded.refused, gates)


def _examples(cases: list[EncodedRow], encoders: Encoders, bins: RecordBins) -> Examples:
    targets = torch.tensor([list(case.row.targets.values()) for case in cases], dtype=torch.float32)
    features = tuple(case.features(encoders, bins) for case in cases)
    return Examples(features, tuple(case.row.patient_id for case in cases), targets)


def _require_stated(labels: tuple[str, ...], train: Examples) -> None:
    """A label that no case states has nothing to teach, and no prevalence."""
    for name, silent in zip(labels, train.targets.isnan().all(dim=0).tolist(), strict=True):
        if silent:
            raise CohortError(f"no training case states '{name}'", "State it for more patients, or take the label out")


def _card(
    cohort: Cohort, run: RunConfig, network: Network, encoders: Encoders, bins: RecordBins, sets: dict[str, Examples]
) -> Card:
    """Thresholds from validation, prevalence from training, and the names of everything."""
    if cohort.config.labels is None:
        raise CohortError("the cohort names no labels", "Name them in [labels] of cohort.toml")
    labels = cohort.config.labels.names
    probabilities = infer(network, sets["validation"]).sigmoid().numpy()
    answers = sets["validation"].targets.numpy()
    prevalence = np.nanmean(sets["train"].targets.numpy(), axis=0)
    return Card(
        medmm=version("medmm"),
        cohort=cohort.config,
        run=run,
        thresholds={name: youden_threshold(answers[:, i], probabilities[:, i]) for i, name in enumerate(labels)},
        prevalence={name: float(prevalence[i]) for i, name in enumerate(labels)},
        record_edges=dict(bins.edges),
        encoders=encoders.digest,
        trained_on=_digest(sets["train"]),
        cases={part: len(examples) for part, examples in sets.items()},
    )


def _compare(
    network: Network,
    run: RunConfig,
    cohort: Cohort,
    encoders: Encoders,
    sets: dict[str, Examples],
    work: Path,
    listener: Listener,
) -> Comparison:
    """The model, its own sides alone, the late ensembles and the textbook's concatenation, on the test cases."""
    test = sets["test"]
    systems = {FUSED: infer(network, test).sigmoid()}
    if isinstance(network.body, Fusion):
        for sides in _subsets(run.fusion):
            keep = torch.tensor([m in sides for m in MODALITIES])
            systems[" + ".join(sides) + " only"] = infer(network, test, keep=keep).sigmoid()
        systems[LATE] = late_ensemble(network, test)
        stack = stacked_ensemble(network.body, test)
        systems[STACK] = stack.softmax(-1) if network.multi_class else stack.sigmoid()
        fusion = run.fusion.model_copy(update={"kind": "concat"})
        torch.manual_seed(run.training.seed)  # not where the stages before left it: they may have been done earlier
        textbook = build_network(cohort.config, run.model_copy(update={"fusion": fusion}), encoders)
        train_network(textbook, sets["train"], sets["validation"], run.training, work / "textbook", listener.epoch)
        systems[TEXTBOOK] = infer(textbook, test).sigmoid()
    return Comparison(
        systems={name: value.numpy().astype(np.float64) for name, value in systems.items()},
        targets=test.targets.numpy(),
        case_ids=tuple(case.case_id for case in test.features),
        patients=test.patients,
        present=test.present.numpy(),
    )


def _subsets(fusion: FusionConfig) -> list[tuple[str, ...]]:
    """The single sides, then the pairs; none of them is the whole."""
    sides = [m for m in MODALITIES if m in fusion.modalities]
    pairs = [(a, b) for i, a in enumerate(sides) for b in sides[i + 1 :]]
    return [(side,) for side in sides if len(sides) > 1] + [pair for pair in pairs if len(sides) > 2]


def _claim(path: Path, run: RunConfig, sets: dict[str, Examples]) -> None:
    """Write what this run is made of, or check that the folder holds the same run, cut short or finished."""
    made_of = {"run": run.model_dump(mode="json"), "cases": {part: _digest(cases) for part, cases in sets.items()}}
    content = json.dumps(made_of, indent=2) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") != content:
        raise ConfigError(f"{path.parent} holds another run: other dials or other cases", "Name another --out folder")
    write_whole(path, lambda target: target.write_text(content, encoding="utf-8"))


def _write_split(path: Path, cases: tuple[EncodedRow, ...], parts: list[Part]) -> None:
    """Who was where: case_id and part, so that evaluation never sees training patients."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["case_id", "part"])
    writer.writerows((case.row.case_id, part) for case, part in zip(cases, parts, strict=True))
    write_whole(path, lambda target: target.write_text(table.getvalue(), encoding="utf-8"))


def _digest(examples: Examples) -> str:
    """SHA-256 over features and answers: two models with the same digest learnt from the same cases."""
    digest = hashlib.sha256(examples.targets.numpy().tobytes())
    for case in examples.features:
        for tensor in (case.image, case.place, case.note, case.record):
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
