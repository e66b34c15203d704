"""Findings as HTML: the plain word, the probability on a scale with its threshold, and who spoke for it."""

from __future__ import annotations

from medmm.result import Finding, Prediction, Review
from ui.say import LOG_ODDS, NOTHING_FLAGGED, escape, name, percents, signed, verdict, word

_LEAST_REACH = 1.0
"""Log-odds that fill half a bar's lane when nothing reaches further."""


def summary(prediction: Prediction) -> str:
    """What was flagged, or plainly that nothing was."""
    if not prediction.flagged:
        return f'<p class="mm-summary">{escape(NOTHING_FLAGGED)}</p>'
    chips = "".join(f'<span class="mm-chip mm-flagged">{escape(name(f.label))}</span>' for f in prediction.flagged)
    return f'<p class="mm-summary"><span class="mm-quiet">Flagged</span> {chips}</p>'


def row(finding: Finding, review: Review | None) -> str:
    """One finding on one line: word, probability, scale, and the newest decision."""
    probability, threshold = percents(finding)
    kind = "mm-flagged" if finding.flagged else "mm-unflagged"
    mark = f"✓ {verdict(review)}" if review else ""
    scale = (
        f'<span class="mm-scale" role="img" aria-label="Probability {escape(probability)}, threshold '
        f'{escape(threshold)}"><span class="mm-fill {kind}" style="width:{finding.probability:.2%}"></span>'
        f'<span class="mm-tick" style="left:{finding.threshold:.2%}"></span>'
        f'<span class="mm-limit" style="--at:{finding.threshold:.2%}">threshold {escape(threshold)}</span></span>'
    )
    return (
        f'<div class="mm-row"><span class="mm-chip {kind}">{word(finding.flagged)}</span>'
        f'<span class="mm-number mm-strong">{escape(probability)}</span>{scale}'
        f'<span class="mm-done">{mark}</span></div>'
    )


def sentence(finding: Finding) -> str:
    """The same in words, for the finding that is looked at."""
    probability, threshold = percents(finding)
    side = "reaches" if finding.flagged else "is below"
    return f"Calibrated probability {probability}; it {side} the threshold of {threshold}."


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
