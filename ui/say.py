"""The words of the screen: plain, clinical, and safe to draw whatever the data hold."""

from __future__ import annotations

import html
import re
from datetime import datetime

from medmm.result import Finding, Review

NOTHING_FLAGGED = "No finding reached its threshold. This does not rule anything out."
SUPPORT = "Decision support for research. Not flagged does not rule anything out."
LOG_ODDS = "In log-odds: +0.7 doubles the odds, −0.7 halves them."


def name(raw: str) -> str:
    """A label or a column as people write it: `lung_cancer` becomes `lung cancer`."""
    return raw.replace("_", " ")


def word(flagged: bool) -> str:
    """The plain word for a side of the threshold."""
    return "Flagged" if flagged else "Not flagged"


def call(finding: Finding) -> str:
    """The plain word for what the model says, which may be that it does not say."""
    return finding.call.capitalize()


def doubt(finding: Finding) -> str:
    """Why nothing is said of a finding; empty if something is."""
    if finding.call != "uncertain" or finding.limits is None:
        return ""
    return (
        f"Uncertain: the model promises that at most {finding.limits.error:.0%} of those who have it, and of those who "
        "have not, are called the opposite, and here it could not keep that."
    )


def decided(finding: Finding, review: Review) -> str:
    """Who decided what and when, and what holds now."""
    stands = word(finding.flagged == (review.verdict == "accept")).lower()
    return f"{verdict(review).capitalize()} by {review.reviewer} at {moment(review.at)}. It stands as {stands}."


def verdict(review: Review) -> str:
    """What was done to the model's word."""
    return "accepted" if review.verdict == "accept" else "overridden"


def percents(finding: Finding) -> tuple[str, str]:
    """Probability and threshold, with as many digits as it takes to tell the two apart, up to three."""
    pair = finding.probability, finding.threshold
    for digits in range(4):
        shown = tuple(_percent(value, digits) for value in pair)
        if shown[0] != shown[1]:
            break
    return shown[0], shown[1]


def _percent(value: float, digits: int) -> str:
    """In percent, and never 0 % or 100 % for what is not certain."""
    least = 10.0 ** -(digits + 2)
    if 0 < value < least:
        return f"<{least:.{digits}%}"
    if 1 - least < value < 1:
        return f">{1 - least:.{digits}%}"
    return f"{value:.{digits}%}"


def signed(log_odds: float) -> str:
    """Two decimals with a sign, and a minus that is as wide as the plus."""
    return f"{log_odds:+.2f}".replace("-", "−")


def moment(at: datetime) -> str:
    """A time of day in UTC, which is what the store keeps."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def escape(text: object) -> str:
    """Text for HTML, in an element or in a quoted attribute."""
    return html.escape(str(text), quote=True)


def literal(text: str) -> str:
    """Text for Streamlit's Markdown, drawn as it stands."""
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|~$:<>&])", r"\\\1", text)
