"""How fast does `medmm score` go, what would it be without reading, and how fast is a pipeline written by hand?

python -m benchmarks.speed RUN --out FOLDER [--rounds 5] [--studies 64]

RUN is what `medmm train` wrote for a sample cohort. Studies are made: one film of 1024 pixels, raw and in run lengths,
or of 2048 x 2496 in lossless JPEG 2000, 12 bits, with a note and a record. Every figure is the median over rounds, in
which all ways take turns. F is studies a second from files to a scored folder by studies a second of cases that are
decoded already; E is the same by the additive limit: cores by core seconds a study of decode, encode, answer and
explain. From cache: the same studies as an earlier run kept them, encoded; its F has the same denominator, its E the
limit of answer and explain alone. FOLDER takes speed.md and speed.json.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch
from rich.progress import track

from benchmarks.accuracy.command import code_of, publish
from benchmarks.accuracy.table import machine, versions
from benchmarks.speed.by_hand import ByHand
from benchmarks.speed.forward import EXPLAINED, UNEXPLAINED, forward_only
from benchmarks.speed.night import night
from benchmarks.speed.rounds import (
    BY_HAND,
    ENCODED,
    STAGES,
    Subject,
    by_hand,
    core_seconds,
    end_to_end,
    limit_of,
    reduced_changes,
)
from benchmarks.speed.studies import Kind, make_cohorts, write_films, write_small
from medmm.read.dicom.study import read_study
from medmm.read.sources.scan import scan
from pipelines.terminal import console

_CODECS = ("imagecodecs", "pillow", "pydicom", "pyjpegls", "pylibjpeg-openjpeg")


@dataclass(frozen=True, slots=True)
class Speed:
    """One kind of studies; rates in studies a second."""

    kind: str
    end_to_end: float
    forward: float
    """Encoded, answered and explained."""
    forward_unexplained: float
    by_hand: float
    limit: float
    """If every core did nothing but the stages."""
    cached: float
    """As end_to_end, of cases that an earlier run kept as they were encoded."""
    cached_limit: float
    """If every core did nothing but answer and explain."""
    core_seconds: Mapping[str, float]
    """Of a study, by stage, and of all that is done by hand."""
    reduced_changes: float
    """The most that a probability differs from that of films read whole."""
    rounds: Mapping[str, Sequence[float]]

    @property
    def ratios(self) -> dict[str, float]:
        """F, E and how many times as fast as by hand; of two ways in the same round, the median of the rounds."""
        return {
            "F": self._over("end_to_end", EXPLAINED),
            "E": self.end_to_end / self.limit,
            "times by hand": self._over("end_to_end", "by_hand"),
            "F from cache": self._over("cached", EXPLAINED),
            "E from cache": self.cached / self.cached_limit,
        }

    def _over(self, way: str, other: str) -> float:
        """How many times as fast one way is as another: the machine is not as fast in all rounds."""
        rounds = zip(self.rounds[way], self.rounds[other], strict=True)
        return statistics.median(one / beside for one, beside in rounds)


@dataclass(frozen=True, slots=True)
class Decoded:
    """One film, read whole and with no more than the model asks for."""

    size: str
    syntax: str
    whole_ms: float
    enough_ms: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the two files; 3 if RUN cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--studies", type=int, default=64, help="of each kind")
    parser.add_argument("--small", type=int, default=10_000, help="small studies that are looked for in a flat folder")
    parser.add_argument("--seed", type=int, default=0)
    return code_of(_measure, parser.parse_args(arguments))


def _measure(asked: argparse.Namespace) -> int:
    subject = Subject.of(asked.run)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        cohorts = make_cohorts(folder, asked.studies, asked.seed)
        lines = _speeds(subject, cohorts, folder / "out", asked.rounds)
        films = _decoded(folder, subject.enough, asked.rounds, asked.seed)
        figures = night(asked.run, list(cohorts.values())[-1], folder / "night")
        scan_s = _scanned(folder / "small", asked.small, asked.seed)
    content = {
        "date": str(date.today()),
        "machine": machine(),
        "processor": processor(),
        "versions": versions() | {name: version(name) for name in _CODECS},
        "seed": asked.seed,
        "rounds": asked.rounds,
        "studies": asked.studies,
        "pixels asked for": subject.enough,
        "kinds": [asdict(line) | line.ratios for line in lines],
        "films": [asdict(film) for film in films],
        "night": figures,
        "scan": {"studies": asked.small, "seconds": scan_s},
    }
    publish(asked.out, "speed", _table(content, lines, films, figures), content)
    return 0


def processor() -> dict[str, object]:
    """What torch makes of the processor: bf16 pays only where it computes in it, and does not where it emulates."""
    return {
        "capability": torch.backends.cpu.get_cpu_capability(),
        "mkldnn": bool(torch.backends.mkldnn.is_available()),  # type: ignore[no-untyped-call]
        "bf16": bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()),
        "threads": torch.get_num_threads(),
    }


def _speeds(subject: Subject, cohorts: Mapping[Kind, Path], out: Path, rounds: int) -> list[Speed]:
    """All ways in turns, round by round and kind by kind."""
    pipeline = ByHand.of(subject.model.encoders)
    read = {kind: subject.cohort(folder) for kind, folder in cohorts.items()}
    rates: dict[Kind, dict[str, list[float]]] = {
        kind: {"end_to_end": [], EXPLAINED: [], UNEXPLAINED: [], "by_hand": [], "cached": []} for kind in read
    }
    cache = out.with_name("cache")
    for cohort in read.values():
        end_to_end(subject, cohort, out, cache)  # which fills it
    spent: dict[Kind, list[dict[str, float]]] = {kind: [] for kind in read}
    for _ in track(range(rounds), "Rounds", console=console):
        for kind, cohort in read.items():
            cases, rate = subject.cases(cohort), rates[kind]
            rate["end_to_end"].append(end_to_end(subject, cohort, out))
            rate["cached"].append(end_to_end(subject, cohort, out, cache))
            rate["by_hand"].append(by_hand(pipeline, cohort, cases))
            for way, value in forward_only(subject.run, cohorts[kind]).items():
                rate[way].append(value)
            spent[kind].append(core_seconds(subject, pipeline, cohort))
    lines = []
    for kind, cohort in read.items():
        seconds = {stage: statistics.median(one[stage] for one in spent[kind]) for stage in (*STAGES, BY_HAND)}
        middle = {way: statistics.median(values) for way, values in rates[kind].items()}
        lines.append(
            Speed(
                kind.name,
                **middle,
                limit=limit_of(seconds),
                cached_limit=limit_of(seconds, ENCODED),
                core_seconds=seconds,
                reduced_changes=reduced_changes(subject, cohort),
                rounds=rates[kind],
            )
        )
    return lines


def _decoded(folder: Path, enough: int, rounds: int, seed: int) -> list[Decoded]:
    """Milliseconds to read one film of each size and syntax, whole and in part by turns."""
    found = []
    for size, syntax, path in write_films(folder / "films", folder / "sample", seed):
        taken: dict[int | None, list[float]] = {None: [], enough: []}
        for _ in range(rounds):
            for asked, times in taken.items():
                begin = time.perf_counter()
                read_study(path, "film", enough=asked)
                times.append(1000 * (time.perf_counter() - begin))
        found.append(Decoded(size, syntax, statistics.median(taken[None]), statistics.median(taken[enough])))
    return found


def _scanned(folder: Path, studies: int, seed: int) -> float:
    """Seconds to find small studies in a flat folder."""
    write_small(folder, studies, seed)
    begin = time.perf_counter()
    scan(folder)
    return time.perf_counter() - begin


def _table(
    content: Mapping[str, object],
    lines: Sequence[Speed],
    films: Sequence[Decoded],
    figures: Mapping[str, float],
) -> str:
    """What was measured, as Markdown."""
    written = [
        f"{content['date']}, {content['machine']}, seed {content['seed']}, {content['studies']} studies of each kind,",
        f"medians of {content['rounds']} rounds; {content['processor']}",
        "",
        "| studies | end to end /s | decoded /s | not explained /s | by hand /s | limit /s | F | E | x by hand |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for line in lines:
        rates = (line.end_to_end, line.forward, line.forward_unexplained, line.by_hand, line.limit)
        ratios = (line.ratios[name] for name in ("F", "E", "times by hand"))
        cells = [f"{rate:.2f}" for rate in (*rates, *ratios)]
        written.append(f"| {line.kind} | {' | '.join(cells)} |")
    written += ["", "| studies | from cache /s | limit /s | F from cache | E from cache |", "|---|---|---|---|---|"]
    for line in lines:
        recalled = (line.cached, line.cached_limit, line.ratios["F from cache"], line.ratios["E from cache"])
        written.append(f"| {line.kind} | {' | '.join(f'{figure:.2f}' for figure in recalled)} |")
    columns = (*STAGES, BY_HAND)
    written += ["", f"| core ms a study | {' | '.join(columns)} | probability changes at most |"]
    written.append("|---|---|---|---|---|---|---|")
    for line in lines:
        cells = [f"{1000 * line.core_seconds[stage]:.0f}" for stage in columns]
        written.append(f"| {line.kind} | {' | '.join(cells)} | {line.reduced_changes:.4f} |")
    written += ["", "| film | syntax | whole ms | as much as is asked for ms |", "|---|---|---|---|"]
    written += [f"| {film.size} | {film.syntax} | {film.whole_ms:.0f} | {film.enough_ms:.0f} |" for film in films]
    written += ["", f"| a night of {lines[-1].kind} | |", "|---|---|"]
    written += [f"| {name.replace('_', ' ')} | {value:.1f} |" for name, value in figures.items()]
    written += ["", f"Small studies found in a flat folder: {content['scan']}"]
    return "\n".join(written) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
