"""TensorBoard or MLflow beside a training run: dials, losses of every epoch, final figures; nothing of a patient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmm.config import RunConfig
from medmm.errors import ConfigError

if TYPE_CHECKING:
    from medmm.judge.metrics import Score
    from medmm.learn.fit import Epoch
    from medmm.learn.train import Listener


class Tracked:
    """A listener that also tells a tracker; without one it only passes on."""

    def __init__(self, listener: Listener, tracker: Any) -> None:
        self._listener = listener
        self._tracker = tracker

    def encoded(self, done: int, total: int) -> None:
        """After each case that went through the encoders."""
        self._listener.encoded(done, total)

    def epoch(self, stage: str, epoch: Epoch) -> None:
        """After each epoch of a stage."""
        self._listener.epoch(stage, epoch)
        losses = {f"{stage}/training loss": epoch.train_loss, f"{stage}/held-out loss": epoch.held_out_loss}
        self._log(losses, epoch.number)

    def judged(self, scores: Sequence[Score]) -> None:
        """The macro AUROC of every system on test patients."""
        self._log({f"test macro AUROC/{score.system}": score.macro.value for score in scores})

    def _log(self, values: dict[str, float], step: int | None = None) -> None:
        if self._tracker is not None:
            named = {name.replace("(", "").replace(")", "").replace(":", ""): value for name, value in values.items()}
            self._tracker.log(named, step=step)


@contextmanager
def tracking(run: RunConfig, out: Path, listener: Listener) -> Iterator[Tracked]:
    """Tell the tracker that `run` names, in `out`/tracker, of the dials and of what the listener hears.

    Raises:
        ConfigError: if the tracker is not installed.
    """
    kind = run.training.tracker
    if kind == "none":
        yield Tracked(listener, None)
        return
    tracker = make_tracker(kind, out / "tracker")
    tracker.start()
    tracker.store_init_configuration(_dials(run))
    yield Tracked(listener, tracker)
    tracker.finish()


def make_tracker(kind: str, folder: Path) -> Any:
    """One of accelerate's trackers, not started."""
    from accelerate.tracking import MLflowTracker, TensorBoardTracker
    from accelerate.utils import is_mlflow_available, is_tensorboard_available

    there = is_tensorboard_available() if kind == "tensorboard" else is_mlflow_available()
    if not there:
        raise ConfigError(f"tracker '{kind}' is not installed", f"pip install {kind}, or take [training] tracker out")
    return (TensorBoardTracker if kind == "tensorboard" else MLflowTracker)("medmm", logging_dir=folder)


def _dials(run: RunConfig) -> dict[str, str]:
    """Every dial by its name in run.toml."""
    groups = run.model_dump(mode="json")
    return {f"{group}.{name}": str(value) for group, dials in groups.items() for name, value in dials.items()}
