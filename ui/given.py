"""What the model was given and what it was not, what the reader did, and the record with its units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medmm.case import RecordValue
from medmm.read.remark import CONCERN, about, is_concern
from medmm.result import Evidence, Explanation, Film, Prediction
from ui import words
from ui.say import escape, name, signed


def given(prediction: Prediction, evidence: Evidence) -> str:
    """HTML: one mark for each modality that the model knows how to use."""
    count = {"image": _count(evidence.films)}
    marks = [f'<span class="mm-given">✓ {escape(m)}{count.get(m, "")}</span>' for m in prediction.present]
    marks += [f'<span class="mm-absent">{escape(words.NOT_GIVEN.format(m))}</span>' for m in prediction.absent]
    return f'<div class="mm-marks"><span class="mm-quiet">{words.SAW}</span>{"".join(marks)}</div>'


def record_table(record: Mapping[str, RecordValue], units: Mapping[str, str], explanation: Explanation | None) -> str:
    """HTML: one row for each value that was taken, and what it was worth to the finding of an explanation."""
    worth = explanation.record if explanation else {}
    rows = [
        f'<tr><th scope="row">{escape(name(column))}</th><td class="mm-number">{escape(_value(value))}</td>'
        f'<td class="mm-quiet">{escape(units.get(column, ""))}</td>'
        f'<td class="mm-number">{signed(worth[column]) if column in worth else ""}</td></tr>'
        for column, value in record.items()
    ]
    worth_to = f"For {escape(name(explanation.label))}" if explanation else ""
    head = (
        '<tr><th scope="col">Value</th><th scope="col" class="mm-number">Stated</th><th scope="col">Unit</th>'
        f'<th scope="col" class="mm-number">{worth_to}</th></tr>'
    )
    return f'<table class="mm-table"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'


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


def film_name(place: int, film: Film) -> str:
    """How a film or slice is called on the screen; `place` counts from 1."""
    known = [f"{film.modality} {film.part}" if film.part else f"Film {place}", film.view, "prior" if film.prior else ""]
    return ", ".join(part for part in known if part)


def _count(films: Sequence[Film]) -> str:
    """How many pictures there are, where it is more than one film: ' (1 film, 16 slices, prior study)'."""
    current = [film for film in films if not film.prior]
    slices = sum(bool(film.part) for film in current)
    counts = [(len(current) - slices, "film"), (slices, "slice")]
    said = [f"{count} {kind}{'s' if count > 1 else ''}" for count, kind in counts if count]
    said += ["prior study"] if len(current) < len(films) else []
    return f" ({', '.join(said)})" if len(films) > 1 else ""


def _value(value: RecordValue) -> str:
    return value if isinstance(value, str) else f"{value:g}"
