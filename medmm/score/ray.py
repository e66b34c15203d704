"""Scoring on the nodes of a Ray cluster: the same reading and answering as on one machine, and the same bytes out.

A case is a Ray task. The process that runs it holds the model, the training cases and a child that reads, loaded from
storage that all nodes share, and keeps them for its next case. Tasks and not the actor pool of Ray Data: a task whose
node is lost runs again on any other, while the calls of an actor wait until that very actor has found another place,
and, since answers are taken in order, all others would wait with them.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from medmm.errors import ConfigError, Reason
from medmm.read.cohort import CaseRow
from medmm.read.pool import Children
from medmm.read.sources.source import Source
from medmm.result import Refusal, ScoredCase
from medmm.score.engine import Answered, Engine, Plan
from medmm.score.reading import read_row
from medmm.score.worker import Held, answerer

LOCAL = "local"
"""Instead of an address: a Ray on this machine that lasts as long as the run."""
_AHEAD = 64
"""Cases that are begun before the oldest of them is answered, at the least; four for each place if that is more."""
_KNOCK_S = 10.0
_TRIES = 4
"""How often a case may take its process or its node with it."""


@contextmanager
def on_ray(model: Path, memory: Path | None, address: str = LOCAL) -> Iterator[Engine]:
    """An engine on a Ray cluster, for as long as the `with` lasts.

    Args:
        model: the model folder, where every node finds it.
        memory: the file of training cases to compare with, likewise; None to compare with none.
        address: of a running Ray, 'auto' for the one that this machine belongs to, or LOCAL. A Ray that this process
            is connected to already is used whatever the address.

    Raises:
        ConfigError: if Ray is not installed, or none answers at the address.
    """
    ray = _ray()
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, address)
    try:
        yield partial(_score, Held(model.absolute(), memory.absolute() if memory else None))
    finally:
        if ours:
            ray.shutdown()


def _ray() -> ModuleType:
    """Ray, which nothing tells its makers of, and which gives a case up whose node has no memory for it.

    By itself it would begin such a case again for ever.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_task_oom_retries"] = str(_TRIES - 1)  # noqa: SIM112  # as Ray spells it
    try:
        import ray
    except ImportError:
        raise ConfigError("Ray is not installed", "Install it with: pip install 'medmm[ray]'") from None
    return ray


def _connect(ray: ModuleType, address: str) -> None:
    """Join a cluster, or start one here, without a dashboard; what workers print stays with them.

    Where nothing listens Ray would ask for minutes; a knock is answered, or not, in seconds.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if host and port.isdigit():
            socket.create_connection((host, int(port)), _KNOCK_S).close()
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, OverflowError, RuntimeError, ValueError):
        remedy = "Begin with `ray start --head`, and give the address that it prints"
        raise ConfigError(f"no Ray answers at '{address}'", remedy) from None


def _score(held: Held, plan: Plan, rows: Iterable[CaseRow], workers: int | None) -> Iterator[Answered]:
    """The engine: cases to the cluster as there is room, answers in their order."""
    import ray

    there = ray.cluster_resources()  # type: ignore[no-untyped-call]  # Ray does not annotate it
    places = int(there.get("CPU", 0))
    if not places:
        raise ConfigError("no node of the Ray cluster has a core to give", "Add one with `ray start --address`")
    work = ray.remote(num_cpus=1, max_retries=_TRIES - 1)(_work)
    cache = plan.cache.absolute() if plan.cache else None
    same = ray.put((held, replace(plan, films=plan.films.absolute(), cache=cache)))
    ahead = workers or max(_AHEAD, 4 * places)
    begun: deque[tuple[CaseRow, Any]] = deque()
    try:
        for row in rows:
            begun.append((row, work.remote(same, _absolute(row))))
            if len(begun) >= ahead:
                yield _next(begun)
        while begun:
            yield _next(begun)
    finally:
        for _, task in begun:
            ray.cancel(task, force=True)


def _absolute(row: CaseRow) -> CaseRow:
    """A row whose files are found from any working directory."""

    def placed(source: Source | None) -> Source | None:
        return replace(source, path=source.path.absolute()) if source else None

    note = row.note_file.absolute() if row.note_file else None
    return replace(row, study=placed(row.study), prior=placed(row.prior), note_file=note)


def _next(begun: deque[tuple[CaseRow, Any]]) -> Answered:
    """Wait for the oldest case; one that took its process with it every time is refused.

    Raises:
        Exception: what its process raised: for want of room on the disk, of the model.
    """
    import ray
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayTaskError, WorkerCrashedError

    row, task = begun.popleft()
    try:
        return row, ray.get(task)
    except RayTaskError as failed:
        raise failed.cause from None
    except OutOfMemoryError:
        problem = f"found no memory left on its node, {_TRIES} times"
        remedy = "Give the nodes fewer cores or more memory, and run the same command again"
        return row, Refusal(row.case_id, Reason.TOO_LARGE, problem, remedy)
    except (NodeDiedError, WorkerCrashedError):
        problem = f"killed the process that scored it, {_TRIES} times"
        return row, Refusal(row.case_id, Reason.CRASH, problem, "Check the study with a DICOM viewer")


def _work(same: tuple[Held, Plan], row: CaseRow) -> ScoredCase | Refusal:
    """Runs in a process of a node: read a case in its child, and answer it."""
    held, plan = same
    loaded = answerer(held, plan.model_id)
    _, read = _child().start(row.case_id, read_row, (plan.cohort, row, loaded.enough, loaded.kept(plan)))()
    return loaded.answered(plan, row, read)


@lru_cache(maxsize=1)
def _child() -> Children:
    """The child of this process that reads, from one case to the next."""
    return Children(1)
