"""Training as one recipe: split by patient, encode once, fit, judge, save. Resumes wherever it was stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from medmm.case import MODALITIES
from medmm.config import RunConfig
from medmm.errors import CohortError, ConfigError, DataError
from medmm.explain.similar import Memory
from medmm.files import write_whole
from medmm.judge.comparison import Comparison, pooled
from medmm.learn.adapt import adapt
from medmm.learn.calibrate import Decisions, decide
from medmm.learn.encode import EncodedRow, encode_cohort
from medmm.learn.examples import examples_of
from medmm.learn.fit import Epoch, Examples, infer
from medmm.learn.fuse import train_network
from medmm.learn.processes import agree, is_main, rank, share, wait
from medmm.learn.split import PARTS, Part, split_fold, split_patients, split_without_test, write_split
from medmm.learn.systems import systems_of
from medmm.learn.typical import typical_of
from medmm.model.cache import FeatureCache
from medmm.model.card import SIMILAR, Card
from medmm.model.encode import Encoders
from medmm.model.folder import Model, build_network, limits_by_name
from medmm.model.fusion import Fusion, Network
from medmm.model.likeness import Likeness
from medmm.read.cohort import Cohort
from medmm.tensors import RecordBins


class Listener(Protocol):
    """Who is told how far training has come."""

    def encoded(self, done: int, total: int) -> None:
        """After each case that went through the encoders."""

    def epoch(self, stage: str, epoch: Epoch) -> None:
        """After each epoch of a stage."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A cohort that has been through the frozen encoders, before anybody is split from anybody."""

    cohort: Cohort
    encoders: Encoders
    cache: FeatureCache
    """Where the views of the cases are, for encoders that are taught."""
    cases: tuple[EncodedRow, ...]
    """Those that could be read, in the order of their rows."""
    refused: tuple[DataError, ...]
    workers: int | None = None
    """Processes that decode a study once more; one a core if None."""

    @property
    def patients(self) -> list[str]:
        """The patient of each case: what a split is made from."""
        return [case.row.patient_id for case in self.cases]

    def by_part(self, parts: Sequence[Part]) -> dict[Part, list[EncodedRow]]:
        """The cases of each part; a part without cases is left out."""
        chosen: dict[Part, list[EncodedRow]] = {}
        for case, part in zip(self.cases, parts, strict=True):
            chosen.setdefault(part, []).append(case)
        return chosen


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A network that has been through every stage, and the cases that it learnt from and is judged on."""

    network: Network
    encoders: Encoders
    """Those that made the features of `sets`."""
    bins: RecordBins
    sets: dict[Part, Examples]
    """By part of the split; a part without cases is left out."""
    decisions: Decisions

    def probabilities(self, part: Part) -> np.ndarray:
        """What the network says of the cases of a part: (N, L) float64."""
        return infer(self.network, self.sets[part]).sigmoid().numpy().astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A model, what it can do, and what it never saw."""

    model: Model
    comparison: Comparison
    refused: tuple[DataError, ...]


TEXTBOOK = "textbook (concatenation)"


def train(
    cohort: Cohort, run: RunConfig, out: Path, cache: Path, listener: Listener, workers: int | None = None
) -> Trained:
    """Train on a cohort and compare the result with its floors on test patients.

    Args:
        cohort: with labels, each with both answers.
        run: the dials; the split and everything random follow from `run.training.seed`.
        out: folder of the run: `model/`, `split.csv`, and `work/`, from which a run that was stopped goes on; with
            folds also `fold-1/` and so on, each a run of its own, which judge the recipe of the model.
        cache: folder for encoded studies and notes; may be shared by runs.
        listener: told of progress.
        workers: processes that decode studies; one a core if None.

    Raises:
        CohortError: if there is nothing to learn, too few patients are left for three parts, or no patient who
            trains has a label stated.
        ConfigError: if `out` holds a run with other dials or other cases.
    """
    prepared = prepare(cohort, run, cache, listener, workers)
    if run.split.folds is not None:
        return _train_folds(prepared, run, run.split.folds, out, listener)
    parts = split_patients(prepared.patients, run.split, run.training.seed)
    _require(prepared, parts, PARTS)
    return train_parts(prepared, parts, run, out, listener)


def _train_folds(prepared: Prepared, run: RunConfig, folds: int, out: Path, listener: Listener) -> Trained:
    """A complete run for each fold in `out`/fold-N, and in `out` a last model from all patients, tested on nobody."""
    seed, patients = run.training.seed, prepared.patients
    splits = {n + 1: split_fold(patients, run.split, seed, n) for n in range(folds)}
    everybody = split_without_test(patients, run.split, seed)
    for parts in splits.values():
        _require(prepared, parts, PARTS)
    _require(prepared, everybody, ("train", "validation"))
    _claim(out / "run.json", run, prepared.by_part(everybody))
    judged = [
        train_parts(prepared, parts, run, out / f"fold-{n}", _Within(listener, f"fold {n} of {folds}: ")).comparison
        for n, parts in splits.items()
    ]
    model, _ = _train_model(prepared, everybody, run, out, _Within(listener, "last model: "))
    return Trained(model, pooled(judged), prepared.refused)


