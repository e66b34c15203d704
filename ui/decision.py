"""The human's word on one finding: accept, override, cannot judge; who said what before; and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from medmm.result import Finding, Review, Verdict
from medmm.store.events import Event
from ui import door, viewer, words
from ui.keys import Key
from ui.say import escape, literal, moment, name, said, said_blind
from ui.sitting import Sitting

COMMENT_LIMIT = 2000


@dataclass(frozen=True, slots=True)
class Choice:
    """One thing that can be said of a finding."""

    key: str
    """Of the keyboard."""
    text: str
    verdict: Verdict
    present: bool | None = None


def choices(finding: Finding, *, hidden: bool) -> tuple[Choice, ...]:
    """What can be said of a finding.

    Whoever has not seen the model's answer, or is told that it is uncertain, says whether the finding is present: that
    accepts the answer that says the same, and overrides the others.
    """
    cannot = Choice("c", words.CANNOT, "cannot judge")
    accept = Choice("a", words.ACCEPT.format(words.CALLS[finding.call]), "accept")
    if not hidden and finding.call != "uncertain":
        other = words.CALLS["not flagged" if finding.flagged else "flagged"]
        return accept, Choice("o", words.OVERRIDE.format(other), "override"), cannot
    answers = []
    for key, text, present in (("y", words.PRESENT, True), ("n", words.ABSENT, False)):
        agrees = finding.call == ("flagged" if present else "not flagged")
        answers.append(Choice(key, text, "accept" if agrees else "override", present))
    return (*answers, cannot) if hidden else (accept, *answers, cannot)


def keys(sitting: Sitting) -> list[Key]:
    """The keys of what can be said of the finding that is looked at, and those around it."""
    said = [
        Key(choice.key, choice.text, _widget(sitting, choice))
        for choice in choices(sitting.finding, hidden=sitting.is_hidden)
    ]
    return [
        *said,
        Key("m", words.TO_COMMENT, _comment(sitting), writes=True),
        Key("u", words.UNDO, f"undo-{_place(sitting)}"),
    ]


def panel(sitting: Sitting) -> None:
    """Ask for a word on the finding that is looked at."""
    _troubles(sitting)
    _before(sitting)
    key = _comment(sitting)
    st.text_area(
        words.COMMENT,
        sitting.typed.get(sitting.chosen, ""),
        key=key,
        max_chars=COMMENT_LIMIT,
        height=68,
        placeholder=words.COMMENT_HINT,
        label_visibility="collapsed",
        on_change=_keep,
        args=(sitting, sitting.chosen, key),
    )
    with st.container(key="choices", horizontal=True, gap="xsmall"):
        for choice in choices(sitting.finding, hidden=sitting.is_hidden):
            st.button(
                _with_key(choice.text, choice.key),
                key=_widget(sitting, choice),
                on_click=door.press_at(sitting, _decide),
                args=(sitting, sitting.chosen, choice, key),
            )
        if sitting.mine(sitting.chosen):
            undo = f"undo-{_place(sitting)}"
            st.button(
                _with_key(words.UNDO, "u"),
                key=undo,
                type="tertiary",
                on_click=door.press_at(sitting, sitting.take_back),
            )
        if sitting.may_adjudicate:
            text = words.ADJUDICATE_NOT if sitting.reading == "adjudicator" else words.ADJUDICATE
            st.button(text, key="adjudicate", type="tertiary", on_click=door.press_at(sitting, sitting.adjudicate))


def _with_key(text: str, key: str) -> str:
    return f"{literal(text)} `{key.upper()}`"


def _widget(sitting: Sitting, choice: Choice) -> str:
    """The key of a button; another one for each finding, so that no key decides what was not seen."""
    return f"say-{_place(sitting)}-{choice.key}"


def _comment(sitting: Sitting) -> str:
    """The key of the comment's field; another one for each word, so that it is empty once that is stored."""
    mine = sitting.mine(sitting.chosen)
    return f"comment-{_place(sitting)}-{mine.event if mine else 0}"


def _place(sitting: Sitting) -> str:
    """Which prediction and which of its findings is looked at."""
    return f"{sitting.desk.shown.prediction}-{sitting.labels.index(sitting.chosen)}"


