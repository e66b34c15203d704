"""Objects to a PACS until all are acknowledged, or it has been away for longer than anyone wants to wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from medmm.send.item import Item, Target
from medmm.send.ledger import Ledger
from medmm.send.status import Answer, NoRoomError, UnavailableError

_AT_ONCE, _BYTES_AT_ONCE = 20, 2**26
"""Objects in one request or association, and their bytes; a larger one goes alone."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 60.0


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a run of sending came to."""

    sent: int
    """Acknowledged now."""
    known: int
    """Acknowledged by an earlier run, and not sent again."""
    warnings: tuple[str, ...]
    """Reasons of those acknowledged with a remark, one each."""
    refused: tuple[str, ...]
    """Reasons of those that the PACS does not take, one each; they are sent again by the next run."""
    waiting: int
    """Not acknowledged and not refused."""
    away: str = ""
    """Why they wait."""


def deliver(
    items: Sequence[Item],
    target: Target,
    ledger: Ledger,
    patience_s: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Delivered:
    """Send what is not acknowledged yet; what is acknowledged is in the ledger before more is sent.

    While the PACS is away it is asked again after random times whose limit doubles (full jitter), at most a minute.
    Objects for which it has no room are waited for as long, once a run, and do not hold up those after them.

    Args:
        items: study by study.
        target: entered by the caller.
        ledger: of this target.
        patience_s: how long it may be away, in seconds.
        progress: told how many of how many are done.

    Raises:
        CohortError, ConfigError: as Target.send.
    """
    left = [item for item in items if item.uid not in ledger.acknowledged]
    known = len(items) - len(left)
    told: list[Answer] = []
    away = ""
    for batch in _batches(left):
        try:
            for answer in _until_answered(batch, target, ledger, patience_s):
                told.append(answer)
                progress(known + len(told), len(items))
        except NoRoomError as problem:
            away, patience_s = str(problem), 0.0
        except UnavailableError as problem:
            away = str(problem)
            break
    stored = [answer for answer in told if answer.verdict == "stored"]
    return Delivered(
        sent=len(stored),
        known=known,
        warnings=tuple(answer.reason for answer in stored if answer.status),
        refused=tuple(answer.reason for answer in told if answer.verdict == "refused"),
        waiting=len(left) - len(told),
        away=away,
    )


def _until_answered(batch: list[Item], target: Target, ledger: Ledger, patience_s: float) -> Iterator[Answer]:
    """Send a batch, and what is left of it again, until each object is stored or refused.

    Raises:
        UnavailableError: if that takes more than `patience_s`.
    """
    from tenacity import Retrying, retry_if_exception_type, stop_before_delay, wait_random_exponential

    left = {item.uid: item for item in batch}
    for attempt in Retrying(
        retry=retry_if_exception_type(UnavailableError),
        stop=stop_before_delay(patience_s),
        wait=wait_random_exponential(_FIRST_WAIT_S, _LONGEST_WAIT_S),
        reraise=True,
    ):
        with attempt:
            for answer in target.send(list(left.values())):
                if answer.verdict == "later" or answer.uid not in left:
                    continue
                ledger.add([answer])
                del left[answer.uid]
                yield answer
            if left:
                raise NoRoomError("has no room, or does not say what it stored")


def _batches(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Objects of one study, few enough at a time."""
    batch: list[Item] = []
    size = 0
    for item in items:
        full = len(batch) == _AT_ONCE or size + item.size > _BYTES_AT_ONCE
        if batch and (full or item.study != batch[0].study):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item.size
    if batch:
        yield batch
