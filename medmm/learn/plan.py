"""Which dials suit a cohort, a machine and a time: a pure function of what is known, each choice with its reason.

What a step costs is measured by whoever gathers the facts. The rules are of thumb, and the comment beside a choice in
run.toml says which one was used, so that a person can overrule it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from medmm.config import RunConfig

Value = str | int | float | list[str]

FEW_TESTED = 30
"""Fewer test patients with the rarer answer of a label, and a hold-out's figure is mostly luck: with 30, the standard
error of an AUROC of 0.8 is about 0.05 (Hanley and McNeil 1982)."""
ENOUGH_TO_ADAPT = 50
"""Patients with the rarer answer of a label, below which an encoder is not taught: it would learn them by heart."""
ADAPT_EPOCH = 0.9
"""An epoch of teaching a case's encoder, in times of encoding it once as it lies."""
ADAPT_FITS = 3 * 2 / 3
"""Teaching goes through every case so often: three inner folds, each of two thirds of the cases."""
STAGES = 2
"""The model's own stage of epochs, and that of the textbook model beside it."""
UNMEASURED_S = 20.0
"""What a run costs besides: loading encoders, exact heads, the bootstrap, the page."""
_VIEWS = (5, 3, 2)
_ADAPT_EPOCHS = (8, 5, 3)
_EPOCHS = (30, 20, 10)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a cohort and of the machine."""

    cases: int
    patients: int
    rarest: int
    """Patients with the rarer answer of the label for which they are fewest; with classes, of the rarest class."""
    rarest_label: str
    has: Mapping[str, int]
    """Modality -> cases that have it."""
    volumes: bool
    """Whether images are volumes."""
    gpu: bool
    bfloat16: bool
    """Whether the GPU computes bfloat16 in hardware."""
    cores: int
    read_s: float
    """Seconds to read one case's files, on one core."""
    image_s: float
    """Seconds for one case's images through their encoder, in all their turnings."""
    once_s: float
    """Likewise, once as they lie."""
    note_s: float
    """Seconds for one case's note through its encoder."""
    step_s: float
    """Seconds that one case takes of an epoch of the fusion, forward and backward."""
    budget_s: float


