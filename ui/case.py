"""The screen of one case: the film and the findings side by side, and below what else the model was given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import streamlit as st

from medmm.result import Evidence, Explanation, Finding, Review, ScoredCase
from medmm.store.store import Store, WorklistRow
from medmm.write.picture import picture_path
from ui import decision, findings, given, reasons, viewer
from ui.folder import films_folder
from ui.note import marked_note
from ui.say import escape, literal, moment, name

_BUTTONS = 6
"""Films that have a button each, side by side."""
_EMPTY = '<p class="mm-empty">{}</p>'


def show(store: Store, out: Path, row: WorklistRow, place: tuple[int, int], go: Callable[[int | None], None]) -> None:
    """Draw the case of a worklist row.

    Args:
        store: where it is kept, and where decisions go.
        out: the scored folder.
        row: the case as the worklist has it.
        place: its position in the list that it was opened from, from 0, and the length of that list.
        go: called with a position to show another case, with None to go back to the list.
    """
    prediction = row.prediction
    scored = store.case(prediction.model_id, prediction.case_id)
    reviews = store.reviews(prediction.model_id, prediction.case_id)
    _navigation(place, go)
    if scored.prediction != prediction:
        st.warning("This case has been scored again since the worklist was read. Go back to the worklist and open it.")
        return
    _head(row, scored, place)
    shown = _shown_label(scored)
    left, right = st.columns([6, 7], gap="medium")
    with right:
        explanation = next(e for e in scored.evidence.explanations if e.label == shown)
        _findings(store, row, scored, reviews, explanation)
        _record(scored, explanation)
        _similar(scored, shown)
    with left:
        _films(out, scored, explanation)
        _note(scored.evidence, explanation)
    decision.history(reviews, row.scored_at)


def _navigation(place: tuple[int, int], go: Callable[[int | None], None]) -> None:
    at, length = place
    with st.sidebar.container(gap="xsmall"):
        st.button("Back to worklist", icon=":material/arrow_back:", on_click=go, args=(None,), width="stretch")
        st.button("Previous case", on_click=go, args=(at - 1,), disabled=at == 0, width="stretch")
        st.button("Next case", on_click=go, args=(at + 1,), disabled=at + 1 >= length, width="stretch")


def _head(row: WorklistRow, scored: ScoredCase, place: tuple[int, int]) -> None:
    prediction = scored.prediction
    st.html(
        f'<div class="mm-head"><h1>{escape(prediction.case_id)}</h1>{findings.summary(prediction)}'
        f'<span class="mm-support">{place[0] + 1} of {place[1]} · scored {moment(row.scored_at)}</span></div>'
    )
    st.html(given.given(prediction, scored.evidence))
    if prediction.doubts:
        st.warning("  \n".join(literal(doubt) for doubt in prediction.doubts), icon=":material/help:")


def _shown_label(scored: ScoredCase) -> str:
    """The finding that was chosen for this case; the leading one until then."""
    case_id, label = st.session_state.get("shown", ("", ""))
    known = case_id == scored.prediction.case_id and any(f.label == label for f in scored.prediction.findings)
    return str(label) if known else scored.prediction.leading.label


def _choose(case_id: str, label: str) -> None:
    st.session_state["shown"] = (case_id, label)


def _findings(
    store: Store, row: WorklistRow, scored: ScoredCase, reviews: Sequence[Review], explanation: Explanation
) -> None:
    """One line for each finding; choosing one shows who spoke for it and asks for a word."""
    prediction, shown = scored.prediction, explanation.label
    words = decision.newest(reviews, row.scored_at)
    with st.container(gap="xxsmall"):
        for n, finding in enumerate(prediction.findings):
            button, line = st.columns([3, 8], vertical_alignment="center", gap="small")
            button.button(
                literal(name(finding.label)),
                key=f"finding-{n}",
                type="primary" if finding.label == shown else "secondary",
                width="stretch",
                on_click=_choose,
                args=(prediction.case_id, finding.label),
            )
            line.html(findings.row(finding, words.get(finding.label)))
    number, chosen = next((n, f) for n, f in enumerate(prediction.findings) if f.label == shown)
    _detail(scored, chosen)
    if explanation.deletion is not None:
        st.html(reasons.flipped(explanation.deletion, scored.evidence.note, len(scored.evidence.films)))
    if shown in words:
        decision.latest(chosen, words[shown])
    decision.form(store, prediction.case_id, prediction.model_id, chosen, f"{prediction.case_id}-{number}")


def _detail(scored: ScoredCase, chosen: Finding) -> None:
    st.markdown(f"**{literal(name(chosen.label))}** · {literal(findings.sentence(chosen))}")
    st.html(findings.bars(chosen, scored.prediction.absent, findings.reach(scored.prediction)))


def _films(out: Path, scored: ScoredCase, explanation: Explanation) -> None:
    evidence = scored.evidence
    if not evidence.films:
        st.html(_EMPTY.format("No image was given."))
        return
    place = _chosen_film(scored, explanation) if len(evidence.films) > 1 else 0
    film = evidence.films[place]
    viewer.show(picture_path(films_folder(out), film.digest), given.film_name(place + 1, film), explanation, place)


def _chosen_film(scored: ScoredCase, explanation: Explanation) -> int:
    """A button for each of a few films; for more, or slices, a slider that moves through them in their order.

    The slider begins at the picture that moved the finding most.
    """
    films = scored.evidence.films
    key = f"film-{scored.prediction.case_id}"

    def called(number: int) -> str:
        return given.film_name(number + 1, films[number])

    if len(films) > _BUTTONS or any(film.part for film in films):
        moved = [np.nanmax(np.abs(overlay.cells), initial=0) for overlay in explanation.overlays]
        first = int(np.argmax(moved)) if len(moved) == len(films) else 0
        places = range(len(films))
        return int(
            st.select_slider("Picture", places, first, key=key, label_visibility="collapsed", format_func=called)
        )
    return int(
        st.segmented_control(
            "Film",
            range(len(films)),
            default=0,
            required=True,
            key=key,
            label_visibility="collapsed",
            format_func=called,
        )
    )


def _note(evidence: Evidence, explanation: Explanation) -> None:
    st.markdown("**Note**")
    if not evidence.note:
        st.html(_EMPTY.format("No note was given."))
        return
    st.html(marked_note(evidence.note, explanation.words))
    st.html(
        '<p class="mm-support">Marked: words whose hiding changes the log-odds of '
        f"{escape(name(explanation.label))}; orange for it, blue and dotted against it. A denial is one phrase.</p>"
    )


def _similar(scored: ScoredCase, shown: str) -> None:
    """Training cases beside this one, if the run is known."""
    if scored.evidence.similar:
        st.markdown("**Similar training cases**")
        st.html(reasons.similar_cases(scored.evidence.similar, shown))


def _record(scored: ScoredCase, explanation: Explanation) -> None:
    """The record, and what the reader remarked."""
    evidence = scored.evidence
    st.markdown("**Record**")
    table = given.record_table(evidence.record, evidence.units, explanation)
    st.html(table if evidence.record else _EMPTY.format("No record value was given."))
    remarks = given.remarks(scored.prediction, evidence)
    if remarks:
        st.markdown("**Remarks of the reader**")
        st.html(remarks)