@dataclass(frozen=True, slots=True)
class _Within:
    """Passes on what it hears, with the place in the run that it hears it from."""

    listener: Listener
    where: str

    def encoded(self, done: int, total: int) -> None:
        self.listener.encoded(done, total)

    def epoch(self, stage: str, epoch: Epoch) -> None:
        self.listener.epoch(self.where + stage, epoch)


def train_parts(prepared: Prepared, parts: Sequence[Part], run: RunConfig, out: Path, listener: Listener) -> Trained:
    """One complete run in `out`, on a split that has all three parts."""
    model, learned = _train_model(prepared, parts, run, out, listener)
    comparison = compare(prepared, learned, run, out / "work", listener)
    return Trained(model, comparison, prepared.refused)


def _train_model(
    prepared: Prepared, parts: Sequence[Part], run: RunConfig, out: Path, listener: Listener
) -> tuple[Model, Learned]:
    """Claim `out`, learn, and save the model there."""
    _claim(out / "run.json", run, prepared.by_part(parts))
    if is_main():
        ids = [case.row.case_id for case in prepared.cases]
        write_split(out / "split.csv", dict(zip(ids, parts, strict=True)))
    learned = learn_parts(prepared, parts, run, out / "work", listener)
    if is_main():
        card = _card(prepared, parts, run, learned)
        cases, seed = prepared.by_part(parts)["train"], run.training.seed
        typical = typical_of(prepared.cohort, cases, prepared.encoders, prepared.cache, seed, prepared.workers)
        model = Model.save(out / "model", card, learned.network, learned.encoders, _likeness(learned, run), typical)
        memory = _memory(learned, run)
        if memory is not None:
            write_whole(out / SIMILAR, memory.save)
    wait()
    return (model if is_main() else Model.load(out / "model")), learned


def prepare(cohort: Cohort, run: RunConfig, cache: Path, listener: Listener, workers: int | None = None) -> Prepared:
    """Every case through the frozen encoders; what no split changes is done once.

    Raises:
        CohortError: if a label has not both answers.
    """
    cohort.require_both_answers()
    encoders = Encoders(run.encoders)
    if rank() != (0, 1):  # what this process encodes now the others find in the cache
        mine = replace(cohort, rows=tuple(share(cohort.rows)))
        encode_cohort(mine, encoders, cache, listener.encoded, workers, run.adapt)
    encoded = encode_cohort(cohort, encoders, cache, listener.encoded, workers, run.adapt)
    return Prepared(cohort, encoders, FeatureCache(cache, encoders), encoded.cases, encoded.refused, workers)


def learn_parts(prepared: Prepared, parts: Sequence[Part], run: RunConfig, work: Path, listener: Listener) -> Learned:
    """Fit a network on the cases that train, choose what is chosen on those that validate; test cases do nothing.

    Args:
        prepared: the encoded cohort.
        parts: the part of each of its cases; some must train and some validate.
        run: the dials.
        work: where stages keep their state; what is done there is not done again.
        listener: told of each epoch.
    """
    chosen, encoders = prepared.by_part(parts), prepared.encoders
    cohort = prepared.cohort.config
    encoders, chosen = adapt(encoders, prepared.cache, chosen, cohort, run, work=work / "adapt", tell=listener.epoch)
    bins = RecordBins.learn(cohort.record, (case.case.record for case in chosen["train"]))
    sets = {part: examples_of(cases, prepared.cohort.labels, encoders, bins) for part, cases in chosen.items()}
    torch.manual_seed(run.training.seed)
    network = build_network(cohort, run, encoders, bins)
    train, told = train_network(
        network, sets["train"], sets["validation"], run.training, work / "model", listener.epoch
    )
    sets |= {"train": train, "validation": told}
    return Learned(network, encoders, bins, sets, decide(network, told, run.decision))


def _likeness(learned: Learned, run: RunConfig) -> Likeness:
    """What cases like these look like to the frozen encoders; a taught copy has met some of them and not others."""
    encoders, sets = learned.encoders, learned.sets
    channels = {
        name: tower.frozen_width for name, tower in (("image", encoders.image), ("note", encoders.text)) if tower.taught
    }
    return Likeness.fit(
        sets["train"].features,
        sets["validation"].features,
        run.fusion.modalities,
        channels=channels,
        seed=run.training.seed,
    )


