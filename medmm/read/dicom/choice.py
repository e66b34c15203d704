"""Which images of a study are read: those that a rule of [[images]] in cohort.toml names, on headers alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from medmm.config import ImageRule
from medmm.errors import Reason
from medmm.read.dicom.header import matches
from medmm.read.dicom.instance import Instance
from medmm.read.dicom.series import Part
from medmm.read.guard import RefusedError


@dataclass(frozen=True, slots=True)
class Wanted:
    """One part to be decoded."""

    part: Part
    series: int
    """Number of its series in the study, counted from 1."""
    rule: int | None = None
    """Number of the rule that took it, counted from 1; None without rules."""


def rule_of(instance: Instance, rules: Sequence[ImageRule]) -> int | None:
    """Return the number of the first rule that an image matches, counted from 1."""
    return next((place for place, rule in enumerate(rules, start=1) if matches(rule, instance.dataset)), None)


def choose(
    parts: Sequence[tuple[int, Part]], series: int, rules: Sequence[ImageRule]
) -> tuple[list[Wanted], tuple[str, ...]]:
    """Choose what is decoded, in the order of the parts, and say why.

    A localizer is left out wherever a stack is chosen that it may have planned.

    Args:
        parts: number of its series, counted from 1, and the part: of images that match a rule, if there are rules.
        series: how many series with images the study has.
        rules: of cohort.toml; all parts are wanted without one.

    Raises:
        RefusedError: NO_MATCH.
    """
    remarks: list[str] = []
    if any(part.is_stack and not part.is_localizer for _, part in parts):
        localizers = sum(part.is_localizer for _, part in parts)
        parts = [(number, part) for number, part in parts if not part.is_localizer]
        if localizers:
            remarks.append(f"localizer images left out: {localizers}")
    if not rules:
        return [Wanted(part, number) for number, part in parts], tuple(remarks)
    wanted: list[Wanted] = []
    taken = dict.fromkeys(range(1, len(rules) + 1), 0)
    for number, part in parts:
        rule = rule_of(part.frames[0].instance, rules)
        most = rules[rule - 1].at_most if rule else 0
        if rule and (most is None or taken[rule] < most):
            taken[rule] += 1
            wanted.append(Wanted(part, number, rule))
    return wanted, (*remarks, *_why(wanted, parts, series, rules))


def no_match(instances: Sequence[Instance], photographs: int) -> RefusedError:
    """Return the refusal of a study of which no image matches; modalities are codes, and can be told."""
    there = ", ".join(sorted({instance.modality for instance in instances} | ({"OT"} if photographs else set())))
    problem = f"no image of its study matches a rule of [[images]] (modalities there: {there})"
    return RefusedError(Reason.NO_MATCH, problem, "Correct the rules in cohort.toml, or take the study out")


def _why(wanted: list[Wanted], parts: Sequence[tuple[int, Part]], series: int, rules: Sequence[ImageRule]) -> list[str]:
    """Say what each rule took and what no rule did, by the number of the series."""
    remarks = []
    for place, rule in enumerate(rules, start=1):
        took = [one for one in wanted if one.rule == place]
        if not took:
            continue
        numbers = sorted({one.series for one in took})
        of_them = sum(number in numbers for number, _ in parts)
        some = f"{len(took)} of {of_them} images of " if len(took) < of_them else ""
        remarks.append(f"rule {place} ({_words(rule)}) took {some}series {_listed(numbers)} of {series}")
    left = sorted(set(range(1, series + 1)) - {one.series for one in wanted})
    if left:
        them = "it" if len(left) == 1 else "them"
        remarks.append(f"series {_listed(left)} of {series} left out: no rule takes {them}")
    return remarks


def _words(rule: ImageRule) -> str:
    """A rule in words; they are the user's own."""
    words = [f"modality {' or '.join(rule.modality)}"] if rule.modality else []
    words += [f"description '{rule.description}'"] if rule.description else []
    words += [f"view {' or '.join(rule.view)}"] if rule.view else []
    words += [f"at most {rule.at_most}"] if rule.at_most else []
    return ", ".join(words) or "any image"


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers)
