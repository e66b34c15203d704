"""What each system said and what that cost: a file for each fold, whole or absent, so that a second call goes on."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.accuracy.fold import Fold, NotRunError, Said, System, targets_of
from medmm.config import RunConfig
from medmm.errors import ConfigError
from medmm.files import write_whole
from medmm.learn.train import Prepared


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """One file."""

    said: Said
    seconds: float
    """Of learning and answering, by the clock; encoding, which all share, is not in it."""
    megabytes: float
    """Largest resident memory meanwhile, with the libraries and the encoded cohort; NaN where Linux does not say."""


@dataclass(frozen=True, slots=True)
class Results:
    """The folder in which they stand."""

    folder: Path

    def claim(self, prepared: Prepared, folds: int, run: RunConfig) -> None:
        """Write what the folder is about, or check that it is about the same.

        Raises:
            ConfigError: if it holds results of other cases, folds or dials.
        """
        cases = repr([(case.row.case_id, case.row.patient_id) for case in prepared.cases]).encode()
        digest = hashlib.sha256(cases + targets_of(prepared).tobytes() + prepared.encoders.digest.encode()).hexdigest()
        about = json.dumps({"cases": digest, "folds": folds, "run": run.model_dump(mode="json")}, indent=2) + "\n"
        path = self.folder / "about.json"
        if path.exists() and path.read_text(encoding="utf-8") != about:
            raise ConfigError(
                f"{self.folder} holds results of other cases, folds or dials", "Name another --out folder"
            )
        write_whole(path, lambda target: target.write_text(about, encoding="utf-8"))

    def get(self, system: str, fold: Fold) -> Result | None:
        """What is there of a fold, if anything."""
        path = self._path(system, fold)
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as kept:
            said = Said(kept["probabilities"], kept["thresholds"])
            return Result(said, float(kept["seconds"]), float(kept["megabytes"]))

    def keep(self, system: str, fold: Fold, result: Result) -> None:
        """Write a result."""
        content = {
            "probabilities": result.said.probabilities,
            "thresholds": result.said.thresholds,
            "seconds": np.array(result.seconds),
            "megabytes": np.array(result.megabytes),
        }
        write_whole(self._path(system, fold), lambda path: np.savez(path, **content))  # type: ignore[arg-type]  # numpy's stub
        self._reason(system).unlink(missing_ok=True)

    def keep_reason(self, system: str, reason: str) -> None:
        """Write why a system was not run."""
        write_whole(self._reason(system), lambda path: path.write_text(reason, encoding="utf-8"))

    def why_not(self, system: str) -> str:
        """Why a system was not run; '' if it was, or nobody tried."""
        reason = self._reason(system)
        return reason.read_text(encoding="utf-8") if reason.exists() else ""

    def work(self, system: str, fold: Fold) -> Path:
        """Where a system keeps what it needs to go on after it was stopped."""
        return self.folder / "work" / _file_name(system) / f"{fold.seed}-{fold.number}"

    def _path(self, system: str, fold: Fold) -> Path:
        return self.folder / "said" / _file_name(system) / f"{fold.seed}-{fold.number}.npz"

    def _reason(self, system: str) -> Path:
        return self.folder / "said" / _file_name(system) / "not_run.txt"


def _file_name(system: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "-", system.lower()).strip("-")


def _forget_peak() -> None:
    """Let Linux count the peak of the resident memory anew, see proc(5)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_megabytes() -> float:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return float("nan")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else float("nan")


def measured(name: str, system: System, prepared: Prepared, fold: Fold, work: Path) -> Result:
    """Let a system learn and answer; what it left of itself in its folder meanwhile is thrown away.

    Raises:
        NotRunError: if it cannot.
        ValueError: if it does not answer with one finite probability for each label of each test case.
    """
    work.mkdir(parents=True, exist_ok=True)
    _forget_peak()
    start = time.perf_counter()
    try:
        said = system(prepared, fold, work)
    except NotRunError:
        shutil.rmtree(work)
        raise
    seconds, megabytes = time.perf_counter() - start, _peak_megabytes()
    wanted = (int(fold.test.sum()), len(prepared.cohort.labels))
    if said.probabilities.shape != wanted or not np.isfinite(said.probabilities).all():
        raise ValueError(f"{name} must say {wanted} probabilities, each a finite number")
    shutil.rmtree(work)
    return Result(said, seconds if said.seconds is None else said.seconds, megabytes)


def run_all(
    results: Results,
    systems: Mapping[str, System],
    prepared: Prepared,
    folds: Sequence[Fold],
    tell: Callable[[str], None],
) -> None:
    """Make every result that is missing; a system that cannot run is told of once and left out."""
    for name, system in systems.items():
        for fold in folds:
            if results.get(name, fold) is not None:
                continue
            tell(f"{name}: seed {fold.seed}, fold {fold.number}")
            try:
                results.keep(name, fold, measured(name, system, prepared, fold, results.work(name, fold)))
            except NotRunError as problem:
                results.keep_reason(name, str(problem))
                tell(f"{name}: not run: {problem}")
                break