def _memory(learned: Learned, run: RunConfig) -> Memory | None:
    """The training cases as their heads decide them; None of a network without heads."""
    train = learned.sets["train"]
    if train.heard is None:
        return None
    return Memory.build(
        train.heard.numpy(),
        train.present.numpy(),
        train.targets.numpy(),
        [case.case_id for case in train.features],
        train.patients,
        run.training.seed,
    )


def _require(prepared: Prepared, parts: Sequence[Part], needed: Sequence[Part]) -> None:
    """Refuse a split that lacks a part, or whose training cases never state a label: it has no prevalence."""
    chosen = prepared.by_part(parts)
    if not all(part in chosen for part in needed):
        raise CohortError(f"{len(prepared.cases)} readable cases are too few to split by patient", "Give more patients")
    for name in prepared.cohort.labels:
        if all(np.isnan(case.row.targets[name]) for case in chosen["train"]):
            raise CohortError(f"no training case states '{name}'", "State it for more patients, or take the label out")


def _card(prepared: Prepared, parts: Sequence[Part], run: RunConfig, learned: Learned) -> Card:
    """Thresholds from validation, prevalence from training, and the names of everything."""
    labels = prepared.cohort.labels
    prevalence = np.nanmean(learned.sets["train"].targets.numpy(), axis=0)
    return Card(
        medmm=version("medmm"),
        cohort=prepared.cohort.config,
        run=run,
        thresholds=dict(zip(labels, learned.decisions.thresholds.tolist(), strict=True)),
        limits=limits_by_name(labels, learned.decisions.limits),
        prevalence={name: float(prevalence[i]) for i, name in enumerate(labels)},
        record_edges=dict(learned.bins.edges),
        encoders=learned.encoders.digest,
        trained_on=_digest(prepared.by_part(parts)["train"]),
        cases={part: len(examples) for part, examples in learned.sets.items()},
    )


def compare(prepared: Prepared, learned: Learned, run: RunConfig, work: Path, listener: Listener) -> Comparison:
    """The model, its own sides alone, the late ensembles and the textbook's concatenation, on the test cases."""
    network, test = learned.network, learned.sets["test"]
    systems, inside = systems_of(network, test, run.fusion), {}
    if isinstance(network.body, Fusion):
        textbook = _textbook(prepared, learned, run, work, listener)
        systems[TEXTBOOK] = infer(textbook, test).sigmoid()
        sides = run.fusion.modalities if len(run.fusion.modalities) > 1 else ()
        inside = {m: infer(textbook, test, keep=torch.tensor([n == m for n in MODALITIES])).sigmoid() for m in sides}
    return Comparison(
        systems={name: value.numpy().astype(np.float64) for name, value in systems.items()},
        targets=test.targets.numpy(),
        case_ids=tuple(case.case_id for case in test.features),
        patients=test.patients,
        present=test.present.numpy(),
        inside={side: value.numpy().astype(np.float64) for side, value in inside.items()},
        thresholds=np.tile(learned.decisions.thresholds, (len(test), 1)),
    )


def _textbook(prepared: Prepared, learned: Learned, run: RunConfig, work: Path, listener: Listener) -> Network:
    """The textbook's concatenation, trained on the same cases."""
    fusion = run.fusion.model_copy(update={"kind": "concat"})
    torch.manual_seed(run.training.seed)  # not where the stages before left it: they may have been done earlier
    run = run.model_copy(update={"fusion": fusion})
    network = build_network(prepared.cohort.config, run, learned.encoders, learned.bins)
    sets = learned.sets
    train_network(network, sets["train"], sets["validation"], run.training, work / "textbook", listener.epoch)
    return network


def _claim(path: Path, run: RunConfig, chosen: Mapping[Part, Sequence[EncodedRow]]) -> None:
    """Write what this run is made of, or check that the folder holds the same run, cut short or finished."""
    digests = {part: _digest(chosen[part]) for part in PARTS if part in chosen}
    content = json.dumps({"run": run.model_dump(mode="json"), "cases": digests}, indent=2) + "\n"
    agree("dials and cases", content)
    if not is_main():
        return
    if path.exists() and path.read_text(encoding="utf-8") != content:
        raise ConfigError(f"{path.parent} holds another run: other dials or other cases", "Name another --out folder")
    write_whole(path, lambda target: target.write_text(content, encoding="utf-8"))


def _digest(cases: Sequence[EncodedRow]) -> str:
    """SHA-256 over encoded inputs and answers: two models with the same digest learnt from the same cases."""
    digest = hashlib.sha256()
    for case in cases:
        studies = [study for study in (case.case.study, case.case.prior) if study is not None]
        tensors = [tensor for study in studies for tensor in (study.tokens, study.place)]
        tensors += [case.case.note.tokens] if case.case.note else []
        for tensor in tensors:
            digest.update(repr(tuple(tensor.shape)).encode() + tensor.numpy().tobytes())
        digest.update(repr((len(studies), sorted(case.case.record.items()), list(case.row.targets.values()))).encode())
    return digest.hexdigest()
