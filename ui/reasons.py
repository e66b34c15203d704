"""Reasons as HTML: training cases that are decided alike, and without what a finding would be called otherwise."""

from __future__ import annotations

from collections.abc import Sequence

from medmm.result import Deletion, SimilarCase
from ui.say import escape, name

_FEW = 6
"""Words that are quoted; more are counted."""


def similar_cases(cases: Sequence[SimilarCase], label: str) -> str:
    """A table: the case, whether it has the finding that is looked at, what else it has, and how far it lies."""
    rows = [
        f'<tr><th scope="row">{escape(case.case_id)}</th><td>{_answer(case.labels.get(label))}</td>'
        f"<td>{escape(_others(case, label))}</td>"
        f'<td class="mm-number">{case.distance:.2f}</td></tr>'
        for case in cases
    ]
    heads = (("Training case", ""), (name(label).capitalize(), ""), ("Other findings", ""), ("Distance", "mm-number"))
    head = "".join(f'<th scope="col" class="{kind}">{escape(title)}</th>' for title, kind in heads)
    return (
        f'<table class="mm-table"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
        '<p class="mm-support">Other patients whom the model decides alike, and as their own record says. '
        "Distance 0: decided the same; 1: as far apart as training cases are.</p>"
    )


def _answer(stated: bool | None) -> str:
    return "not stated" if stated is None else "yes" if stated else "no"


def _others(case: SimilarCase, label: str) -> str:
    return ", ".join(name(other) for other, stated in case.labels.items() if stated and other != label) or "–"


def flipped(deletion: Deletion, note: str, films: int) -> str:
    """One sentence: what was hidden, and what the finding is called then."""
    parts = []
    for picture in dict.fromkeys(region.picture for region in deletion.regions):
        count = sum(region.picture == picture for region in deletion.regions)
        where = f" of film {picture + 1}" if films > 1 else " of the film"
        parts.append(f"{count} region{'s' if count > 1 else ''}{where}")
    quoted = [f"“{escape(note[start:end])}”" for start, end in deletion.words[:_FEW]]
    more = len(deletion.words) - len(quoted)
    if quoted:
        parts.append(" and ".join([", ".join(quoted), *([f"{more} more words"] if more else [])]))
    parts += [f"the value of {escape(name(column))}" for column in deletion.columns]
    other = "not be flagged" if deletion.flagged else "be flagged"
    return (
        f'<p class="mm-support">Without {"; ".join(parts)} {escape(name(deletion.label))} would {other}. '
        "It says what the model leans on, not what the patient has.</p>"
    )
