"""A person's word on one finding: accept or override with a comment, and the words that were said before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import streamlit as st

from medmm.errors import StoreError
from medmm.result import Finding, Review, Verdict
from medmm.store.store import Store
from ui.say import decided, escape, literal, moment, name, verdict, word

COMMENT_LIMIT = 2000


def newest(reviews: Sequence[Review], since: datetime) -> dict[str, Review]:
    """Label -> the word that counts; what was said of an earlier scoring of the case does not."""
    return {review.label: review for review in reviews if review.at >= since}


def form(store: Store, case_id: str, model_id: str, finding: Finding, key: str) -> None:
    """Ask for a word on the finding and store it; what is typed under one `key` never shows under another."""
    reviewer = str(st.session_state.get("reviewer", "")).strip()
    with st.form(f"decision-{key}", clear_on_submit=True):
        comment = st.text_area(
            "Comment", max_chars=COMMENT_LIMIT, height=68, placeholder="Why? The next reader will be glad of it."
        )
        with st.container(horizontal=True):
            accept = st.form_submit_button(f"Accept: {word(finding.flagged).lower()}", type="primary")
            override = st.form_submit_button(f"Override: {word(not finding.flagged).lower()}")
    if not (accept or override):
        return
    if not reviewer:
        st.error("Nothing was stored: type your name in the sidebar first.")
        return
    said: Verdict = "accept" if accept else "override"
    review = Review(case_id, model_id, finding.label, said, comment.strip(), reviewer, datetime.now(UTC))
    try:
        store.add_review(review)
    except StoreError as problem:
        st.error(f"Nothing was stored: {literal(str(problem))}")
        return
    st.rerun()


def latest(finding: Finding, review: Review) -> None:
    """Say who decided what, and when."""
    st.success(literal(decided(finding, review)), icon=":material/check:")


def history(reviews: Sequence[Review], since: datetime) -> None:
    """Every word on the case, newest first."""
    lines = [
        f"<li><b>{escape(name(review.label))}</b> {verdict(review)} by "
        f"{escape(review.reviewer)} at {moment(review.at)}"
        f"{'' if review.at >= since else ' <i>(before the case was scored again)</i>'}"
        f"{f'<br><q>{escape(review.comment)}</q>' if review.comment else ''}</li>"
        for review in reversed(reviews)
    ]
    with st.expander(f"History of this case ({len(lines)})"):
        st.html(f'<ul class="mm-remarks">{"".join(lines)}</ul>' if lines else "<p>No decision yet.</p>")
