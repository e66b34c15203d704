"""Teach the encoders on what nobody labelled; the folder that is left is what `[encoders]` of run.toml names.

medmm pretrain notes|images|pairs SOURCE --out FOLDER
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from medmm.case import Note
from medmm.config import EncoderConfig, RunConfig, read_toml
from medmm.errors import CohortError, ConfigError, DataError
from medmm.learn.course import Course
from medmm.learn.fit import Epoch
from medmm.learn.pretrain.images import Square, pretrain_images, squares_of
from medmm.learn.pretrain.notes import pretrain_notes
from medmm.learn.pretrain.pairs import Pair, pretrain_pairs
from medmm.learn.pretrain.source import notes_in_files, notes_of, owner, read_unlabelled
from medmm.model.image_networks import load_image_encoder
from medmm.model.text_encoder import load_text_encoder
from medmm.read.cohort import Cohort
from medmm.read.pool import read_cases, read_studies
from medmm.read.sources.folder import check_apart
from pipelines import terminal

NOTES = Course(epochs=10, learning_rate=5e-4, batch_size=32)
IMAGES = Course(epochs=20, learning_rate=3e-4, batch_size=64)
PAIRS = Course(epochs=20, learning_rate=3e-4, batch_size=64)
Key = TypeVar("Key")
Read = TypeVar("Read")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user says of a pretraining, whichever it is."""

    source: Path
    out: Path
    config: Path | None = None
    """run.toml, of which [encoders] counts: what is taught is what it names."""
    epochs: int | None = None
    budget: str | None = None
    """'90s', '10m', '2h'."""
    seed: int = 0
    leave_out: Path | None = None
    """A run whose test patients are left out."""
    workers: int | None = None

    def course(self, usual: Course) -> Course:
        """The usual course, as far as nothing else was said."""
        course = replace(usual, seed=self.seed, epochs=self.epochs or usual.epochs)
        return course if self.budget is None else replace(course, budget_s=seconds(self.budget))

    @property
    def encoders(self) -> EncoderConfig:
        """The encoders to begin with."""
        return (read_toml(self.config, RunConfig) if self.config else RunConfig()).encoders


def seconds(text: str) -> float:
    """'90s', '10m' or '2h' in seconds.

    Raises:
        ConfigError: if it is none of these.
    """
    said = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if said is None or not float(said[1]):
        raise ConfigError(f"'{text}' is no time", "Write it as 90s, 10m or 2h")
    return float(said[1]) * _UNITS[said[2]]


def notes(wish: Wish) -> tuple[Epoch, ...]:
    """Teach the text encoder the notes of a cohort, or all .txt files below a folder."""
    check_apart(wish.source, wish.out)
    course = wish.course(NOTES)
    encoder = load_text_encoder(wish.encoders)
    taken = list(_readable(_texts(wish)))
    if not taken:
        raise CohortError(f"{wish.source} holds no note", "Give a cohort with notes, or a folder of .txt files")
    terminal.console.print(f"{len(taken)} notes")
    with told() as listener:
        epochs = pretrain_notes(encoder, taken, course, wish.out, listener)
    _say(epochs, wish.out, f'text = "{wish.out}"')
    return epochs


def images(wish: Wish) -> tuple[Epoch, ...]:
    """Teach the image encoder the studies of a cohort or of a bare folder."""
    check_apart(wish.source, wish.out)
    course = wish.course(IMAGES)
    config = wish.encoders
    encoder = load_image_encoder(config)
    cohort = read_unlabelled(wish.source, wish.leave_out, wish.workers)
    squares = read_squares(cohort, config, wish)
    terminal.console.print(f"{len(squares)} pictures")
    with told() as listener:
        epochs = pretrain_images(encoder, squares, course, wish.out, listener)
    _say(epochs, wish.out, f'image = "{wish.out}"')
    return epochs


