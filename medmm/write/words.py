"""What outputs for people say alike: labels, percentages, log-odds, times, and whose word on a finding holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from medmm.result import Call, Film, Finding, Prediction, Review, Standing, standing_of

SUPPORT = "Decision support for research, not a diagnosis. Not flagged does not rule anything out."


def name(raw: str) -> str:
    """A label or a column as people write it: `lung_cancer` becomes `lung cancer`."""
    return " ".join(raw.replace("_", " ").split())


def film_name(place: int, film: Film) -> str:
    """How a film or slice is called beside others of its case; `place` counts from 1."""
    title = f"{film.modality} {film.part}" if film.part else f"Film {place}"
    known = [title, film.view, "prior study" if film.prior else ""]
    return ", ".join(part for part in known if part)


def percents(finding: Finding) -> tuple[str, str]:
    """Probability and threshold, with as many digits as it takes to tell the two apart, up to three."""
    pair = finding.probability, finding.threshold
    for digits in range(4):
        shown = tuple(_percent(value, digits) for value in pair)
        if shown[0] != shown[1]:
            break
    return shown[0], shown[1]


def _percent(share: float, digits: int) -> str:
    """A share in [0, 1] in percent, and never 0 % or 100 % for what is not certain."""
    least = 10.0 ** -(digits + 2)
    if 0 < share < least:
        return f"<{least:.{digits}%}"
    if 1 - least < share < 1:
        return f">{1 - least:.{digits}%}"
    return f"{share:.{digits}%}"


def signed(log_odds: float) -> str:
    """Two decimals with a sign, and a minus that is as wide as the plus."""
    return f"{log_odds:+.2f}".replace("-", "−")


def moment(at: datetime) -> str:
    """A time of day in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def heard(prediction: Prediction, reviews: Sequence[Review], scored_at: datetime) -> list[Review]:
    """The words that were said of these findings since they were scored at this time, oldest first."""
    labels = {finding.label for finding in prediction.findings}
    return sorted((r for r in reviews if r.label in labels and r.at >= scored_at), key=lambda review: review.at)


def standing(finding: Finding, words: Sequence[Review]) -> Standing:
    """How people stand to a finding.

    Args:
        finding: what the model said.
        words: on any label of its case, oldest first; the newest of each person counts.
    """
    said = [replace(word, present=_present(finding, word)) for word in words if word.label == finding.label]
    return standing_of(said)


def _present(finding: Finding, word: Review) -> bool | None:
    """Whether the label holds, by this word; None where it says neither."""
    if word.verdict == "cannot judge" or finding.call == "uncertain":
        return word.present
    return (finding.call == "flagged") == (word.verdict == "accept")


def stands(finding: Finding, words: Sequence[Review]) -> Call:
    """What holds of a finding: what people made of it, uncertain while they disagree, and else what the model says."""
    made = standing(finding, words)
    if made.state == "disagreed":
        return "uncertain"
    return _call(finding, made.present)


def is_settled(finding: Finding, words: Sequence[Review]) -> bool:
    """Whether people decided on a finding: who had the last word could judge it, and nobody disagrees."""
    made = standing(finding, words)
    last = [word for word in made.words if word.reading == "adjudicator"][-1:] or made.words
    return made.state != "disagreed" and any(word.verdict != "cannot judge" for word in last)


def decision(finding: Finding, word: Review) -> str:
    """What a person said of the model's word, and what holds by it: 'Overridden: not flagged.'."""
    before = " Said before the model’s answer was shown." if word.blind else ""
    if word.verdict == "cannot judge":
        return f"Could not be judged.{before}"
    done = "Accepted" if word.verdict == "accept" else "Overridden"
    return f"{done}: {_call(finding, _present(finding, word))}.{before}"


def _call(finding: Finding, present: bool | None) -> Call:
    """The word for whether a label holds; the model's where nobody says."""
    return finding.call if present is None else "flagged" if present else "not flagged"


def printable(text: str) -> str:
    """The text without what no document may hold: control characters (new lines are kept) and lone surrogates."""
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(letter for letter in whole if letter.isprintable() or letter in " \n").strip()
