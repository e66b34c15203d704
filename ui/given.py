"""What the model was given and what it was not, what the reader did, and the record with its units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from medmm.case import RecordValue
from medmm.read.remark import CONCERN, about, is_concern
from medmm.result import Evidence, Explanation, Film, Prediction, Span
from medmm.write.words import film_name
from ui import words
from ui.say import counted, escape, name, side, signed


def given(prediction: Prediction, evidence: Evidence) -> str:
    """HTML: one mark for each modality that the model knows how to use."""
    count = {"image": _count(evidence.films)}
    marks = [f'<span class="mm-given">✓ {escape(side(m))}{escape(count.get(m, ""))}</span>' for m in prediction.present]
    marks += [f'<span class="mm-absent">{escape(words.NOT_GIVEN.format(side(m)))}</span>' for m in prediction.absent]
    return f'<div class="mm-marks"><span class="mm-quiet">{words.SAW}</span>{"".join(marks)}</div>'


def record_table(evidence: Evidence, explanation: Explanation | None) -> str:
    """HTML: one row for each value that was taken, and what it was worth to the finding of an explanation.

    A value outside its usual range stands out and says on which side it lies.
    """
    worth = explanation.record if explanation else {}
    ranged = any(column in evidence.usual for column in evidence.record)
    rows = []
    for column, value in evidence.record.items():
        usual = evidence.usual.get(column)
        place = _place(value, usual)
        cells = [
            (_value(value), f"mm-number{' mm-strong' if place else ''}"),
            (evidence.units.get(column, ""), "mm-quiet"),
            *([(_range(usual, place), "mm-strong" if place else "mm-quiet")] if ranged else []),
            (signed(worth[column]) if column in worth else "", "mm-number"),
        ]
        drawn = "".join(f'<td class="{kind}">{escape(text)}</td>' for text, kind in cells)
        rows.append(f'<tr><th scope="row">{escape(name(column))}</th>{drawn}</tr>')
    worth_to = words.WORTH_TO.format(name(explanation.label)) if explanation else ""
    stated = [(words.VALUE, ""), (words.STATED_VALUE, "mm-number"), (words.UNIT, "")]
    heads = [*stated, *([(words.USUAL, "")] if ranged else []), (worth_to, "mm-number")]
    head = "".join(f'<th scope="col" class="{kind}">{escape(text)}</th>' for text, kind in heads)
    return f'<table class="mm-table"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _place(value: RecordValue, usual: Span | None) -> Literal["", "below", "above"]:
    """On which side of its usual range a value lies; empty if it is in it, or has none."""
    if usual is None or isinstance(value, str) or usual[0] <= value <= usual[1]:
        return ""
    return "below" if value < usual[0] else "above"


def _range(usual: Span | None, place: Literal["", "below", "above"]) -> str:
    """A usual range in words, and on which side of it the value lies."""
    if usual is None:
        return ""
    said = words.RANGE.format(*(f"{end:g}" for end in usual))
    return words.OUTSIDE[place].format(said) if place else said


def remarks(prediction: Prediction, evidence: Evidence) -> str:
    """HTML: what the reader did or left out, of the case and of each film; empty if there is nothing to say.

    What a person should look at comes first. What was done with a volume stands in the remarks of the case, once, and
    not beside each of its slices.
    """
    said = list(prediction.remarks)
    for place, film in enumerate(evidence.films, 1):
        said += [about(film_name(place, film), remark) for remark in (() if film.part else film.remarks)]
    lines = [
        f'<li class="{"mm-concern" if is_concern(remark) else ""}">{escape(remark.removeprefix(CONCERN))}</li>'
        for remark in sorted(said, key=lambda remark: not is_concern(remark))
    ]
    return f'<ul class="mm-remarks">{"".join(lines)}</ul>' if lines else ""


def _count(films: Sequence[Film]) -> str:
    """How many pictures there are, where it is more than one film: ' (1 film, 16 slices, prior study)'."""
    current = [film for film in films if not film.prior]
    slices = sum(bool(film.part) for film in current)
    counts = [(words.FILMS, len(current) - slices), (words.SLICES, slices)]
    said = [counted(forms, count) for forms, count in counts if count]
    said += [words.PRIOR_STUDY] if len(current) < len(films) else []
    return f" ({', '.join(said)})" if len(films) > 1 else ""


def _value(value: RecordValue) -> str:
    return value if isinstance(value, str) else f"{value:g}"