def pairs(wish: Wish) -> tuple[Epoch, ...]:
    """Teach both encoders the cases of a cohort, or of a bare folder, that have a study and a note."""
    check_apart(wish.source, wish.out)
    course = wish.course(PAIRS)
    config = wish.encoders
    image, text = load_image_encoder(config), load_text_encoder(config)
    cohort = read_unlabelled(wish.source, wish.leave_out, wish.workers)
    taken = read_pairs(cohort, config, wish)
    terminal.console.print(f"{len(taken)} studies with notes")
    with told() as listener:
        epochs = pretrain_pairs(image, text, taken, course, wish.out, listener)
    _say(epochs, wish.out, f'image = "{wish.out / "image"}" and text = "{wish.out / "text"}"')
    return epochs


def read_squares(cohort: Cohort, config: EncoderConfig, wish: Wish) -> list[Square]:
    """Every picture of every study that can be read, as the encoder sees it."""
    rows = {row.case_id: row for row in cohort.rows if row.study is not None}
    jobs = ((row.case_id, row.study) for row in rows.values() if row.study is not None)
    answers = read_studies(jobs, cohort.config.images, wish.workers)
    read = _readable(_counted(answers, len(rows)))
    return [
        square
        for case_id, study in read
        for square in squares_of(study, owner(rows[case_id]), config.image_size, config.volume_slices)
    ]


def read_pairs(cohort: Cohort, config: EncoderConfig, wish: Wish) -> list[Pair]:
    """Every case that can be read and has both a study and a note."""
    rows = [row for row in cohort.rows if row.study is not None]
    read = _readable(_counted(read_cases(cohort, rows, wish.workers), len(rows)))
    return [
        Pair(tuple(squares_of(case.study, owner(row), config.image_size, config.volume_slices)), case.note.text)
        for row, case in read
        if case.study is not None and case.note is not None
    ]


def _texts(wish: Wish) -> Iterator[tuple[str, Note | DataError]]:
    if (wish.source / "cases.csv").is_file():
        return notes_of(read_unlabelled(wish.source, wish.leave_out, wish.workers))
    if wish.leave_out is not None:
        raise ConfigError("--leave-out needs a cohort with cases.csv", "Take it out for a folder of .txt files")
    return notes_in_files(wish.source)


def _counted(answers: Iterable[tuple[Key, Read]], total: int) -> Iterator[tuple[Key, Read]]:
    """The same answers, with a bar that says how many are left."""
    with terminal.counting("Reading") as progress:
        for done, answer in enumerate(answers, start=1):
            yield answer
            progress(done, total)


def _readable(answers: Iterable[tuple[Key, Read | DataError]]) -> Iterator[tuple[Key, Read]]:
    """What could be read; the rest is printed."""
    refused = []
    for key, answer in answers:
        if isinstance(answer, DataError):
            refused.append(answer)
        else:
            yield key, answer
    terminal.refusals(refused, "`medmm check`")


@dataclass(frozen=True, slots=True)
class _Told:
    """Moves a bar with every batch, and says what every epoch came to."""

    progress: Callable[[int, int], None]

    def step(self, done: int, total: int) -> None:
        """After each batch."""
        self.progress(done, total)

    def epoch(self, epoch: Epoch) -> None:
        """After each epoch."""
        terminal.console.print(
            f"Epoch {epoch.number + 1}: loss {epoch.train_loss:.4f}, held out {epoch.held_out_loss:.4f}"
        )


@contextmanager
def told() -> Iterator[_Told]:
    """A bar that moves with every batch, and a line for every epoch."""
    with terminal.counting("Learning") as progress:
        yield _Told(progress)


def _say(epochs: tuple[Epoch, ...], out: Path, line: str) -> None:
    best = min(epochs, key=lambda epoch: epoch.held_out_loss)
    terminal.console.print(f"Epoch {best.number + 1} of {len(epochs)} is kept in {out}. In run.toml: [encoders] {line}")
