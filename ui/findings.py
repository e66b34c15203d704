"""Findings as HTML: the plain word, the probability on a scale with its threshold, and who spoke for it."""

from __future__ import annotations

from dataclasses import replace

from medmm.result import Call, Contribution, Finding, Prediction, Review, Standing
from ui import words
from ui.say import call, doubt, escape, name, percents, side, signed, standing

_KINDS = {"flagged": "mm-flagged", "not flagged": "mm-unflagged", "uncertain": "mm-uncertain"}
_LEAST_REACH = 1.0
"""Log-odds that fill half a bar's lane when nothing reaches further."""


def summary(prediction: Prediction) -> str:
    """What was flagged and what is uncertain, or plainly that nothing was."""
    parts = [_chips(prediction, one) for one in ("flagged", "uncertain")]
    return f'<p class="mm-summary">{" ".join(part for part in parts if part) or escape(words.NOTHING_FLAGGED)}</p>'


def _chips(prediction: Prediction, said: Call) -> str:
    """The findings of which one thing is said; empty if there is none."""
    chips = [
        f'<span class="mm-chip {_KINDS[said]}">{escape(name(f.label))}</span>'
        for f in prediction.findings
        if f.call == said
    ]
    return f'<span class="mm-quiet">{escape(call(said))}</span> {"".join(chips)}' if chips else ""


def row(finding: Finding, made: Standing) -> str:
    """One finding on one line: word, probability, scale, and what people made of it."""
    probability, _ = percents(finding)
    return (
        f'<div class="mm-row">{chip(finding)}'
        f'<span class="mm-number mm-strong">{escape(probability)}</span>{scale(finding)}'
        f"{_mark(made)}</div>"
    )


def hidden_row(word: Review | None) -> str:
    """The same while the reader is not to see what the model says: only what they said themselves."""
    said = "" if word is None else words.ANSWERS[word.present]
    return f'<div class="mm-row mm-hidden"><span class="mm-done">{escape(said)}</span></div>'


def chip(finding: Finding) -> str:
    """What the model says, as a word that stands out if it is something."""
    return f'<span class="mm-chip {_KINDS[finding.call]}">{escape(call(finding.call))}</span>'


def scale(finding: Finding) -> str:
    """The probability as a bar from 0 to 1, and where its threshold lies."""
    probability, threshold = percents(finding)
    return (
        f'<span class="mm-scale" role="img" aria-label="{escape(words.SCALE.format(probability, threshold))}">'
        f'<span class="mm-fill {_KINDS[finding.call]}" style="width:{finding.probability:.2%}"></span>'
        f'<span class="mm-tick" style="left:{finding.threshold:.2%}" title="{escape(words.TICK.format(threshold))}">'
        "</span></span>"
    )


def _mark(made: Standing) -> str:
    said = standing(made)
    kind = " mm-disagreed" if made.state == "disagreed" else ""
    return f'<span class="mm-done{kind}">{escape(said)}</span>'


def sentence(finding: Finding) -> str:
    """The same in words, for the finding that is looked at."""
    return f"{words.SENTENCE[finding.flagged].format(*percents(finding))} {doubt(finding)}".strip()


def heading(finding: Finding) -> str:
    """The finding that is looked at, as it is named above what is said of it."""
    return f"{name(finding.label).capitalize()}."


def reach(prediction: Prediction) -> float:
    """Log-odds at the end of every bar of this case, so that bars of two findings compare."""
    values = [abs(c.log_odds) for f in prediction.findings for c in f.contributions]
    return max([_LEAST_REACH, *values, *(abs(f.interaction) for f in prediction.findings)])


def bars(finding: Finding, absent: tuple[str, ...], end: float) -> str:
    """What each modality added, as bars from a common zero, and what would be said without it.

    Args:
        finding: the one that is looked at.
        absent: modalities that the case does not have.
        end: log-odds that fill half the lane.
    """
    known = any(one.without for one in finding.contributions)
    lanes = [
        _lane(side(one.modality), words.NONE_GIVEN, "", "")
        if one.modality in absent
        else _bar(side(one.modality), one.log_odds, end, without=_without(finding, one))
        for one in finding.contributions
    ]
    together = _bar(words.TOGETHER, finding.interaction, end, "mm-together")
    heads = ("", "", words.BROUGHT, words.WITHOUT) if known else ()
    head = "".join(f'<th scope="col">{one}</th>' if one else "<td></td>" for one in heads)
    return (
        f'<table class="mm-bars">{f"<thead><tr>{head}</tr></thead>" if head else ""}'
        f"<tbody>{''.join(lanes)}{together}</tbody></table>"
        f'<p class="mm-quiet mm-small">{escape(words.BARS.format(signed(finding.base_log_odds)))} '
        f"{escape(words.LOG_ODDS)}</p>"
    )


def _without(finding: Finding, brought: Contribution) -> str:
    """HTML: probability and word for the case without one side; it stands out where the word is another one."""
    without = brought.without
    if without is None:
        return ""
    probability, _ = percents(replace(finding, probability=without.probability))
    said = words.CALLS[without.call]
    kind = "mm-strong" if without.call != finding.call else ""
    spoken = words.WITHOUT_SIDE.format(side(brought.modality), probability, said)
    return (
        f'<span class="{kind}" title="{escape(spoken)}">{escape(words.WITHOUT_SAID.format(probability, said))}</span>'
    )


def _bar(title: str, log_odds: float, end: float, kind: str = "", without: str = "") -> str:
    half = 50 * min(abs(log_odds) / end, 1)
    left = 50 if log_odds > 0 else 50 - half
    hue = "mm-for" if log_odds > 0 else "mm-against"
    drawn = f'<span class="{hue} {kind}" style="left:{left:.1f}%;width:{half:.1f}%"></span>'
    return _lane(title, signed(log_odds), drawn, without)


def _lane(title: str, value: str, bar: str, without: str) -> str:
    return (
        f'<tr><th scope="row">{escape(title)}</th><td><div class="mm-lane" aria-hidden="true">{bar}</div></td>'
        f'<td class="mm-number{"" if bar else " mm-quiet"}">{escape(value)}</td><td>{without}</td></tr>'
    )
