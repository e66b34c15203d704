"""Objects to a PACS until all are acknowledged, or it has been away for longer than anyone wants to wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from medmm.send.item import Item, Target
from medmm.send.ledger import Ledger
from medmm.send.status import Answer, UnavailableError

_AT_ONCE, _BYTES_AT_ONCE = 20, 2**26
"""Objects in one request or association, and their bytes; a larger one goes alone. A PACS that takes none of so many in
a row takes nothing now."""
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

    What the PACS does not take now holds up nothing behind it: it is offered again, as everything is while the PACS is
    away, after random times whose limit doubles (full jitter), at most a minute.

    Args:
        items: study by study.
        target: entered by the caller.
        ledger: of this target.
        patience_s: how long it may take nothing, in seconds; then the rest is left to the next run.
        progress: told how many of how many are done.

    Raises:
        CohortError, ConfigError: as Target.send.
    """
    from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

    waiting = {item.uid: item for item in items if item.uid not in ledger.acknowledged}
    known = len(items) - len(waiting)
    told: list[Answer] = []
    away = ""
    moved = time.monotonic()

    def impatient(state: RetryCallState) -> bool:
        return time.monotonic() - moved + state.upcoming_sleep >= patience_s

    try:
        for attempt in Retrying(
            retry=retry_if_exception_type(UnavailableError),
            stop=impatient,
            wait=wait_random_exponential(_FIRST_WAIT_S, _LONGEST_WAIT_S),
            reraise=True,
        ):
            with attempt:
                for answer in _offered(waiting, target, ledger):
                    told.append(answer)
                    moved = time.monotonic()
                    progress(known + len(told), len(items))
    except UnavailableError as problem:
        away = str(problem)
    stored = [answer for answer in told if answer.verdict == "stored"]
    return Delivered(
        sent=len(stored),
        known=known,
        warnings=tuple(answer.reason for answer in stored if answer.status),
        refused=tuple(answer.reason for answer in told if answer.verdict == "refused"),
        waiting=len(waiting),
        away=away,
    )


def _offered(waiting: dict[str, Item], target: Target, ledger: Ledger) -> Iterator[Answer]:
    """Offer everything that waits, once; what is stored or refused waits no longer, and what is not waits last.

    Raises:
        UnavailableError: if something still waits. Not all was offered if the PACS is away, or if it took nothing of
            what it was offered last.
    """
    reasons: list[str] = []
    in_a_row = 0
    for batch in _batches(list(waiting.values())):
        try:
            for answer in target.send(batch):
                if answer.uid not in waiting:
                    continue
                if answer.verdict == "later":
                    waiting[answer.uid] = waiting.pop(answer.uid)
                    reasons.append(answer.reason)
                    in_a_row += 1
                    continue
                in_a_row = 0
                ledger.add([answer])
                del waiting[answer.uid]
                yield answer
        except UnavailableError:
            stumbled = [item.uid for item in batch if item.uid in waiting][:1]  # perhaps at this one
            waiting.update({uid: waiting.pop(uid) for uid in stumbled})
            raise
        if in_a_row >= _AT_ONCE:
            break
    if waiting:
        why = f"does not take them now: {', '.join(sorted(set(reasons)))}" if reasons else "does not say what it stored"
        raise UnavailableError(why)


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