@dataclass(frozen=True, slots=True)
class Choice:
    """One line of run.toml, and why it is so."""

    group: str
    key: str
    value: Value
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The choices, and what they are expected to cost."""

    choices: tuple[Choice, ...]
    expected_s: float
    remarks: tuple[str, ...] = ()
    """What the time or the cohort does not allow."""

    @property
    def run(self) -> RunConfig:
        """The same as `medmm train` reads it."""
        groups: dict[str, dict[str, Value]] = {}
        for choice in self.choices:
            groups.setdefault(choice.group, {})[choice.key] = choice.value
        return RunConfig.model_validate(groups)


@dataclass(frozen=True, slots=True)
class _Spending:
    """What was chosen so far of the things that cost time."""

    epochs: int = _EPOCHS[0]
    folds: int = 0
    views: int = 0
    """0 while the image encoder is frozen."""
    adapt_epochs: int = 0
    note: bool = False

    def seconds(self, facts: Facts) -> float:
        """What all of it costs."""
        pictures, notes = facts.has.get("image", 0), facts.has.get("note", 0) * facts.note_s
        images, once = pictures * facts.image_s, pictures * facts.once_s
        runs = self.folds + 1 if self.folds else 1
        encoding = facts.cases * facts.read_s / facts.cores + images + once * self.views + notes
        taught, asked = (once if self.views else 0) + (notes if self.note else 0), images if self.views else 0
        teaching = taught * self.adapt_epochs * ADAPT_EPOCH * ADAPT_FITS + asked
        return UNMEASURED_S + encoding + runs * (teaching + facts.cases * self.epochs * STAGES * facts.step_s)


def plan(facts: Facts) -> Plan:
    """Choose: first what the model cannot do without, then folds, then whether the encoders are taught.

    The same facts give the same plan. Epochs are counted in full, though stages stop early, so a run is rather shorter.
    """
    spent, remarks = _base(facts)
    folds, why_folds = _folds(facts, spent)
    spent = replace(spent, folds=folds)
    spent, why_image = _image(facts, spent)
    spent, why_note = _note(facts, spent)
    choices = (
        *_split(spent, why_folds),
        *_adapt(spent, why_image, why_note),
        *_fusion(facts),
        *_training(facts, spent),
    )
    return Plan(choices, spent.seconds(facts), remarks)


def _base(facts: Facts) -> tuple[_Spending, tuple[str, ...]]:
    """As many epochs as there is time for."""
    for epochs in _EPOCHS:
        spent = _Spending(epochs)
        if spent.seconds(facts) <= facts.budget_s:
            return spent, ()
    return spent, (
        f"{_time(facts.budget_s)} are not enough: even the shortest training needs about {_time(spent.seconds(facts))}",
    )


def _folds(facts: Facts, spent: _Spending) -> tuple[int, str]:
    """Number of folds, 0 for a hold-out, and why."""
    tested = round(facts.rarest * RunConfig().split.test)
    rare = f"a hold-out would test {tested} patients with the rarer answer of '{facts.rarest_label}'"
    if tested >= FEW_TESTED:
        return 0, f"{rare}, which is enough ({FEW_TESTED})"
    possible = [n for n in (5, 3) if n <= facts.rarest and replace(spent, folds=n).seconds(facts) <= facts.budget_s]
    if not possible:
        return (
            0,
            f"{rare}, fewer than {FEW_TESTED}, but there is no time for folds or too few patients: a wide interval",
        )
    return possible[0], f"{rare}, fewer than {FEW_TESTED}; in {possible[0]} folds every patient is tested once"


def _image(facts: Facts, spent: _Spending) -> tuple[_Spending, str]:
    """Teach the image encoder, with as many views and epochs as there is time for."""
    if not facts.has.get("image"):
        return spent, "no case has an image"
    if facts.volumes:
        return spent, "volumes are encoded once; their encoder is not taught"
    if facts.rarest < ENOUGH_TO_ADAPT:
        return (
            spent,
            f"{facts.rarest} patients with the rarer answer of '{facts.rarest_label}' would be learnt by heart",
        )
    for views, epochs in zip(_VIEWS, _ADAPT_EPOCHS, strict=True):
        taught = replace(spent, views=views, adapt_epochs=epochs)
        if taught.seconds(facts) <= facts.budget_s:
            return taught, f"{_time(taught.seconds(facts) - spent.seconds(facts))} more, for which there is time"
    return spent, f"teaching it would take about {_time(taught.seconds(facts) - spent.seconds(facts))} more"


def _note(facts: Facts, spent: _Spending) -> tuple[_Spending, str]:
    """Teach the text encoder, if there is time left."""
    if not facts.has.get("note"):
        return spent, "no case has a note"
    if facts.rarest < ENOUGH_TO_ADAPT:
        return (
            spent,
            f"{facts.rarest} patients with the rarer answer of '{facts.rarest_label}' would be learnt by heart",
        )
    taught = replace(spent, note=True, adapt_epochs=spent.adapt_epochs or _ADAPT_EPOCHS[-1])
    more = _time(taught.seconds(facts) - spent.seconds(facts))
    if taught.seconds(facts) <= facts.budget_s:
        return taught, f"{more} more, for which there is time"
    return spent, f"teaching it would take about {more} more"


def _split(spent: _Spending, why: str) -> Iterator[Choice]:
    if spent.folds:
        yield Choice("split", "folds", spent.folds, why)
    else:
        yield Choice("split", "test", RunConfig().split.test, why)
    yield Choice("split", "validation", RunConfig().split.validation, "stops, gates, calibration, thresholds")


def _adapt(spent: _Spending, why_image: str, why_note: str) -> Iterator[Choice]:
    yield Choice("adapt", "image", "last_blocks" if spent.views else "frozen", why_image)
    yield Choice("adapt", "note", "last_blocks" if spent.note else "frozen", why_note)
    if spent.adapt_epochs:
        yield Choice("adapt", "epochs", spent.adapt_epochs, "as many as there is time for")
    if spent.views:
        yield Choice("adapt", "views", spent.views, "augmented views of each image, as many as there is time for")


def _fusion(facts: Facts) -> Iterator[Choice]:
    there = [name for name in ("image", "note", "record") if facts.has.get(name)]
    counted = ", ".join(f"{name} {facts.has[name]}" for name in there)
    yield Choice("fusion", "modalities", there, f"of {facts.cases} cases: {counted}")
    why = "starts as the stack of the modalities, and adds only what validation pays for"
    yield Choice("fusion", "kind", "cross_attention", why if len(there) > 1 else "one modality: nothing is fused")


def _training(facts: Facts, spent: _Spending) -> Iterator[Choice]:
    inner = 5 if facts.rarest >= 25 else 3 if facts.rarest >= 9 else 2
    why = f"inner folds for the heads; {facts.rarest} patients have the rarer answer of '{facts.rarest_label}'"
    yield Choice("training", "folds", inner, why)
    batch = next(size for size in (64, 32, 16, 8) if facts.cases >= 10 * size or size == 8)
    yield Choice(
        "training", "batch_size", batch, f"at least ten steps an epoch of {facts.cases} cases, at most 64 cases"
    )
    full = spent.epochs == _EPOCHS[0]
    yield Choice("training", "epochs", spent.epochs, "at most; stages stop early" if full else "all there is time for")
    yield Choice("training", "patience", 5 if full else 3, "epochs without a better held-out loss")
    if facts.gpu and facts.bfloat16:
        yield Choice("training", "precision", "bfloat16", "the GPU computes it in hardware")
    else:
        where = "without bfloat16 in hardware" if facts.gpu else f"no GPU; {facts.cores} cores"
        yield Choice("training", "precision", "float32", where)


def _time(seconds: float) -> str:
    """About how long: '40 s', '12 min', '2.5 h'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