def _keep(sitting: Sitting, label: str, key: str) -> None:
    """What was typed outlives a look at another finding, and a conflict."""
    sitting.typed[label] = str(st.session_state[key])


def _decide(sitting: Sitting, label: str, choice: Choice, key: str) -> None:
    if label != sitting.chosen:  # pressed twice, while the next finding was being drawn
        return
    outline = viewer.drawn(sitting.scored, sitting.chosen)
    sitting.decide(choice.verdict, choice.present, str(st.session_state.get(key, "")), outline)


def _troubles(sitting: Sitting) -> None:
    """What somebody else said meanwhile, and what could not be stored."""
    for word in sitting.conflict:
        st.warning(literal(_meanwhile(sitting, word)), icon=":material/group:")
    if sitting.problem:
        st.error(literal(words.NOTHING_STORED.format(sitting.problem)))


def _meanwhile(sitting: Sitting, word: Review) -> str:
    """What somebody else said while the reader was deciding; to a blind reader only that somebody did."""
    if sitting.is_hidden:
        return words.CONFLICT_HIDDEN.format(name(word.label))
    what = said(sitting.finding, word)
    told = words.WITH_COMMENT.format(what, word.comment) if word.comment else what
    return words.CONFLICT.format(name(word.label), told)


def _before(sitting: Sitting) -> None:
    """Who said what of the finding that is looked at, and when; on paper of every finding."""
    if lines := _spoken(sitting, sitting.finding):
        st.html(f'<ul class="mm-words">{"".join(lines)}</ul>')
    every = [
        f"<p><b>{escape(name(finding.label))}</b></p><ul>{''.join(lines)}</ul>"
        for finding in sitting.scored.prediction.findings
        if (lines := _spoken(sitting, finding))
    ]
    if every:
        st.html(f'<div class="mm-paper">{"".join(every)}</div>')


def _spoken(sitting: Sitting, finding: Finding) -> list[str]:
    """A line for each word on a finding, the reader's own last."""
    mine = sitting.mine(finding.label)
    return [
        f"<li>{escape(said_blind(word) if sitting.is_hidden else said(finding, word))}"
        f"{f' <q>{escape(word.comment)}</q>' if word.comment else ''}</li>"
        for word in [*sitting.others(finding.label), *([mine] if mine else [])]
    ]


def history(sitting: Sitting) -> str:
    """HTML: all that was done with the case, newest first; while the reader reads blind, only by themselves."""
    events = [event for event in reversed(sitting.desk.events) if _is_shown(sitting, event)]
    lines = [
        f"<li><b>{escape(event.who)}</b> {escape(_did(event, hidden=sitting.is_hidden))} "
        f"<span class='mm-quiet'>{moment(event.at)}"
        f"{'' if event.shown.prediction == sitting.desk.shown.prediction else ' ' + words.EARLIER_ANSWER}</span>"
        f"{f'<br><q>{escape(comment)}</q>' if (comment := event.payload.get('comment')) else ''}</li>"
        for event in events
    ]
    return f'<ul class="mm-remarks">{"".join(lines)}</ul>' if lines else f"<p>{words.NO_HISTORY}</p>"


def _is_shown(sitting: Sitting, event: Event) -> bool:
    return event.kind not in ("opened", "closed") and (not sitting.is_hidden or event.who == sitting.reader.name)


def _did(event: Event, *, hidden: bool) -> str:
    """What was done, in words; to a blind reader without a verdict, which would tell what the model said."""
    said = event.payload
    if event.kind == "decided":
        verdict, reading = words.VERDICTS[said["verdict"]], words.READINGS[said["reading"]]
        if hidden:
            return words.DECIDED_BLIND.format(name(said["label"]), words.ANSWERS[said["present"]].lower(), reading)
        return words.DECIDED_AS.format(name(said["label"]), verdict, words.IS_STATED[said["present"]], reading)
    detail = {
        "read as": words.READINGS.get(said.get("reading", "")),
        "retracted": name(str(said.get("label"))),
        "exported": said.get("as"),
    }
    return words.DID[event.kind].format(detail.get(event.kind, ""))
