"""Reasons as HTML: training cases that are decided alike, and without what a finding would be called otherwise."""

from __future__ import annotations

from collections.abc import Sequence

from medmm.result import Deletion, SimilarCase
from ui import words
from ui.say import counted, escape, name

_FEW = 6
"""Words that are quoted; more are counted."""


def similar_cases(cases: Sequence[SimilarCase], label: str) -> str:
    """A table: the case, whether it has the finding that is looked at, what else it has, and how far it lies."""
    rows = [
        f'<tr><th scope="row">{escape(case.case_id)}</th><td>{escape(words.STATED[case.labels.get(label)])}</td>'
        f"<td>{escape(_others(case, label))}</td>"
        f'<td class="mm-number">{case.distance:.2f}</td></tr>'
        for case in cases
    ]
    kinds = ("", "", "", "mm-number")
    titles = [title.format(name(label).capitalize()) for title in words.SIMILAR_HEADS]
    head = "".join(
        f'<th scope="col" class="{kind}">{escape(title)}</th>' for title, kind in zip(titles, kinds, strict=True)
    )
    return (
        f'<table class="mm-table"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
        f'<p class="mm-support">{escape(words.SIMILAR_NOTE)}</p>'
    )


def _others(case: SimilarCase, label: str) -> str:
    return ", ".join(name(other) for other, stated in case.labels.items() if stated and other != label) or words.NOTHING


def flipped(deletion: Deletion, note: str, films: int) -> str:
    """One sentence: what was hidden, and what the finding is called then."""
    parts = []
    for picture in dict.fromkeys(region.picture for region in deletion.regions):
        count = sum(region.picture == picture for region in deletion.regions)
        where = words.OF_FILM.format(picture + 1) if films > 1 else words.OF_THE_FILM
        parts.append(f"{counted(words.REGIONS, count)} {where}")
    quoted = [words.QUOTED.format(note[start:end]) for start, end in deletion.words[:_FEW]]
    more = len(deletion.words) - len(quoted)
    if quoted:
        named = ", ".join(quoted)
        parts.append(words.MORE_WORDS.format(named, more) if more else named)
    parts += [words.VALUE_OF.format(name(column)) for column in deletion.columns]
    said = words.FLIPPED[deletion.flagged].format("; ".join(parts), name(deletion.label))
    return f'<p class="mm-support">{escape(said)} {escape(words.FLIPPED_NOTE)}</p>'
