"""What a person sees while a recipe runs: progress on standard error, tables and sentences on standard output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from medmm.errors import DataError
from medmm.result import Refusal

if TYPE_CHECKING:
    from medmm.judge.leak.duplicate import Duplicate
    from medmm.judge.leak.shortcut import Shortcut
    from medmm.judge.metrics import Score
    from medmm.learn.fit import Epoch
    from medmm.learn.plan import Plan

console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)  # names are printed as they are
_progress = Console(stderr=True)
_SHOWN = 10


def speak(aloud: bool) -> None:
    """Print, or print nothing: of several processes one speaks."""
    console.quiet = _progress.quiet = not aloud


def _times() -> tuple[ProgressColumn, ...]:
    return BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar; what it yields is called with how many are done, and how many there are."""
    with Progress(TextColumn(what), *_times(), console=_progress) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say what takes a while and cannot be counted."""
    with Progress(TextColumn(what), BarColumn(), TimeElapsedColumn(), console=_progress) as bar:
        task = bar.add_task(what, total=None)
        yield
        bar.update(task, total=1, completed=1)


class TrainingProgress:
    """Tells a person how far training has come: one bar for the cases, one line that follows the epochs."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._cases = bar.add_task("Encoding", total=None)
        self._epochs = bar.add_task("Learning", total=None, visible=False)
        self._stage = ""

    def encoded(self, done: int, total: int) -> None:
        """After each case that went through the encoders."""
        self._bar.update(self._cases, completed=done, total=total)

    def epoch(self, stage: str, epoch: Epoch) -> None:
        """After each epoch of a stage."""
        text = f"Learning {stage}: held-out loss {epoch.held_out_loss:.4f}"
        if stage != self._stage:
            self._stage = stage
            self._bar.reset(self._epochs, total=epoch.at_most or None)
        self._bar.update(self._epochs, description=text, completed=epoch.number + 1, visible=True)


@contextmanager
def training() -> Iterator[TrainingProgress]:
    """Progress of a training run; the time left is that of the stage at most, since each may stop early."""
    with Progress(TextColumn("{task.description}"), *_times(), console=_progress) as bar:
        yield TrainingProgress(bar)


def comparison(scores: Sequence[Score], folds: int | None = None) -> None:
    """Print every system beside the first one."""
    who = "Test patients" if folds is None else f"Patients of {folds} folds, each judged by a model that never saw them"
    table = Table(title=f"{who}: macro AUROC with 95 % interval by patient", title_justify="left")
    table.add_column("system")
    table.add_column("AUROC", justify="right")
    table.add_column(f"{scores[0].system} gains", justify="right")
    for score in scores:
        table.add_row(score.system, str(score.macro), "" if score is scores[0] else str(score.gain))
    console.print(table)


def choices(plan: Plan, budget_s: float, where: str) -> None:
    """Print every choice of a plan with its reason, what it will cost, and where it is."""
    for choice in plan.choices:
        console.print(f"[{choice.group}] {choice.key} = {choice.value}: {choice.reason}")
    remarks(plan.remarks)
    console.print(f"Expected: at most about {plan.expected_s / 60:.1f} of {budget_s / 60:.1f} minutes; in {where}")


def refusals(refused: Sequence[Refusal | DataError], where: str) -> None:
    """Print the first few cases that could not be used, and where the others are."""
    if not refused:
        return
    console.print(f"{len(refused)} cases could not be used:")
    for one in refused[:_SHOWN]:
        console.print(f"  case {one.case_id}: {one.code}: {one.problem}. {one.remedy}.")
    if len(refused) > _SHOWN:
        console.print(f"  and {len(refused) - _SHOWN} more in {where}")


def findings(found: Sequence[Duplicate | Shortcut], where: str) -> None:
    """Print the worst of what a leak audit found, and where the rest is."""
    for one in found[:_SHOWN]:
        console.print(f"{one.verdict.capitalize()}: {one.sentence}")
    if len(found) > _SHOWN:
        console.print(f"  and {len(found) - _SHOWN} more in {where}")


def remarks(lines: Sequence[str]) -> None:
    """Print what was guessed or left out."""
    for line in lines:
        console.print(f"Note: {line}")
