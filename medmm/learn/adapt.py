"""Teaching the encoders the cohort: the tail of the image network and the upper layers of the text network.

What the frozen parts below them make of a case, and of its augmented views, was made once and lies in the cache. Each
of a few folds teaches a copy on the cases of the other folds (cross-fitting), alone or in `company`. Its head begins at
nothing and learns faster than the copy; begun as the exact probe of the frozen features it taught the copy little.
Fusion gets what the head says of each patch or word piece, beside the frozen features: of a case that taught what the
copy says that has never met its patient, of every other case what all copies say in the mean. Cases that validate do
not teach: they are seen as new ones will be, and what is chosen on them holds for those.

B cases, F pictures, T word pieces, L labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from medmm.config import AdaptConfig, CohortConfig, RunConfig
from medmm.errors import ConfigError
from medmm.learn.company import company
from medmm.learn.course import Course, Material, is_over, pursue
from medmm.learn.encode import EncodedRow
from medmm.learn.fit import Epoch, loss_of
from medmm.learn.fuse import Tell
from medmm.learn.split import Part, folds_by_patient
from medmm.model.cache import FeatureCache
from medmm.model.encode import EncodedCase, EncodedStudy, Encoders
from medmm.model.image_encoder import Tail
from medmm.model.taught import Taught
from medmm.model.text_encoder import UpperLayers

_RANK = 8
_MOST_PICTURES = 4
"""Pictures of a case that are looked at in one step; others of it in other epochs."""
_DROPOUT = 0.3

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
    lessons: list[_Lesson] = []
    if config.image != "frozen" and "image" in run.fusion.modalities:
        lessons.append(_ImageLesson(encoders, cache, config))
    if config.note != "frozen" and "note" in run.fusion.modalities:
        lessons.append(_NoteLesson(encoders, config))
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
    lesson: _Lesson,
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
    student = _Student(lesson, targets.shape[1], cohort.labels is not None and cohort.labels.multi_class)
    home = next(student.taught.parameters()).device
    student.cpu()
    merge = _low_rank(student.taught.learns) if lesson.how == "lora" else None

    def batch(which: Sequence[int]) -> Mapping[str, Tensor]:
        index = list(which)
        told = {"targets": targets[index], "company": others[index]}
        return lesson.batch([cases[i] for i in which], plain=False) | told

    course = Course(config.epochs, config.learning_rate, config.batch_size, seed=seed, decays=True, fresh=("head",))
    pursue(student, Material(patients, batch), course, folder, _Told(folder.name, tell))
    if merge is not None:
        merge()
    return Taught(student.taught, student.head).requires_grad_(False).eval().to(home)


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


class _Student(nn.Module):
    """What is taught, and a linear head on the mean of what it makes of a case, beside its company if it has any."""

    def __init__(self, lesson: _Lesson, labels: int, multi_class: bool) -> None:
        super().__init__()
        self.lesson, self.multi_class = lesson, multi_class
        self.taught = lesson.copy()
        self.head = nn.Linear(lesson.width, labels)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, targets: Tensor, company: Tensor, **inputs: Tensor) -> Tensor:
        """-> the mean loss of a batch."""
        pooled = functional.dropout(self.lesson.pooled(self.taught, **inputs), _DROPOUT, self.training)
        return loss_of(self.head(pooled) + company, targets, self.multi_class)

    def train(self, mode: bool = True) -> Self:
        """Batch statistics stay those of the frozen network: a few cases say less than what it was trained on."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


class _Lesson(Protocol):
    """What it takes to teach one encoder: how cases become batches, and how they are seen afterwards."""

    @property
    def name(self) -> str:
        """The modality."""

    @property
    def how(self) -> str:
        """As AdaptConfig says."""

    @property
    def width(self) -> int:
        """Length of what `pooled` makes of a case."""

    def has(self, case: EncodedCase) -> bool:
        """Whether a case can teach."""

    def copy(self) -> Tail | UpperLayers:
        """A copy of what is taught."""

    def batch(self, cases: Sequence[EncodedCase], *, plain: bool) -> dict[str, Tensor]:
        """The inputs of `pooled`; unless plain, as random views."""

    def pooled(self, taught: nn.Module, **inputs: Tensor) -> Tensor:
        """What is made of each case, in the mean: (B, width)."""

    def seen(self, case: EncodedCase, taught: Sequence[Taught]) -> EncodedCase:
        """A case of the frozen encoders, and beside it what the taught copies say of it."""


