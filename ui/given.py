"""What the model was given and what it was not, what the reader did, and the record with its units."""

from __future__ import annotations

from collections.abc import Mapping

from medmm.case import RecordValue
from medmm.result import Evidence, Prediction
from ui.say import escape, name


def given(prediction: Prediction, evidence: Evidence) -> str:
    """HTML: one mark for each modality that the model knows how to use."""
    films = len(evidence.films)
    count = {"image": f" ({films} films)" if films > 1 else ""}
    marks = [f'<span class="mm-given">✓ {escape(m)}{count.get(m, "")}</span>' for m in prediction.present]
    marks += [f'<span class="mm-absent">{escape(m)} not given</span>' for m in prediction.absent]
    return f'<div class="mm-marks"><span class="mm-quiet">The model saw</span>{"".join(marks)}</div>'


def record_table(record: Mapping[str, RecordValue], units: Mapping[str, str]) -> str:
    """HTML: one row for each value that was taken."""
    rows = [
        f'<tr><th scope="row">{escape(name(column))}</th><td class="mm-number">{escape(_value(value))}</td>'
        f'<td class="mm-quiet">{escape(units.get(column, ""))}</td></tr>'
        for column, value in record.items()
    ]
    head = '<tr><th scope="col">Value</th><th scope="col" class="mm-number">Stated</th><th scope="col">Unit</th></tr>'
    return f'<table class="mm-table"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'


def remarks(prediction: Prediction, evidence: Evidence) -> str:
    """HTML: what the reader did or left out, of the case and of each film; empty if there is nothing to say."""
    lines = [escape(remark) for remark in prediction.remarks]
    for place, film in enumerate(evidence.films, 1):
        lines += [f"{escape(film_name(place, film.view))}: {escape(remark)}" for remark in film.remarks]
    return f'<ul class="mm-remarks">{"".join(f"<li>{line}</li>" for line in lines)}</ul>' if lines else ""


def film_name(place: int, view: str) -> str:
    """How a film is called on the screen; `place` counts from 1."""
    return f"Film {place}, {view}" if view else f"Film {place}"


def _value(value: RecordValue) -> str:
    return value if isinstance(value, str) else f"{value:g}"
