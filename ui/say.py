"""How the screen words what it shows: plain, clinical, and safe to draw whatever the data hold."""

from __future__ import annotations

import html
import re
from datetime import timedelta

from medmm.result import Call, Finding, Review, Standing
from medmm.write.words import SUPPORT, decision, moment, name, percents, signed
from ui import words

__all__ = [
    "SUPPORT",
    "ago",
    "call",
    "counted",
    "doubt",
    "escape",
    "literal",
    "moment",
    "name",
    "percents",
    "said",
    "said_blind",
    "side",
    "signed",
    "standing",
]


def call(said: Call) -> str:
    """The plain word for what the model says, which may be that it does not say; as it begins a line."""
    return words.CALLS[said].capitalize()


def side(modality: str) -> str:
    """How a side of a case is called, or its own name if nobody gave it another."""
    return words.SIDES.get(modality, modality)


def counted(forms: tuple[str, str], count: int) -> str:
    """A number of things: the form for one, or that for several, with the number in it."""
    return forms[count != 1].format(count)


def doubt(finding: Finding) -> str:
    """Why nothing is said of a finding; empty if something is."""
    if finding.call != "uncertain" or finding.limits is None:
        return ""
    return words.DOUBT.format(f"{finding.limits.error:.0%}")


def said(finding: Finding, word: Review) -> str:
    """Who decided what and when, and what holds by it."""
    return f"{_who(word)}: {decision(finding, word)}{' ' + words.WITH_REGION if word.outline else ''}"


def said_blind(word: Review) -> str:
    """The same for somebody who is not to know what the model says: what they said themselves."""
    return f"{_who(word)}: {words.ANSWERS[word.present]}."


def _who(word: Review) -> str:
    return words.BY.format(word.reviewer, words.READINGS[word.reading], moment(word.at))


def standing(made: Standing) -> str:
    """What people made of a finding, in one or two words; empty before anybody did."""
    last = words.VERDICTS[made.words[-1].verdict] if made.words else ""
    return words.STATES.get(made.state, "{}").format(last)


def ago(since: timedelta) -> str:
    """A time that has passed, in its largest unit: '3 h'."""
    minutes = max(int(since.total_seconds() // 60), 0)
    if minutes < 60:
        return words.MINUTES.format(minutes)
    return words.HOURS.format(minutes // 60) if minutes < 48 * 60 else words.DAYS.format(minutes // 1440)


def escape(text: object) -> str:
    """Text for HTML, in an element or in a quoted attribute."""
    return html.escape(str(text), quote=True)


def literal(text: str) -> str:
    """Text for Streamlit's Markdown, drawn as it stands."""
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|~$:<>&])", r"\\\1", text)
