"""The processes that train together, one or several: which rows are whose, who writes, and what all agree on.

`accelerate launch` or torchrun starts them; all see the same folders. Alone, everything here does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from medmm.errors import ConfigError

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")
_PATIENCE = timedelta(days=1)
"""How long a process waits for another: one may encode alone for hours. A launcher ends all when one has died."""


def accelerator() -> Accelerator:
    """This process's device and the way to the others; every call gives the same."""
    from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs

    handlers = [
        InitProcessGroupKwargs(timeout=_PATIENCE),
        DistributedDataParallelKwargs(find_unused_parameters=True),
    ]
    return Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no", kwargs_handlers=handlers)


def is_main() -> bool:
    """True for the one process that writes and prints."""
    return bool(accelerator().is_main_process)


def wait() -> None:
    """Go on when every process has come here."""
    accelerator().wait_for_everyone()


def rank() -> tuple[int, int]:
    """Which process this is, from 0, and how many there are."""
    here = accelerator()
    return int(here.process_index), int(here.num_processes)


def share(of: Sequence[T]) -> list[T]:
    """The part of a list that is this process's; one after the other they are the whole."""
    number, count = rank()
    return list(of[number * len(of) // count : (number + 1) * len(of) // count])


def agree(what: str, value: Any) -> None:
    """Check that every process has the same value.

    Raises:
        ConfigError: if not; `what` names it.
    """
    from accelerate.utils import gather_object

    if len(set(gather_object([value]))) > 1:
        raise ConfigError(f"the processes do not have the same {what}", "Let all see the same files and packages")


def from_main(value: float) -> float:
    """The main process's value, so that all decide alike."""
    from accelerate.utils import broadcast_object_list

    (told,) = broadcast_object_list([value])
    return float(told)


def summed(value: float) -> float:
    """The sum over all processes."""
    here = accelerator()
    return float(here.reduce(torch.tensor(value, dtype=torch.float64, device=here.device), "sum"))
