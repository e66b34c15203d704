"""What a reader takes out of the store: decisions as CSV, a case as PDF and as DICOM SR; each is an event."""

from __future__ import annotations

import csv
import hashlib
import io
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import streamlit as st

from medmm.errors import DataError
from medmm.result import Review
from medmm.store.events import Reader, Shown
from medmm.store.store import Store
from ui import door, words
from ui.say import escape
from ui.sitting import Sitting

_COLUMNS = (
    "case_id", "model_id", "label", "state", "holds", "reviewer", "role", "reading", "verdict", "present", "blind",
    "comment", "at", "film", "region",
)  # fmt: skip


def case_button(sitting: Sitting, films: Path) -> None:
    """Offer the case as PDF and as a structured report, each made when it is asked for."""
    icon, off = ":material/download:", sitting.is_hidden
    with st.popover(words.EXPORT, key="export", icon=icon, disabled=off):
        _offer(sitting, "pdf", words.REPORT, "pdf", partial(_pdf, sitting, films))
        if problem := _without_report(sitting):
            st.html(f'<p class="mm-support">{escape(words.NO_SR.format(problem))}</p>')
        else:
            _offer(sitting, "sr", words.SR, "dcm", partial(_sr, sitting))


def _offer(sitting: Sitting, kind: str, text: str, ending: str, make: Callable[[], bytes]) -> None:
    def taken() -> bytes:
        content = make()
        sitting.store.trail.exported(sitting.reader, kind, sitting.desk.shown)
        return content

    name = f"{_digest(sitting)}.{ending}"
    data = door.take(sitting.reader, taken)
    st.download_button(text, data, name, key=f"take-{kind}", on_click="ignore", width="stretch")


def _without_report(sitting: Sitting) -> str:
    """Why there can be no structured report; empty if there can."""
    from medmm.write.dicom.study import Stamp, films_of, study_of

    try:
        study_of(sitting.desk.shown.case_id, sitting.scored.evidence.study)
        films_of(Stamp(sitting.scored, sitting.desk.scored_at))
    except DataError as refused:
        return refused.problem
    return ""


def _digest(sitting: Sitting) -> str:
    """A name that holds nothing of a patient, another one after every change."""
    shown = sitting.desk.shown
    return hashlib.sha256(f"{shown.case_id}/{shown.content}/{sitting.desk.last}".encode()).hexdigest()[:16]


def _pdf(sitting: Sitting, films: Path) -> bytes:
    from medmm.write.pdf import write_pdf

    return _written(lambda path: write_pdf(path, sitting.scored, sitting.desk.scored_at, _reviews(sitting), films))


def _sr(sitting: Sitting) -> bytes:
    from medmm.write.dicom.report import report_of
    from medmm.write.dicom.study import write_dicom

    report = report_of(sitting.scored, sitting.desk.scored_at, _reviews(sitting))
    return _written(lambda path: write_dicom(path, report))


def _reviews(sitting: Sitting) -> tuple[Review, ...]:
    return sitting.store.reviews(sitting.desk.shown.model_id, sitting.desk.shown.case_id)


def _written(write: Callable[[Path], None]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case"
        write(path)
        return path.read_bytes()


def decisions_button(store: Store, reader: Reader, model_id: str) -> None:
    """Offer all decisions on the newest answers of a model; they are read when the button is pressed."""

    def taken() -> str:
        text, cases = decisions(store, model_id), len(store.trail.standings(model_id))
        store.trail.exported(reader, "csv", Shown(model_id, ""), cases)
        return text

    data, icon = door.take(reader, taken), ":material/download:"
    st.download_button(words.DECISIONS, data, "decisions.csv", "text/csv", key="csv", icon=icon, on_click="ignore")


def decisions(store: Store, model_id: str) -> str:
    """CSV: the newest word of each person on each label of the newest answers of a model, by case and label."""
    text = io.StringIO()
    table = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(_rows(store, model_id))
    return text.getvalue()


def _rows(store: Store, model_id: str) -> Iterator[dict[str, object]]:
    for case_id, standings in sorted(store.trail.standings(model_id).items()):
        for label, made in standings.items():
            for word in made.words:
                yield {
                    "case_id": case_id,
                    "model_id": model_id,
                    "label": label,
                    "state": made.state,
                    "holds": made.present,
                    "reviewer": word.reviewer,
                    "role": word.role,
                    "reading": word.reading,
                    "verdict": word.verdict,
                    "present": word.present,
                    "blind": word.blind,
                    "comment": word.comment,
                    "at": word.at.isoformat(),
                    "film": word.outline.film if word.outline else "",
                    "region": " ".join(f"{x:g},{y:g}" for x, y in word.outline.points) if word.outline else "",
                }
