"""A scored case on paper: what the model said of it, from what, and what people said of that; one or two pages of A4.

The patient's name and id stand on the page, since a report about a patient needs them, and nowhere else: not in the
title, the metadata or the name of the file. The text of the note is not in it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image

from medmm.files import write_whole
from medmm.result import Explanation, Finding, Prediction, Review, ScoredCase
from medmm.write.examined import Examined, examined
from medmm.write.paint import burned_in, reach
from medmm.write.picture import picture_path
from medmm.write.words import (
    SUPPORT,
    decision,
    film_name,
    heard,
    is_settled,
    moment,
    name,
    percents,
    signed,
    standing,
    stands,
)

if TYPE_CHECKING:
    from medmm.write.sheet import Sheet

_LONGEST = 880
"""Longer side of a film in pixels: 300 dots an inch at 74 mm, as large as it is printed."""
_LANE = 4.2
"""Height of a bar's lane in millimetres."""
_LEAST_REACH = 1.0
"""Log-odds that fill half a bar's lane when nothing reaches further."""
_UNSTATED = "not stated"
_SEXES = {"M": "male", "F": "female", "O": "other"}


def write_pdf(path: Path, said: ScoredCase, scored_at: datetime, reviews: Sequence[Review], films: Path) -> None:
    """Write a scored case as a PDF for people; the same arguments give the same bytes.

    A character that DejaVu Sans does not have is drawn as an empty square.

    Args:
        path: where to; whole or absent.
        said: the case.
        scored_at: when it was scored; with a time zone.
        reviews: every word on this case; those before `scored_at` are of an earlier scoring and are left out.
        films: the folder of pictures; a film whose picture is not there is named, and the rest is written.
    """
    from medmm.write.sheet import Sheet

    prediction = said.prediction
    foot = f"medmm {version('medmm')} · model {prediction.model_id} · {SUPPORT.partition('.')[0]}"
    sheet = Sheet(f"medmm: case {prediction.case_id}", foot, scored_at)
    words = heard(prediction, reviews, scored_at)
    _head(sheet, said, scored_at, words)
    _films(sheet, said, films)
    _findings(sheet, prediction, words)
    _given(sheet, said)
    _words(sheet, prediction, words)
    write_whole(path, lambda target: sheet.output(str(target)))


def _head(sheet: Sheet, said: ScoredCase, scored_at: datetime, words: Sequence[Review]) -> None:
    """What this is, whom it is about, and what holds."""
    prediction = said.prediction
    sheet.style(8, quiet=True)
    sheet.block("medmm · findings of a model")
    title = f"Case {prediction.case_id}"
    sheet.style(16, bold=True)
    if len(sheet.lines(title, sheet.epw)) > 1:
        sheet.style(10, bold=True)
    sheet.block(title, line=1.25 * sheet.font_size)
    sheet.style(8.5, bold=True)
    sheet.block(SUPPORT)
    sheet.ln(1.5)
    sheet.rule()
    sheet.ln(1.5)
    sheet.facts(
        [
            *_patient(examined(said.evidence.study)),
            ("Model", prediction.model_id),
            ("Scored at", moment(scored_at)),
        ]
    )
    sheet.ln(1.5)
    sheet.rule()
    sheet.ln(2)
    sheet.style(10.5, bold=True)
    sheet.block(_summary(prediction, words), line=5.2)


def _patient(who: Examined) -> list[tuple[str, str]]:
    """Who and which study, as the files name them."""
    studied = " ".join(part for part in (who.study_date and who.study_date.isoformat(), who.study_time) if part)
    return [
        ("Patient", str(who.names[0]) if who.names else _UNSTATED),
        ("Patient ID", who.patient_id or _UNSTATED),
        ("Born", who.born.isoformat() if who.born else _UNSTATED),
        ("Sex", _SEXES.get(who.sex, _UNSTATED)),
        ("Study date", studied or _UNSTATED),
        ("Accession", who.accession or _UNSTATED),
    ]


def _summary(prediction: Prediction, words: Sequence[Review]) -> str:
    """What holds now, in one line: flagged and uncertain labels, or that there are none."""
    held = [(name(f.label), stands(f, words)) for f in prediction.findings]
    changed = [name(f.label) for f in prediction.findings if is_settled(f, words) and stands(f, words) != f.call]
    parts = [
        f"{call.capitalize()}: {', '.join(label for label, one in held if one == call)}."
        for call in ("flagged", "uncertain")
        if any(one == call for _, one in held)
    ]
    parts = parts or ["Nothing is flagged."]
    return " ".join([*parts, *([f"Changed by people: {', '.join(changed)}."] if changed else [])])


