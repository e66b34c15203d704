"""What the events of a case come to: the words in force, how people stand to each label, and who holds the case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from medmm.errors import StoreError
from medmm.result import Call, Outline, Reading, Review, Standing, Verdict, standing_of
from medmm.store.events import Event, Shown


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person says of one label."""

    label: str
    verdict: Verdict
    comment: str = ""
    outline: Outline | None = None
    """Drawn on a film."""
    blind: bool = False
    """Whether it was said before the model's answer was shown."""
    present: bool | None = None
    """Only where the model calls the label uncertain: whether it holds, since accept and override do not say so."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Who holds a case, and since when."""

    who: str
    at: datetime
    """UTC."""


@dataclass(frozen=True, slots=True)
class Desk:
    """One case as people left it, at the moment of reading: deciding hands it back, so that a conflict is seen."""

    shown: Shown
    """The newest prediction."""
    scored_at: datetime
    """UTC."""
    last: int
    """Number of the last event of the case; 0 for none."""
    standings: Mapping[str, Standing]
    """Label -> how people stand to it, in the model's order."""
    claim: Claim | None
    """None where nobody holds the case, or whoever did let the time run out."""
    events: tuple[Event, ...]
    """All that was ever done with the case, also on earlier predictions, oldest first."""


class ConflictError(StoreError):
    """Somebody else decided the same label while it was being decided here; nothing was stored, nothing is lost."""

    def __init__(self, words: Sequence[Review]) -> None:
        said = "; ".join(f"{word.reviewer} ({word.verdict}, {word.at:%H:%M} UTC)" for word in words)
        super().__init__(
            f"meanwhile this finding was decided by {said}", "Look at what was said, and decide again if it still holds"
        )
        self.words = tuple(words)

    def __reduce__(self) -> tuple[type[ConflictError], tuple[Sequence[Review]]]:  # type: ignore[override]
        return type(self), (self.words,)


def stated(call: Call | None, decision: Decision) -> bool | None:
    """Whether the label holds, by this decision on what the model called it; None where neither is said."""
    if decision.verdict == "cannot judge":
        return None
    if call in (None, "uncertain"):
        return decision.present
    return (call == "flagged") == (decision.verdict == "accept")


def word_out(decision: Decision, reading: Reading, finding: Mapping[str, Any]) -> dict[str, Any]:
    """A decision as the payload of its event.

    Args:
        decision: what was said.
        reading: in which capacity.
        finding: what the model said: call, probability, threshold; empty where that is not known.
    """
    present = stated(finding.get("call"), decision)
    return asdict(decision) | {"present": present, "reading": reading, "model": dict(finding)}


def words(events: Iterable[Event]) -> tuple[Review, ...]:
    """Every word that was not taken back, oldest first."""
    events = list(events)
    taken_back = {event.payload["event"] for event in events if event.kind == "retracted"}
    return tuple(_word(event) for event in events if event.kind == "decided" and event.number not in taken_back)


def _word(event: Event) -> Review:
    said = event.payload
    outline = said["outline"] and Outline(said["outline"]["film"], tuple(map(tuple, said["outline"]["points"])))
    return Review(
        event.shown.case_id,
        event.shown.model_id,
        said["label"],
        said["verdict"],
        said["comment"],
        event.who,
        event.at,
        event.role,
        said["reading"],
        said["present"],
        said["blind"],
        outline,
        event.number,
    )


def standings(events: Iterable[Event], prediction: int | None, labels: Sequence[str] = ()) -> dict[str, Standing]:
    """Label -> how people stand to it on one prediction; what was said of an earlier one does not count.

    Args:
        events: of the case.
        prediction: the number of the prediction.
        labels: in whose order the answer comes; those that nobody decided are undecided.
    """
    said: dict[str, list[Review]] = {label: [] for label in labels}
    for word in words(event for event in events if event.shown.prediction == prediction):
        said.setdefault(word.label, []).append(word)
    return {label: standing_of(of_label) for label, of_label in said.items()}


def reading_of(events: Iterable[Event], prediction: int | None, who: str) -> Reading:
    """In which capacity a person reads a prediction: what they said last; else second after another person's word."""
    events = [event for event in events if event.shown.prediction == prediction]
    said = [event.payload["reading"] for event in events if event.kind == "read as" and event.who == who]
    if said:
        return said[-1]  # type: ignore[no-any-return]
    return "second reader" if any(word.reviewer != who for word in words(events)) else "first reader"


def has_seen(desk: Desk, who: str) -> bool:
    """Whether a person was shown what the model says in its newest prediction.

    They were if they opened it or said something of it otherwise than blind, or had once said something of every
    finding, which ends blindness.
    """
    said = set[str]()
    for event in desk.events:
        if event.who != who or event.shown.prediction != desk.shown.prediction:
            continue
        if not event.payload.get("blind", True):
            return True
        if event.kind == "decided":
            said.add(event.payload["label"])
        elif event.kind == "retracted":
            said.discard(event.payload["label"])
        if said == set(desk.standings):
            return True
    return False


def claim_of(events: Iterable[Event]) -> Claim | None:
    """Who claimed the case last, if nobody released it since; it may be stale."""
    last = [event for event in events if event.kind in ("claimed", "released")][-1:]
    return Claim(last[0].who, last[0].at) if last and last[0].kind == "claimed" else None


def in_force(claim: Claim | None, at: datetime, lasts: timedelta) -> Claim | None:
    """The claim, unless it is stale."""
    return claim if claim and at - claim.at < lasts else None