class _ImageLesson:
    """The tail of the image network."""

    name = "image"

    def __init__(self, encoders: Encoders, cache: FeatureCache, config: AdaptConfig) -> None:
        self.encoders, self.cache, self.config, self.how = encoders, cache, config, config.image
        self.width = encoders.image.frozen_width

    def has(self, case: EncodedCase) -> bool:
        """Whether it has a film or a slice."""
        return case.study is not None and len(case.study.flat) > 0

    def copy(self) -> Tail:
        """A copy of the tail, whose stages learn, all but what they look at around a cell in each channel.

        Depthwise filters are a twentieth of its weights, and their gradients took a third of the time.
        """
        tail = self.encoders.image.new_tail().requires_grad_(True)
        for part in tail.modules():
            if isinstance(part, nn.Conv2d) and 1 < part.groups == part.in_channels:
                part.requires_grad_(False)
        tail.checkpointing = self.config.checkpointing
        return tail

    def batch(self, cases: Sequence[EncodedCase], *, plain: bool) -> dict[str, Tensor]:
        """Maps (F, C, N, N), where in each the picture lies (F, G, G), and whose it is (F,), from 0 to B - 1."""
        maps, inside, owner = [], [], []
        for number, case in enumerate(cases):
            study = case.study
            if study is None:
                raise ValueError("a case without image cannot teach the image network")
            count = len(study.flat)
            shown = range(count) if plain else torch.randperm(count)[:_MOST_PICTURES].tolist()
            views = [0 if plain else int(torch.randint(1 + self.config.views, ())) for _ in shown]
            maps.append(self.cache.maps(study.maps, views, shown))
            for place in shown:
                layout = study.images[study.flat[place]]
                covered = torch.zeros(layout.grid).flatten()
                covered[list(layout.cells)] = 1
                inside.append(covered.reshape(layout.grid))
                owner.append(number)
        return {"maps": torch.cat(maps).float(), "inside": torch.stack(inside), "owner": torch.tensor(owner)}

    def pooled(self, taught: nn.Module, **inputs: Tensor) -> Tensor:
        """The mean over the cells that lie on a picture, then over the pictures of a case."""
        maps, inside, owner = inputs["maps"], inputs["inside"][:, None], inputs["owner"]
        made = taught(maps.contiguous(memory_format=torch.channels_last))
        pictures = (made * inside).sum(dim=(2, 3)) / inside.sum(dim=(2, 3)).clamp(min=1)
        whose = functional.one_hot(owner).to(pictures.dtype)  # (F, B)
        return torch.as_tensor((whose.T @ pictures) / whose.sum(dim=0)[:, None])

    def seen(self, case: EncodedCase, taught: Sequence[Taught]) -> EncodedCase:
        """Study and prior, each flat picture in all its turnings and not as a view."""
        return replace(case, study=self._seen(case.study, taught), prior=self._seen(case.prior, taught))

    def _seen(self, study: EncodedStudy | None, taught: Sequence[Taught]) -> EncodedStudy | None:
        if study is None:
            return None
        return self.encoders.beside(study, self.cache.trunks(study.maps), taught)


class _NoteLesson:
    """The upper layers of the text network."""

    name = "note"

    def __init__(self, encoders: Encoders, config: AdaptConfig) -> None:
        self.text, self.config, self.how = encoders.text, config, config.note
        self.width = encoders.text.frozen_width

    def has(self, case: EncodedCase) -> bool:
        """Whether it has a note."""
        return case.note is not None

    def copy(self) -> UpperLayers:
        """A copy of the upper layers, which learn; what the network embeds words with is not used."""
        upper = self.text.new_upper().requires_grad_(False)
        upper.learns.requires_grad_(True)
        if self.config.checkpointing:
            upper.network.gradient_checkpointing_enable()  # type: ignore[operator]  # of Hugging Face
        return upper

    def batch(self, cases: Sequence[EncodedCase], *, plain: bool) -> dict[str, Tensor]:
        """States (B, T, W) of the frozen network and which of them are words (B, T).

        Of a note that is longer than the network reads at once, its beginning teaches.
        """
        notes = [case.note.tokens[: self.text.max_words].float() for case in cases if case.note is not None]
        states = nn.utils.rnn.pad_sequence(notes, batch_first=True)
        lengths = torch.tensor([len(note) for note in notes])
        return {"states": states, "words": torch.arange(states.shape[1]) < lengths[:, None]}

    def pooled(self, taught: nn.Module, **inputs: Tensor) -> Tensor:
        """The mean over the words of the state halfway up and the last one, side by side."""
        states, words = inputs["states"], inputs["words"]
        middle = states[..., : self.width // 2]
        made = torch.cat([middle, taught(middle, words)], dim=-1) * words[..., None]
        return torch.as_tensor(made.sum(dim=1) / words.sum(dim=1, keepdim=True))

    def seen(self, case: EncodedCase, taught: Sequence[Taught]) -> EncodedCase:
        """The note's word pieces."""
        if case.note is None:
            return case
        tokens = torch.cat([case.note.tokens, self.text.beside(case.note.tokens, taught)], dim=1)
        return replace(case, note=replace(case.note, tokens=tokens))


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