def _films(sheet: Sheet, said: ScoredCase, films: Path) -> None:
    """The film on which the leading finding was seen most, plain and with what spoke for it and against it."""
    evidence, label = said.evidence, said.prediction.leading.label
    if not evidence.films:
        return
    explanation = next((e for e in evidence.explanations if e.label == label), None)
    place = _place(explanation)
    film = evidence.films[place]
    title = film_name(place + 1, film)
    try:
        plain = _shown(picture_path(films, film.digest))
    except OSError:
        sheet.ln(2)
        sheet.style(8.5, quiet=True)
        sheet.block(f"The picture of {title} is not in the folder of films. The prediction was made with it.")
        return
    pictures, caption = [plain], title
    if explanation is not None and explanation.overlays:
        end = reach(explanation)
        pictures.append(burned_in(plain, explanation.overlays[place], end))
        caption += (
            f"\n\nOn the right the same with what spoke for {name(label)} (orange) and against it (blue), by "
            f"{explanation.method}. Full colour: {signed(end)} or {signed(-end)} log-odds in a cell of its grid."
        )
    _side_by_side(sheet, pictures, caption)


def _side_by_side(sheet: Sheet, pictures: Sequence[PIL.Image.Image], caption: str) -> None:
    """Pictures of one size in a row, and the caption on their right."""
    gap, aside, tallest = 4.0, 46.0, 74.0
    columns, rows = pictures[0].size
    scale = min(((sheet.epw - aside) / 2 - gap) / columns, tallest / rows)
    width, height = columns * scale, rows * scale
    sheet.keep_together(height + 6)
    x, top = sheet.l_margin, sheet.y + 3
    for picture in pictures:
        stream = io.BytesIO()
        picture.save(stream, format="JPEG", quality=90)
        sheet.image(stream, x, top, width, height)
        x += width + gap
    sheet.set_xy(x, top - 0.6)
    sheet.style(7.5, quiet=True)
    sheet.block(caption, sheet.l_margin + sheet.epw - x, 3.6)
    sheet.set_xy(sheet.l_margin, max(sheet.y, top + height))


def _place(explanation: Explanation | None) -> int:
    """The number of the film that spoke loudest."""
    if explanation is None or not explanation.overlays:
        return 0
    return int(np.argmax([np.nan_to_num(np.abs(overlay.cells)).max() for overlay in explanation.overlays]))


def _shown(path: Path) -> PIL.Image.Image:
    """A film's picture, no larger than it is printed."""
    with PIL.Image.open(path) as kept:
        picture = kept.convert("RGB")
    picture.thumbnail((_LONGEST, _LONGEST), PIL.Image.Resampling.LANCZOS)
    return picture


def _findings(sheet: Sheet, prediction: Prediction, words: Sequence[Review]) -> None:
    """A row for each label: the word, how probable, and who spoke for it."""
    sheet.heading("Findings")
    end = _reach(prediction)
    for finding in prediction.findings:
        _finding(sheet, finding, prediction.absent, words, end)
    sheet.rule()
    sheet.ln(1.2)
    sheet.style(7.5, quiet=True)
    sheet.block(
        "Probabilities are calibrated. Bars are what each side added in log-odds (+0.7 doubles the odds, −0.7 halves "
        "them), orange for and blue against, from a start that holds for a case of which nothing is known. “Together”, "
        "outlined, is what no side brings alone, and is part of the bars above it. Uncertain: the model does not say, "
        "since either answer could break what it promises.",
        line=3.6,
    )


def _reach(prediction: Prediction) -> float:
    """Log-odds at the end of every bar of this case, so that bars of two findings compare."""
    values = [abs(c.log_odds) for f in prediction.findings for c in f.contributions]
    return max([_LEAST_REACH, *values, *(abs(f.interaction) for f in prediction.findings)])


