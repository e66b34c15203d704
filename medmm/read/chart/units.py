"""Values from one UCUM unit to another (https://ucum.org), by ucumvert and pint."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

_LONGEST = 40
"""Letters of a unit; clinical ones have a dozen."""
_ANNOTATION = re.compile(r"\{[^{}]*\}")
_LONG_NUMBER = re.compile(r"\d{4}")
_OF_SUBSTANCE = re.compile(r"mol|eq|osm|\[\w+'?U\]")


class UnitError(ValueError):
    """A unit that is not UCUM, or from which there is no way to the one that is asked for."""


@lru_cache(maxsize=4096)
def convert(value: float, unit: str, to: str) -> float:
    """Convert a value.

    Mass to amount of substance ('mg/dL' to 'mmol/L') needs to know of what, so it is refused. So is what UCUM lets
    pass and medicine does not: moles, equivalents, osmoles and units of effect for one another, or for a plain ratio
    (HbA1c in 'mmol/mol' is not a tenth of its '%').

    Args:
        value: in `unit`.
        unit: UCUM; comes from outside, so it is kept short.
        to: UCUM, or any word that is `unit` itself; '' is a plain number.

    Raises:
        UnitError: without the unit in its words.
    """
    if unit == to:
        return value
    here, there = _parsed(unit or "1"), _parsed(to or "1")
    if set(_OF_SUBSTANCE.findall(_bare(unit))) != set(_OF_SUBSTANCE.findall(_bare(to))):
        raise UnitError("measures another kind of thing")
    try:
        quantity = _registry().Quantity(value * here.magnitude, here.units)
        number = float(quantity.to(there.units).magnitude / there.magnitude)
    except Exception as thrown:  # pint has several families of errors, TypeError and OverflowError among them
        raise UnitError(f"cannot be converted ({type(thrown).__name__})") from None
    return float(f"{number:.12g}")  # 38.5, not 38.50000000000006


def _bare(unit: str) -> str:
    """A unit without its annotations, in one spelling: '{beats}/min' is '/min', '[IU]' is '[iU]'."""
    return _ANNOTATION.sub("", unit).replace("[IU]", "[iU]")


@lru_cache(maxsize=1024)
def _parsed(unit: str) -> Any:
    """Return a pint quantity: 1 of the unit, or more of it ('1000/uL')."""
    bare = _bare(unit)
    if len(unit) > _LONGEST or _LONG_NUMBER.search(bare.replace("1000", "")):
        raise UnitError("is no unit that is in use")  # '10*999999999' would be computed
    try:
        quantity = _registry().from_ucum(bare or "1")
        _ = quantity.units, quantity.magnitude
    except Exception as thrown:  # lark's errors, and what ucumvert's transformer trips over
        raise UnitError(f"is not UCUM ({type(thrown).__name__})") from None
    return quantity


@lru_cache(maxsize=1)
def _registry() -> Any:
    """The units of UCUM; made once, since that takes half a second."""
    from ucumvert import PintUcumRegistry

    return PintUcumRegistry()
