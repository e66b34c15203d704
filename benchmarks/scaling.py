"""How fast do one and two Ray nodes score, what travels and what is written, and what would ten million studies take?

python -m benchmarks.scaling RUN --out FOLDER [--studies 32] [--nodes 50 --cores 16 --price 0.05 --link 10]

RUN is what `medmm train` wrote for a sample cohort; studies are made as for `python -m benchmarks.speed`, of each kind
as many. All runs are of one thread, and a node has one core; two nodes on one machine share its memory and its disk.
FOLDER takes scaling.md and scaling.json. What is said of a large archive is arithmetic from what was measured, and
nothing else: that storage and network keep up is for their owner to see.
"""

from __future__ import annotations

import argparse
import math
import os
import pickle
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.speed.rounds import Subject
    from medmm.read.cohort import CaseRow, Cohort
    from medmm.score.engine import Answered, Engine, Plan

HERE, ONE, TWO = "this machine", "one node", "two nodes"
_GB = 1e9


@dataclass(slots=True)
class Seen:
    """What was seen of one run from where it was started."""

    begun: float = field(default_factory=time.perf_counter)
    done: list[float] = field(default_factory=list)
    """When each answer came, in seconds."""
    kept_s: float = 0.0
    """Spent on keeping answers."""
    sent_bytes: int = 0
    """Of rows and answers, as they travel between nodes."""

    @property
    def rate(self) -> float:
        """Studies a second, without the first quarter: processes start then."""
        aside = max(1, len(self.done) // 4)
        return (len(self.done) - aside) / (self.done[-1] - self.done[aside - 1])

    @property
    def start_s(self) -> float:
        """Seconds until the first answer."""
        return self.done[0] - self.begun


@dataclass(frozen=True, slots=True)
class Scaling:
    """One kind of studies; rates in studies a second, bytes of one study."""

    kind: str
    rates: Mapping[str, float]
    start_s: Mapping[str, float]
    kept_s: float
    """Spent where the run was started to keep one answer on the disk."""
    read_bytes: float
    sent_bytes: float
    store_bytes: float
    films_bytes: float
    tables_bytes: float


@dataclass(frozen=True, slots=True)
class Archive:
    """What is asked about an archive, beside what was measured."""

    archive: int
    """Studies."""
    nodes: int
    cores: int
    """Of a node."""
    price: float
    """Of a core for an hour, in any currency."""
    link: float
    """Gbit/s from the storage to all nodes together."""

    def lines(self, one: Scaling) -> dict[str, str]:
        """The arithmetic for one kind of studies: what it is -> figure with unit."""
        core_s = 1 / one.rates[ONE]
        rate = self.nodes * self.cores / core_s
        written = one.store_bytes + one.films_bytes + one.tables_bytes
        fed = self.link * 1e9 / 8 / (one.read_bytes + one.films_bytes)
        core_hours = self.archive * core_s / 3600
        return {
            "core seconds a study": f"{core_s:.2f}",
            "core hours": f"{core_hours:,.0f}",
            "studies/s of all cores": f"{rate:,.0f}",
            "hours, if nothing else is the limit": f"{core_hours / self.nodes / self.cores:,.1f}",
            "parts (--shard), so that keeping is not": f"{math.ceil(rate * one.kept_s):,}",
            "hours in one part, at the least": f"{self.archive * one.kept_s / 3600:,.0f}",
            "Gbit/s from the storage": f"{rate * one.read_bytes * 8 / 1e9:,.1f}",
            "cores that the link feeds": f"{fed * core_s:,.0f}",
            "read, TB": f"{self.archive * one.read_bytes / 1e12:,.1f}",
            "written, TB": f"{self.archive * written / 1e12:,.1f}",
            "of it films, TB": f"{self.archive * one.films_bytes / 1e12:,.1f}",
            "stores, GB": f"{self.archive * one.store_bytes / _GB:,.0f}",
            "between nodes, GB": f"{self.archive * one.sent_bytes / _GB:,.0f}",
            "cost": f"{core_hours * self.price:,.0f}",
            "cost of 1,000 studies": f"{1000 * core_s / 3600 * self.price:.4f}",
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the two files; 3 if RUN cannot be used or Ray is not installed."""
    from benchmarks.accuracy.command import (
        code_of,
    )

    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--studies", type=int, default=32, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--archive", type=int, default=10_000_000, help="studies that the arithmetic is for")
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--cores", type=int, default=16, help="of a node")
    parser.add_argument("--price", type=float, default=0.05, help="of a core for an hour, in any currency")
    parser.add_argument("--link", type=float, default=10.0, help="Gbit/s from the storage to all nodes together")
    return code_of(_measure, parser.parse_args(arguments))


def _measure(asked: argparse.Namespace) -> int:
    import torch

    from benchmarks.accuracy.command import publish
    from benchmarks.accuracy.table import machine, versions
    from benchmarks.speed.rounds import Subject
    from benchmarks.speed.studies import make_cohorts

    torch.set_num_threads(1)
    subject = Subject.of(asked.run)
    archive = Archive(asked.archive, asked.nodes, asked.cores, asked.price, asked.link)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        cohorts = make_cohorts(folder, asked.studies, asked.seed)
        found = [
            _scaling(kind.name, subject, subject.cohort(path), asked.run, folder / "out")
            for kind, path in cohorts.items()
        ]
    content = {
        "date": str(date.today()),
        "machine": machine(),
        "load": os.getloadavg()[2],
        "versions": versions() | {"ray": version("ray")},
        "seed": asked.seed,
        "studies": asked.studies,
        "kinds": [asdict(one) for one in found],
        "asked": asdict(archive),
        "arithmetic": {one.kind: archive.lines(one) for one in found},
    }
    publish(asked.out, "scaling", _tables(content, found, archive), content)
    return 0


def _scaling(kind: str, subject: Subject, cohort: Cohort, run: Path, out: Path) -> Scaling:
    """One kind of studies on this machine, on one node and on two."""
    from medmm.store.store import STORE
    from medmm.write.picture import FILMS
    from medmm.write.tables import CSV, PARQUET
    from pipelines.score import engine_on

    with engine_on(None, run) as engine:
        seen = {HERE: _scored(subject, cohort, out, engine)}
    for way, nodes in {ONE: 1, TWO: 2}.items():
        seen[way] = _on_nodes(subject, cohort, run, out, nodes)
    studies = len(cohort.rows)
    return Scaling(
        kind,
        {way: one.rate for way, one in seen.items()},
        {way: one.start_s for way, one in seen.items()},
        kept_s=seen[ONE].kept_s / studies,
        read_bytes=sum(_size(row.study.path) for row in cohort.rows if row.study) / studies,
        sent_bytes=seen[ONE].sent_bytes / studies,
        store_bytes=_size(out / STORE) / studies,
        films_bytes=_size(out / FILMS) / studies,
        tables_bytes=(_size(out / PARQUET) + _size(out / CSV)) / studies,
    )


def _on_nodes(subject: Subject, cohort: Cohort, run: Path, out: Path, nodes: int) -> Seen:
    """Score on so many nodes of one core, which are there already; a head beside them works on no case."""
    from ray.cluster_utils import Cluster

    from pipelines.score import engine_on

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=1)
        with engine_on(cluster.address, run) as engine:
            return _scored(subject, cohort, out, engine)
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]  # Ray does not annotate it


def _scored(subject: Subject, cohort: Cohort, out: Path, engine: Engine) -> Seen:
    """Score anew, and look on."""
    from medmm.score.cohort import score_cohort
    from medmm.score.content import Beside

    shutil.rmtree(out, ignore_errors=True)
    seen = Seen()
    score_cohort(
        subject.model.info,
        cohort,
        out,
        lambda done, total: None,
        partial(_watched, engine, seen),
        beside=Beside(subject.memory is not None),
    )
    return seen


def _watched(
    engine: Engine, seen: Seen, plan: Plan, rows: Iterable[CaseRow], workers: int | None
) -> Iterator[Answered]:
    """The same engine, and when its answers came."""
    for answer in engine(plan, rows, workers):
        seen.done.append(time.perf_counter())
        seen.sent_bytes += len(pickle.dumps(answer))
        handed = time.perf_counter()
        yield answer
        seen.kept_s += time.perf_counter() - handed


def _size(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    return (
        path.stat().st_size if path.is_file() else sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
    )


def _tables(content: Mapping[str, object], found: Sequence[Scaling], archive: Archive) -> str:
    """What was measured, and the arithmetic, as Markdown."""
    ways = (HERE, ONE, TWO)
    lines = [
        f"{content['date']}, {content['machine']}, seed {content['seed']}, {content['studies']} studies of each kind,",
        f"one thread a process; load average of the last 15 minutes {content['load']:.1f}",
        "",
        f"| studies/s | {' | '.join(ways)} | two / one | first answer after s: {' | '.join(ways)} |",
        f"|{'---|' * 8}",
    ]
    for one in found:
        rates, starts = ([f"{of[way]:.{digits}f}" for way in ways] for of, digits in ((one.rates, 2), (one.start_s, 1)))
        lines.append(f"| {one.kind} | {' | '.join([*rates, f'{one.rates[TWO] / one.rates[ONE]:.2f}', *starts])} |")
    columns = ("read", "sent", "store", "films", "tables")
    lines += ["", f"| kB a study | {' | '.join(columns)} | ms to keep an answer |", f"|{'---|' * 7}"]
    for one in found:
        cells = [f"{getattr(one, f'{name}_bytes') / 1000:,.1f}" for name in columns]
        lines.append(f"| {one.kind} | {' | '.join(cells)} | {1000 * one.kept_s:.1f} |")
    figures = [archive.lines(one) for one in found]
    lines += [
        "",
        f"| {archive.archive:,} studies, {archive.nodes} nodes of {archive.cores} cores | "
        f"{' | '.join(one.kind for one in found)} |",
        f"|{'---|' * (1 + len(found))}",
        *(f"| {name} | {' | '.join(each[name] for each in figures)} |" for name in figures[0]),
        "",
        f"At {archive.price} a core hour; a link of {archive.link:g} Gbit/s.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