def _finding(sheet: Sheet, finding: Finding, absent: Sequence[str], words: Sequence[Review], end: float) -> None:
    """One row of three columns: label and word, probability and threshold, contributions."""
    left, middle, gap = 46.0, 58.0, 6.0
    state = standing(finding, words).state
    people = "" if state == "undecided" else f"{state.capitalize()}: {stands(finding, words)}"
    lanes = _LANE * (len(finding.contributions) + 1)
    sheet.style(9.5, bold=True)
    lines = min(len(sheet.lines(name(finding.label), left)), 4)
    height = max(lanes, 4.4 * lines + (10.5 if people else 6.5))
    sheet.keep_together(height + 4)
    sheet.rule()
    x, top = sheet.l_margin, sheet.y + 2.2
    sheet.set_xy(x, top)
    sheet.block(name(finding.label), left, 4.4, most=lines)
    sheet.set_xy(x, sheet.y + 0.8)
    sheet.chip(finding.call)
    if people:
        sheet.set_xy(x, sheet.y + 5.8)
        sheet.style(7.5)
        sheet.block(people, left, 3.4)
    sheet.set_xy(x + left + gap, top - 0.6)
    _probability(sheet, finding, middle)
    x, right = x + left + middle + 2 * gap, sheet.epw - left - middle - 2 * gap
    sides = [(side.modality, None if side.modality in absent else side.log_odds) for side in finding.contributions]
    for place, (title, log_odds) in enumerate([*sides, ("together", finding.interaction)]):
        sheet.set_xy(x, top + _LANE * place)
        _lane(sheet, title, log_odds, end, right, filled=place < len(sides))
    sheet.set_xy(sheet.l_margin, top + height + 1.2)


def _probability(sheet: Sheet, finding: Finding, width: float) -> None:
    """The number above its scale, with the threshold marked and named."""
    x, top = sheet.x, sheet.y
    probability, threshold = percents(finding)
    sheet.style(13, bold=True)
    sheet.cell(width / 2, 6, probability)
    sheet.style(7.5, quiet=True)
    sheet.cell(width / 2, 6, f"starts at {signed(finding.base_log_odds)}", align="R")
    sheet.set_xy(x, top + 8.2)
    sheet.scale(width, finding.probability, finding.threshold, f"threshold {threshold}")


def _lane(sheet: Sheet, title: str, log_odds: float | None, end: float, width: float, *, filled: bool) -> None:
    """What one side added: its name, its bar and its number; None of a side that was not given."""
    x, top, first, last = sheet.x, sheet.y, 17.0, 15.0
    sheet.style(8, quiet=log_odds is None)
    sheet.cell(first, _LANE, sheet.shown(title))
    if log_odds is not None:
        sheet.set_xy(x + first, top + (_LANE - 2.6) / 2)
        sheet.bar(width - first - last, log_odds / end, filled=filled)
    sheet.set_xy(x + width - last, top)
    sheet.cell(last, _LANE, "not given" if log_odds is None else signed(log_odds), align="R")


def _given(sheet: Sheet, said: ScoredCase) -> None:
    """What the model saw and did not see, why the case may be unlike others, and what the reader did."""
    prediction, evidence = said.prediction, said.evidence
    sheet.heading("What the model was given")
    count = len(evidence.films)
    pictures = f" ({count} picture{'s' if count > 1 else ''})" if count else ""
    present = [f"{side}{pictures if side == 'image' else ''}" for side in prediction.present]
    lines = [("Given", f"{', '.join(present)}; not given: {', '.join(prediction.absent) or 'nothing'}")]
    lines += [("Record", _record(said))] if evidence.record else []
    remarks = [*prediction.remarks]
    for place, film in enumerate(evidence.films, 1):
        remarks += [f"{film_name(place, film)}: {remark}" for remark in (() if film.part else film.remarks)]
    lines += [("Doubts", "; ".join(prediction.doubts) or "none noticed"), ("Remarks", "; ".join(remarks) or "none")]
    for title, text in lines:
        sheet.entry(title, text)


def _record(said: ScoredCase) -> str:
    """The record's values with their units."""
    units = said.evidence.units
    shown = {c: v if isinstance(v, str) else f"{v:g}" for c, v in said.evidence.record.items()}
    return ", ".join(f"{name(column)} {value} {units.get(column, '')}".strip() for column, value in shown.items())


def _words(sheet: Sheet, prediction: Prediction, words: Sequence[Review]) -> None:
    """What people said of it, oldest first."""
    sheet.heading("What people said")
    findings = {finding.label: finding for finding in prediction.findings}
    if not words:
        sheet.style(8.5)
        sheet.block("Nobody has said anything of these findings yet.")
    for word in words:
        who = word.reviewer if word.reading == "first reader" else f"{word.reviewer} ({word.reading})"
        comment = f" “{word.comment}”" if word.comment else ""
        said = f"{decision(findings[word.label], word)} {who}, {moment(word.at)}.{comment}"
        sheet.entry(name(word.label), said)
