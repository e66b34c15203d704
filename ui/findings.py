"""Findings as HTML: the plain word, the probability on a scale with its threshold, and who spoke for it."""

from __future__ import annotations

from medmm.result import Call, Finding, Prediction, Review, Standing
from ui.say import LOG_ODDS, NOTHING_FLAGGED, call, doubt, escape, name, percents, signed, standing
from ui.words import ABSENT, CANNOT, PRESENT

_KINDS = {"flagged": "mm-flagged", "not flagged": "mm-unflagged", "uncertain": "mm-uncertain"}
_LEAST_REACH = 1.0
"""Log-odds that fill half a bar's lane when nothing reaches further."""


def summary(prediction: Prediction) -> str:
    """What was flagged and what is uncertain, or plainly that nothing was."""
    parts = [_chips(prediction, one) for one in ("flagged", "uncertain")]
    return f'<p class="mm-summary">{" ".join(part for part in parts if part) or escape(NOTHING_FLAGGED)}</p>'


def _chips(prediction: Prediction, said: Call) -> str:
    """The findings of which one thing is said; empty if there is none."""
    chips = [
        f'<span class="mm-chip {_KINDS[said]}">{escape(name(f.label))}</span>'
        for f in prediction.findings
        if f.call == said
    ]
    return f'<span class="mm-quiet">{said.capitalize()}</span> {"".join(chips)}' if chips else ""


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
    said = PRESENT if word and word.present else ABSENT if word and word.present is False else CANNOT if word else ""
    return f'<div class="mm-row mm-hidden"><span class="mm-done">{escape(said)}</span></div>'


def chip(finding: Finding) -> str:
    """What the model says, as a word that stands out if it is something."""
    return f'<span class="mm-chip {_KINDS[finding.call]}">{call(finding)}</span>'


def scale(finding: Finding) -> str:
    """The probability as a bar from 0 to 1, and where its threshold lies."""
    probability, threshold = percents(finding)
    return (
        f'<span class="mm-scale" role="img" aria-label="Probability {escape(probability)}, threshold '
        f'{escape(threshold)}"><span class="mm-fill {_KINDS[finding.call]}" style="width:{finding.probability:.2%}">'
        f'</span><span class="mm-tick" style="left:{finding.threshold:.2%}" title="threshold {escape(threshold)}">'
        "</span></span>"
    )


def _mark(made: Standing) -> str:
    said = standing(made)
    kind = " mm-disagreed" if made.state == "disagreed" else ""
    return f'<span class="mm-done{kind}">{escape(said)}</span>'


def sentence(finding: Finding) -> str:
    """The same in words, for the finding that is looked at."""
    probability, threshold = percents(finding)
    side = "reaches" if finding.flagged else "is below"
    return f"Calibrated probability {probability}; it {side} the threshold of {threshold}. {doubt(finding)}".strip()


def heading(finding: Finding) -> str:
    """The finding that is looked at, as it is named above what is said of it."""
    return f"{name(finding.label).capitalize()}."


def reach(prediction: Prediction) -> float:
    """Log-odds at the end of every bar of this case, so that bars of two findings compare."""
    values = [abs(c.log_odds) for f in prediction.findings for c in f.contributions]
    return max([_LEAST_REACH, *values, *(abs(f.interaction) for f in prediction.findings)])


def bars(finding: Finding, absent: tuple[str, ...], end: float) -> str:
    """What each modality added, as bars from a common zero; `end` is the log-odds that fill half the lane."""
    lanes = [
        _lane(c.modality, "not given", "") if c.modality in absent else _bar(c.modality, c.log_odds, end)
        for c in finding.contributions
    ]
    together = _bar("together", finding.interaction, end, "mm-together")
    return (
        f'<div class="mm-bars">{"".join(lanes)}{together}</div>'
        f'<p class="mm-quiet mm-small">Starts at {signed(finding.base_log_odds)}, what the model says of a case it '
        f"knows nothing of. “Together” is what no modality brings alone; it is part of the bars above. {LOG_ODDS}</p>"
    )


def _bar(title: str, log_odds: float, end: float, kind: str = "") -> str:
    half = 50 * min(abs(log_odds) / end, 1)
    left = 50 if log_odds > 0 else 50 - half
    hue = "mm-for" if log_odds > 0 else "mm-against"
    return _lane(
        title, signed(log_odds), f'<span class="{hue} {kind}" style="left:{left:.1f}%;width:{half:.1f}%"></span>'
    )


def _lane(title: str, value: str, bar: str) -> str:
    return (
        f'<span>{escape(title)}</span><span class="mm-lane" aria-hidden="true">{bar}</span>'
        f'<span class="mm-number{"" if bar else " mm-quiet"}">{escape(value)}</span>'
    )
