"""Teaching the encoders the cohort: the tail of the image network and the upper layers of the text network.

What the frozen parts below them make of a case, and of its augmented views, was made once and lies in the cache. Each
of a few folds teaches a copy on the cases of the other folds (cross-fitting), alone or in `company`. Its head begins at
nothing and learns faster than the copy; begun as the exact probe of the frozen features it taught the copy little.
Fusion gets what the head says of each patch or word piece, beside the frozen features: of a case that taught what the
copy says that has never met its patient, of every other case what all copies say in the mean. Cases that validate do
not teach: they are seen as new ones will be, and what is chosen on them holds for those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from medmm.config import CohortConfig, RunConfig
from medmm.errors import ConfigError
from medmm.learn.company import company
from medmm.learn.course import Course, Material, is_over, pursue
from medmm.learn.encode import EncodedRow
from medmm.learn.fit import Epoch
from medmm.learn.fuse import Tell
from medmm.learn.lessons import ImageLesson, Lesson, NoteLesson
from medmm.learn.split import Part, folds_by_patient
from medmm.learn.student import Student
from medmm.model.cache import FeatureCache
from medmm.model.encode import Encoders
from medmm.model.taught import Taught

_RANK = 8

Chosen = dict[Part, list[EncodedRow]]


def adapt(
    encoders: Encoders,
    cache: FeatureCache,
    chosen: Chosen,
    cohort: CohortConfig,
    run: RunConfig,
    *,
    work: Path,
    tell: Tell,
) -> tuple[Encoders, Chosen]:
    """Teach what `run.adapt` says; give back the encoders and the cases as they see them.

    Args:
        encoders: the frozen ones.
        cache: where the views of the cases are.
        chosen: encoded cases by part; those that train teach.
        cohort: what their columns mean.
        run: its `adapt`, its modalities and `training` count.
        work: where the courses keep their state; what is done there is not done again.
        tell: told of each epoch.

    Raises:
        ConfigError: if fewer than two patients are left to teach a copy.
    """
    config, pupils = run.adapt, chosen["train"]
    lessons: list[Lesson] = []
    if config.image != "frozen" and "image" in run.fusion.modalities:
        lessons.append(ImageLesson(encoders, cache, config))
    if config.note != "frozen" and "note" in run.fusion.modalities:
        lessons.append(NoteLesson(encoders, config))
    if not lessons:
        return encoders, chosen
    fold_of = folds_by_patient([row.row.patient_id for row in pupils], config.folds, run.training.seed)
    own = {row.row.case_id: int(fold) for row, fold in zip(pupils, fold_of, strict=True)}
    taught: dict[str, list[Taught]] = {"image": [], "note": []}
    for lesson in lessons:
        for fold in range(config.folds):
            cases = [row for row in pupils if own[row.row.case_id] != fold and lesson.has(row.case)]
            if len({row.row.patient_id for row in cases}) < 2:
                raise ConfigError(
                    f"too few patients have a case with {lesson.name} to teach its encoder",
                    f'Set [adapt] {lesson.name} = "frozen"',
                )
            folder = work / f"{lesson.name}-{fold + 1}"
            taught[lesson.name].append(_teach(lesson, cases, cohort, run, encoders, folder, tell))
        copies = taught[lesson.name]
        strangers = {case_id: [copies[fold]] for case_id, fold in own.items()}  # the copy that has not met the patient
        chosen = {
            part: [replace(row, case=lesson.seen(row.case, strangers.get(row.row.case_id, copies))) for row in rows]
            for part, rows in chosen.items()
        }
    return encoders.taught(taught["image"], taught["note"]), chosen


def _teach(
    lesson: Lesson,
    rows: Sequence[EncodedRow],
    cohort: CohortConfig,
    run: RunConfig,
    encoders: Encoders,
    folder: Path,
    tell: Tell,
) -> Taught:
    """One copy, taught on some cases, in eval mode."""
    targets = torch.tensor([list(row.row.targets.values()) for row in rows], dtype=torch.float32)
    others = torch.zeros_like(targets)
    if run.adapt.in_company and not is_over(folder):
        others = company(lesson.name, rows, cohort, run, encoders)
    patients = tuple(row.row.patient_id for row in rows)
    cases, config, seed = [row.case for row in rows], run.adapt, run.training.seed
    torch.manual_seed(seed)  # of the low-rank adapters
    taught = lesson.copy()
    home = next(taught.parameters()).device
    multi_class = cohort.labels is not None and cohort.labels.multi_class
    student = Student(taught, lesson.cells, lesson.width, targets.shape[1], multi_class).cpu()
    merge = _low_rank(taught.learns) if lesson.how == "lora" else None

    def batch(which: Sequence[int]) -> Mapping[str, Tensor]:
        index = list(which)
        told = {"targets": targets[index], "company": others[index]}
        return lesson.batch([cases[i] for i in which]) | told

    fresh = ("head", "share")
    course = Course(config.epochs, config.learning_rate, config.batch_size, seed=seed, decays=True, fresh=fresh)
    pursue(student, Material(patients, batch), course, folder, _Told(folder.name, tell))
    if merge is not None:
        merge()
    return Taught(taught, student.head).requires_grad_(False).eval().to(home)


@dataclass(frozen=True, slots=True)
class _Told:
    """Who is told of a course's epochs, and under which name."""

    name: str
    tell: Tell

    def step(self, done: int, total: int) -> None:
        """After each batch: nobody."""

    def epoch(self, epoch: Epoch) -> None:
        """After each epoch."""
        self.tell(self.name, epoch)


def _low_rank(learns: nn.Module) -> Callable[[], object]:
    """Freeze a module and put low-rank adapters beside its matrices (Hu 2021); what is given back merges them."""
    from peft import LoraConfig, LoraModel

    matrices = [
        name
        for name, part in learns.named_modules()
        if isinstance(part, nn.Linear) or (isinstance(part, nn.Conv2d) and part.groups == 1)
    ]
    config = LoraConfig(r=_RANK, lora_alpha=2 * _RANK, target_modules=matrices)
    learns.requires_grad_(False)
    return LoraModel(learns, config, "default").merge_and_unload
