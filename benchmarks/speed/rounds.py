"""One measurement each: studies scored from files, by hand, and stage by stage."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.by_hand import ByHand
from benchmarks.speed.studies import FILM
from medmm.case import Case
from medmm.errors import DataError
from medmm.explain.contribution import predict
from medmm.explain.explanation import explain, worth_a_look
from medmm.explain.similar import Memory
from medmm.model.batch import Features
from medmm.model.folder import Model
from medmm.read.cohort import CaseRow, Cohort, read_case, read_cohort
from medmm.result import Prediction
from medmm.score.cohort import score_cohort
from medmm.score.here import one_thread
from medmm.tensors import pixels_for
from pipelines.score import as_taught, engine_on, known_of, load, memory_of

STAGES = ("decode", "encode", "answer", "explain")
ENCODED = ("answer", "explain")
"""What is left to do of a case that is kept as it was encoded."""
BY_HAND = "by hand"
_WARM = 4
"""The first so many of a run's cases do not count, at most a quarter: children start, and caches fill."""


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """The model that is measured, and what is given beside its answers."""

    run: Path
    model: Model
    memory: Memory | None

    @classmethod
    def of(cls, run: Path) -> Subject:
        """What `medmm score --model RUN` loads."""
        return cls(run, load(run), memory_of(run))

    @property
    def enough(self) -> int:
        """Pixels of a film's shorter side that the model asks for."""
        return pixels_for(self.model.encoders.image.size)

    def cohort(self, folder: Path) -> Cohort:
        """Read a table as `medmm score` does."""
        return read_cohort(folder, as_taught(self.model.card, folder / "cohort.toml"))

    def cases(self, cohort: Cohort) -> list[Case]:
        """All of a cohort in memory, decoded.

        Raises:
            DataError: as `read_case`.
        """
        return [read_case(cohort, row, self.enough) for row in cohort.rows]

    def explained(self, case: Case, features: Features, answer: Prediction) -> None:
        """What is shown beside an answer."""
        explain(self.model, features, case.note.text if case.note else "", worth_a_look(answer))
        if self.memory is not None:
            self.memory.nearest(self.model, features, case.patient_id)


def score(run: Path, cohort: Cohort, out: Path, cache: Path | None = None) -> list[float]:
    """Score a cohort as `medmm score` does, with `--cache` if one is given; return when each case was done, in seconds.

    Raises:
        DataError: if a case is refused.
    """
    done: list[float] = []
    with engine_on(None, run) as engine:
        info, beside = known_of(run)

        def tell(number: int, total: int) -> None:
            done.append(time.perf_counter())

        scored = score_cohort(info, cohort, out, tell, engine, beside=beside, cache=cache)
    for refusal in scored.refused:
        raise DataError(refusal.case_id, refusal.code, refusal.problem, refusal.remedy)
    return done


def end_to_end(subject: Subject, cohort: Cohort, out: Path, cache: Path | None = None) -> float:
    """Studies a second from files to a scored folder, explained, once it runs; out of a cache if one is given."""
    shutil.rmtree(out, ignore_errors=True)
    return _rate(score(subject.run, cohort, out, cache))


def by_hand(pipeline: ByHand, cohort: Cohort, cases: Sequence[Case]) -> float:
    """Studies a second of the pipeline written by hand."""
    done = []
    for row, case in zip(cohort.rows, cases, strict=True):
        _by_hand(pipeline, row, case)
        done.append(time.perf_counter())
    return _rate(done)


def _by_hand(pipeline: ByHand, row: CaseRow, case: Case) -> None:
    if row.study is not None:
        pipeline.encode(row.study.path / FILM, case.note.text if case.note else "")


def core_seconds(subject: Subject, pipeline: ByHand, cohort: Cohort) -> dict[str, float]:
    """Core seconds a study by stage, and BY_HAND all that the other pipeline does; on one core."""
    laps = _Laps(time.process_time(), dict.fromkeys((*STAGES, BY_HAND), 0.0))
    with one_thread():
        for row in cohort.rows:
            case = read_case(cohort, row, subject.enough)
            laps.end("decode")
            features = subject.model.encode(case, keep_trunks=True)
            laps.end("encode")
            (answer,) = predict(subject.model, [features])
            laps.end("answer")
            subject.explained(case, features, answer)
            laps.end("explain")
            _by_hand(pipeline, row, case)
            laps.end(BY_HAND)
    return {stage: seconds / len(cohort.rows) for stage, seconds in laps.spent.items()}


@dataclass(slots=True)
class _Laps:
    """Processor time by stage."""

    since: float
    spent: dict[str, float]

    def end(self, stage: str) -> None:
        """What was spent since the last stage ended is this one's."""
        now = time.process_time()
        self.spent[stage] += now - self.since
        self.since = now


def limit_of(seconds: Mapping[str, float], stages: Sequence[str] = STAGES) -> float:
    """Studies a second if every core did nothing but these stages, all the time: cores / core seconds a study."""
    return (os.cpu_count() or 1) / sum(seconds[stage] for stage in stages)


def reduced_changes(subject: Subject, cohort: Cohort) -> float:
    """The most that any probability changes if films are read whole and not as much as is enough."""
    most = 0.0
    for row in cohort.rows:
        whole, part = (subject.model.encode(read_case(cohort, row, enough)) for enough in (None, subject.enough))
        said = subject.model.log_odds([whole, part]).sigmoid()
        most = max(most, float((said[0] - said[1]).abs().max()))
    return most


def _rate(done: Sequence[float]) -> float:
    """Cases a second, the first few left aside."""
    warm = min(_WARM, max(1, len(done) // 4))
    return (len(done) - warm) / (done[-1] - done[warm - 1])
