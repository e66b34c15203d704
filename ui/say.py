"""How the screen words what it shows: plain, clinical, and safe to draw whatever the data hold."""

from __future__ import annotations

import html
import re
from datetime import timedelta

from medmm.result import Finding, Review, Standing
from medmm.write.words import SUPPORT, decision, moment, name, percents, signed
from ui import words

__all__ = [
    "LOG_ODDS",
    "NOTHING_FLAGGED",
    "SUPPORT",
    "ago",
    "call",
    "doubt",
    "escape",
    "literal",
    "moment",
    "name",
    "percents",
    "said",
    "signed",
    "standing",
]

NOTHING_FLAGGED = "No finding reached its threshold. This does not rule anything out."
LOG_ODDS = "In log-odds: +0.7 doubles the odds, −0.7 halves them."


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


def said(finding: Finding, word: Review) -> str:
    """Who decided what and when, and what holds by it."""
    who = words.BY.format(word.reviewer, word.reading, moment(word.at))
    return f"{who}: {decision(finding, word)}{' ' + words.WITH_REGION if word.outline else ''}"


def standing(made: Standing) -> str:
    """What people made of a finding, in one or two words; empty before anybody did."""
    last = words.VERDICTS[made.words[-1].verdict] if made.words else ""
    return words.STATES.get(made.state, "{}").format(last)


def ago(since: timedelta) -> str:
    """A time that has passed, in its largest unit: '3 h'."""
    minutes = max(int(since.total_seconds() // 60), 0)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} d"


def escape(text: object) -> str:
    """Text for HTML, in an element or in a quoted attribute."""
    return html.escape(str(text), quote=True)


def literal(text: str) -> str:
    """Text for Streamlit's Markdown, drawn as it stands."""
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|~$:<>&])", r"\\\1", text)
