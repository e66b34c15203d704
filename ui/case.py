"""The screen of one case: the film, the claim beside it, the human's word, and the evidence one key away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import streamlit as st

from medmm.result import Explanation, Outline
from ui import decision, door, export, findings, given, keys, reasons, viewer, words
from ui.folder import films_folder
from ui.keys import Key
from ui.note import marked_note
from ui.say import SUPPORT, escape, literal, moment, name
from ui.sitting import Sitting

EVIDENCE = "evidence"
"""Which evidence is open, in the session; it stays open from case to case."""
_EMPTY = '<p class="mm-empty">{}</p>'
_EVIDENCE_KEYS = {"e": "why", "t": "note", "r": "record", "s": "similar", "h": "history"}
_MOST_DIGITS = 9


def show(sitting: Sitting, out: Path, go: Callable[[int | None], None]) -> None:
    """Draw the case that is open.

    Args:
        sitting: the case, and what the reader did.
        out: the scored folder.
        go: called with a place in the list to open another case, with None to go back to the list.
    """
    known = _keys(sitting)
    explanation = next(e for e in sitting.scored.evidence.explanations if e.label == sitting.chosen)
    keys.listen(known, sitting.desk.shown.case_id, findings.heading(sitting.finding))
    _bar(sitting, out, go, known)
    with st.container(key="desk"):
        left, right = st.columns(2, gap="medium")
        with left:
            _films(sitting, out, explanation)
        with right:
            _given(sitting)
            _findings(sitting)
            decision.panel(sitting)
            if sitting.is_done:
                st.html(f'<p class="mm-all" role="status">{words.DECIDED_ALL}</p>')
            _evidence(sitting, explanation)
            _foot(sitting)


def _keys(sitting: Sitting) -> list[Key]:
    """What the keyboard does here."""
    at, last = sitting.labels.index(sitting.chosen), len(sitting.labels) - 1
    digits = [Key(str(n + 1), "", f"finding-{n}") for n in range(min(last + 1, _MOST_DIGITS))]
    return [
        *decision.keys(sitting),
        Key("ArrowDown", "", f"finding-{min(at + 1, last)}"),
        Key("ArrowUp", "", f"finding-{max(at - 1, 0)}"),
        *digits,
        Key("", words.CHOOSE, shown=words.CHOOSE_KEYS),
        *(Key(key, words.EVIDENCE[kind], f"{EVIDENCE}-{kind}") for key, kind in _EVIDENCE_KEYS.items()),
        Key("l", words.CLAIM_ROW, "claim"),
        Key("x", words.EXPORT, "export"),
        Key("j", words.NEXT, "next"),
        Key("k", words.BEFORE, "before"),
        Key("b", words.BACK, "back"),
    ]


def _bar(sitting: Sitting, out: Path, go: Callable[[int | None], None], known: list[Key]) -> None:
    """The way back and on, which case it is, and whose."""
    at, length = sitting.at, len(sitting.rows)
    following, leave = at + 1 if at + 1 < length else None, door.press_at(sitting, go)
    with st.container(key="bar", horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.button(words.BACK, key="back", icon=":material/arrow_back:", on_click=leave, args=(None,))
        st.button(
            "",
            key="before",
            icon=":material/chevron_left:",
            help=words.BEFORE,
            on_click=leave,
            args=(at - 1,),
            disabled=at == 0,
        )
        st.button(
            words.NEXT if sitting.is_done else "",
            key="next",
            icon=":material/chevron_right:",
            icon_position="right",
            type="primary" if sitting.is_done else "secondary",
            help=words.NEXT,
            on_click=leave,
            args=(following,),
        )
        st.html(
            f'<div class="mm-head"><h1>{escape(sitting.desk.shown.case_id)}</h1>'
            f'<span class="mm-support">{words.PLACE.format(at + 1, length)}</span></div>',
            width="stretch",
        )
        _claim(sitting)
        export.case_button(sitting, films_folder(out))
        keys.button(known)


def _claim(sitting: Sitting) -> None:
    held = sitting.desk.claim
    if held and held.who != sitting.reader.name and not sitting.reader.leads:
        st.html(f'<span class="mm-held">{escape(words.CLAIMED_BY.format(held.who))}</span>', width="content")
        return
    text = words.RELEASE if held else words.CLAIM
    note = words.CLAIMED_BY.format(held.who) if held else None
    st.button(
        text, key="claim", icon=":material/front_hand:", help=note, on_click=door.press_at(sitting, sitting.claim)
    )


def _given(sitting: Sitting) -> None:
    """What the model saw, and why its answer may not hold."""
    prediction = sitting.scored.prediction
    doubts = "".join(f'<p class="mm-doubt">{escape(doubt[:1].upper() + doubt[1:])}</p>' for doubt in prediction.doubts)
    st.html(f"{given.given(prediction, sitting.scored.evidence)}{doubts}")


def _choose(sitting: Sitting, label: str) -> None:
    sitting.chosen, sitting.conflict, sitting.problem = label, (), ""


def _findings(sitting: Sitting) -> None:
    """One line for each finding; choosing one asks for a word, and shows its overlay and who spoke for it."""
    prediction = sitting.scored.prediction
    if sitting.is_hidden:
        st.html(f'<p class="mm-blind">{words.HIDDEN}</p>')
    elif not any(finding.call != "not flagged" for finding in prediction.findings):
        st.html(findings.summary(prediction))
    with st.container(key="findings", gap=None):
        for n, finding in enumerate(prediction.findings):
            button, line = st.columns([2, 3], vertical_alignment="center", gap="small")
            button.button(
                f"`{n + 1}` {literal(name(finding.label))}",
                key=f"finding-{n}",
                type="primary" if finding.label == sitting.chosen else "tertiary",
                width="stretch",
                on_click=_choose,
                args=(sitting, finding.label),
            )
            if sitting.is_hidden:
                line.html(findings.hidden_row(sitting.mine(finding.label)))
            else:
                line.html(findings.row(finding, sitting.desk.standings[finding.label]))
    said = "" if sitting.is_hidden else findings.sentence(sitting.finding)
    st.html(f'<p class="mm-sentence"><b>{escape(findings.heading(sitting.finding))}</b> {escape(said)}</p>')


def _films(sitting: Sitting, out: Path, explanation: Explanation) -> None:
    scored = sitting.scored
    if not scored.evidence.films:
        st.html(_EMPTY.format(words.NO_IMAGE))
        return
    viewer.show(
        scored,
        explanation,
        films_folder(out),
        _outline(sitting),
        overlay=not sitting.is_hidden,
    )


def _outline(sitting: Sitting) -> Outline | None:
    """The region that belongs to what was said last of the finding: by the reader, else by others."""
    mine = sitting.mine(sitting.chosen)
    said = [*sitting.others(sitting.chosen), *([mine] if mine else [])]
    return next((word.outline for word in reversed(said) if word.outline), None)


def _evidence(sitting: Sitting, explanation: Explanation) -> None:
    """One kind of evidence at a time, none if the reader wants none."""
    opened = st.session_state.setdefault(EVIDENCE, "why")
    with st.container(key="kinds", horizontal=True, gap="xsmall"):
        for key, kind in _EVIDENCE_KEYS.items():
            st.button(
                f"{words.EVIDENCE[kind]} `{key.upper()}`",
                key=f"{EVIDENCE}-{kind}",
                type="primary" if kind == opened else "tertiary",
                on_click=_unfold,
                args=(kind,),
            )
    if opened:
        with st.container(key="shown"):
            _SHOW[opened](sitting, explanation)


def _unfold(kind: str) -> None:
    st.session_state[EVIDENCE] = "" if st.session_state[EVIDENCE] == kind else kind


def _why(sitting: Sitting, explanation: Explanation) -> None:
    """Who spoke for the finding, and without what it would be called otherwise."""
    if sitting.is_hidden:
        st.html(_EMPTY.format(words.HIDDEN))
        return
    scored = sitting.scored
    st.html(findings.bars(sitting.finding, scored.prediction.absent, findings.reach(scored.prediction)))
    if explanation.deletion is not None:
        st.html(reasons.flipped(explanation.deletion, scored.evidence.note, len(scored.evidence.films)))


def _note(sitting: Sitting, explanation: Explanation) -> None:
    note = sitting.scored.evidence.note
    if not note:
        st.html(_EMPTY.format(words.NO_NOTE))
        return
    st.html(marked_note(note, () if sitting.is_hidden else explanation.words))
    if not sitting.is_hidden:
        st.html(f'<p class="mm-support">{escape(words.NOTE_MARKS.format(name(explanation.label)))}</p>')


def _record(sitting: Sitting, explanation: Explanation) -> None:
    """The record, and what the reader of the files remarked."""
    scored = sitting.scored
    evidence = scored.evidence
    table = given.record_table(evidence, None if sitting.is_hidden else explanation)
    st.html(table if evidence.record else _EMPTY.format(words.NO_RECORD))
    remarks = given.remarks(scored.prediction, evidence)
    if remarks:
        st.markdown(f"**{words.REMARKS}**")
        st.html(remarks)


def _similar(sitting: Sitting, explanation: Explanation) -> None:
    """Training cases beside this one, if the run is known."""
    if sitting.is_hidden:
        st.html(_EMPTY.format(words.HIDDEN))
        return
    similar = sitting.scored.evidence.similar
    st.html(reasons.similar_cases(similar, explanation.label) if similar else _EMPTY.format(words.NO_SIMILAR))


def _history(sitting: Sitting, _: Explanation) -> None:
    st.html(decision.history(sitting))


_SHOW: Mapping[str, Callable[[Sitting, Explanation], None]] = {
    "why": _why,
    "note": _note,
    "record": _record,
    "similar": _similar,
    "history": _history,
}


def _foot(sitting: Sitting) -> None:
    """Whose answer it is, of when, and what it is not."""
    desk = sitting.desk
    made = words.MODEL_AND_TIME.format(desk.shown.model_id, moment(desk.scored_at))
    read = words.READS_AS.format(sitting.reader.name, words.READINGS[sitting.reading])
    st.html(f'<p class="mm-support mm-foot">{escape(made)}. {escape(read)} {escape(SUPPORT)}</p>')
