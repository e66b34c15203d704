"""One case that is open on one reader's screen, from the moment it is opened until the reader leaves it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from medmm.errors import StoreError
from medmm.result import Finding, Outline, Reading, Review, ScoredCase, Verdict
from medmm.store.decisions import ConflictError, Decision, Desk, has_seen, reading_of
from medmm.store.events import Reader
from medmm.store.store import Store
from medmm.store.worklist import WorklistRow


@dataclass(slots=True)
class Sitting:
    """The case as it was read, where it stands in its list, and what the reader did. Made by `sit`."""

    store: Store
    reader: Reader
    rows: Sequence[WorklistRow]
    """The list in which it was opened."""
    at: int
    """Its place there, from 0."""
    scored: ScoredCase
    desk: Desk
    opened: int
    """Number of that event."""
    is_hidden: bool
    """Whether the reader is not to see what the model says yet."""
    chosen: str = ""
    """The label that is looked at."""
    conflict: tuple[Review, ...] = ()
    """What somebody else said while the reader was deciding the same label."""
    problem: str = ""
    """Why the last thing was not stored."""
    typed: dict[str, str] = field(default_factory=dict)
    """Label -> a comment that was typed and not stored yet."""
    is_left: bool = False
    """Whether the reader has gone on to another case, or back to the list."""

    @property
    def finding(self) -> Finding:
        """The finding that is looked at."""
        return next(one for one in self.scored.prediction.findings if one.label == self.chosen)

    @property
    def labels(self) -> list[str]:
        """All labels, in the model's order."""
        return [one.label for one in self.scored.prediction.findings]

    @property
    def is_done(self) -> bool:
        """Whether the reader has said something of every finding."""
        return all(self.mine(label) for label in self.labels)

    @property
    def reading(self) -> Reading:
        """In which capacity the reader reads the case."""
        return reading_of(self.desk.events, self.desk.shown.prediction, self.reader.name)

    @property
    def may_adjudicate(self) -> bool:
        """Whether people disagree, and the reader may end that."""
        differ = any(made.state == "disagreed" for made in self.desk.standings.values())
        return self.reader.leads and not self.is_hidden and (differ or self.reading == "adjudicator")

    def mine(self, label: str) -> Review | None:
        """The reader's own word on a label."""
        return next((word for word in self.desk.standings[label].words if word.reviewer == self.reader.name), None)

    def others(self, label: str) -> list[Review]:
        """What others said of a label; nothing while the reader reads blind."""
        said = self.desk.standings[label].words
        return [] if self.is_hidden else [word for word in said if word.reviewer != self.reader.name]

    def look_again(self) -> None:
        """Read what was done with the case since; if it was scored again, the new answer."""
        model_id, case_id = self.desk.shown.model_id, self.desk.shown.case_id
        self.desk = self.store.trail.desk(model_id, case_id)
        if self.desk.shown.content != self.scored.content:
            self.scored = self.store.case(model_id, case_id)

    def decide(self, verdict: Verdict, present: bool | None, comment: str, outline: Outline | None) -> None:
        """Store a word on the chosen label and go on to the next one that the reader has not decided."""
        said = Decision(self.chosen, verdict, comment.strip(), outline, self.is_hidden, present)
        self.conflict, self.problem = (), ""
        try:
            self.store.trail.decide(self.reader, self.desk, said)
        except ConflictError as conflict:
            self.conflict = conflict.words
        except StoreError as problem:
            self.problem = str(problem)
        self.look_again()
        if self.conflict or self.problem:
            return
        self.typed.pop(self.chosen, None)
        self.is_hidden = self.is_hidden and not self.is_done
        self.chosen = self._following() or self.chosen

    def take_back(self) -> None:
        """Take the reader's own word on the chosen label back."""
        word = self.mine(self.chosen)
        if word:
            self._do(lambda: self.store.trail.retract(self.reader, word.event))

    def adjudicate(self) -> None:
        """Have what the reader says end a disagreement, or no longer."""
        reading: Reading = "second reader" if self.reading == "adjudicator" else "adjudicator"
        self._do(lambda: self.store.trail.read_as(self.reader, self.desk.shown, reading))

    def claim(self) -> None:
        """Claim the case, or release it."""
        act = self.store.trail.release if self.desk.claim else self.store.trail.claim
        self._do(lambda: act(self.reader, self.desk.shown))

    def leave(self) -> None:
        """Note how long the case was open."""
        self.is_left = True
        self.store.trail.close(self.reader, self.opened)

    def _do(self, act: Callable[[], object]) -> None:
        """Change something in the trail, or say why not; look again either way."""
        self.problem = ""
        try:
            act()
        except StoreError as problem:
            self.problem = str(problem)
        self.look_again()

    def _following(self) -> str:
        """The next label that the reader has not decided, around the end; empty if there is none."""
        start = self.labels.index(self.chosen) + 1
        return next((label for label in [*self.labels[start:], *self.labels[:start]] if not self.mine(label)), "")


def sit(store: Store, reader: Reader, rows: Sequence[WorklistRow], at: int, *, blind: bool) -> Sitting:
    """Open a case of a list, which is an event.

    Args:
        store: where it is kept.
        reader: who opens it.
        rows: the list.
        at: its place there, from 0.
        blind: whether what the model says is hidden until the reader has decided every finding; not if they saw it
            before, in whatever session.

    Raises:
        StoreError: if it is not there any more.
    """
    model_id, case_id = rows[at].shown.model_id, rows[at].shown.case_id
    scored, desk = store.case(model_id, case_id), store.trail.desk(model_id, case_id)
    blind = blind and not has_seen(desk, reader.name)
    opened = store.trail.open(reader, desk.shown, blind=blind)
    sitting = Sitting(store, reader, rows, at, scored, desk, opened, is_hidden=blind)
    sitting.chosen = sitting.labels[0] if blind else scored.prediction.leading.label
    return sitting
