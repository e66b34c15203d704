"""A first cohort.toml from the columns of a table; whatever could hold the answer is never guessed to be an input."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmm.config import CategoryColumn, CohortConfig, Dials, LabelColumns, NumberColumn, RecordColumn
from medmm.errors import ConfigError

if TYPE_CHECKING:
    from tomlkit.items import Table

VOCABULARY: dict[str, tuple[str, float, float]] = {
    "age": ("a", 0, 120),
    "bmi": ("kg/m2", 5, 150),
    "bnp_ng_l": ("ng/L", 0, 100_000),
    "bnp_pg_ml": ("pg/mL", 0, 100_000),
    "creatinine_mg_dl": ("mg/dL", 0, 40),
    "creatinine_umol_l": ("umol/L", 0, 3500),
    "crp_mg_l": ("mg/L", 0, 1000),
    "d_dimer_mg_l": ("mg/L", 0, 500),
    "d_dimer_ng_ml": ("ng/mL", 0, 500_000),
    "diastolic_bp": ("mm[Hg]", 10, 250),
    "diastolic_mmhg": ("mm[Hg]", 10, 250),
    "haemoglobin_g_dl": ("g/dL", 1, 30),
    "haemoglobin_g_l": ("g/L", 10, 300),
    "heart_rate": ("/min", 0, 350),
    "height_cm": ("cm", 20, 260),
    "hemoglobin_g_dl": ("g/dL", 1, 30),
    "hemoglobin_g_l": ("g/L", 10, 300),
    "lactate_mmol_l": ("mmol/L", 0, 50),
    "lymphocytes_10e9_l": ("10*9/L", 0, 1000),
    "neutrophils_10e9_l": ("10*9/L", 0, 1000),
    "nt_probnp_ng_l": ("ng/L", 0, 200_000),
    "platelets_10e9_l": ("10*9/L", 0, 5000),
    "respiratory_rate": ("/min", 0, 120),
    "spo2_percent": ("%", 10, 100),
    "systolic_bp": ("mm[Hg]", 20, 350),
    "systolic_mmhg": ("mm[Hg]", 20, 350),
    "temperature_c": ("Cel", 20, 45),
    "troponin_ng_l": ("ng/L", 0, 1_000_000),
    "weight_kg": ("kg", 0.2, 650),
    "white_cells_10e9_l": ("10*9/L", 0, 1000),
}
"""Values that are known before a study is read: column -> unit (UCUM), least and greatest plausible value.

A laboratory value is here only with its unit in its name: 'creatinine' alone may be in two.
"""
SEXES = frozenset({"f", "female", "m", "male", "o", "other", "x", "intersex", "u", "unknown"})
CLASS_NAMES = ("label", "class", "diagnosis", "target")
_ROLES = {
    "case_id": ("case_id", "case", "id"),
    "patient_id": ("patient_id", "patient", "subject_id"),
    "study": ("study", "study_path", "image", "image_path"),
    "note": ("note", "indication", "clinical_history"),
}


ANSWERS = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0}
"""How the answer to a label is written; an empty cell is not stated."""


@dataclass(frozen=True, slots=True)
class Guess:
    """A configuration to start from, and what the user should know of how it came about."""

    config: CohortConfig
    remarks: tuple[str, ...]


def guess_config(table: Mapping[str, Sequence[str]]) -> Guess:
    """Guess which column is what, conservatively.

    A column becomes an input only if VOCABULARY knows its name and every stated value is plausible. Labels are the
    classes of one column named as in CLASS_NAMES, else every unknown column whose stated values are 0 and 1, both seen.

    Args:
        table: column -> its cells; an empty cell is not stated.
    """
    stated = {name: [cell.strip() for cell in cells if cell.strip()] for name, cells in table.items() if name}
    roles = {role: _find(names, table) for role, names in _ROLES.items()}
    remarks: list[str] = []
    record: dict[str, RecordColumn] = {}
    for name, values in stated.items():
        column = None if name in roles.values() else _record_column(name, values, remarks)
        if column is not None:
            record[name] = column
    free = {name: values for name, values in stated.items() if name not in {*roles.values(), *record}}
    labels = _labels({name: values for name, values in free.items() if _key(name) not in {*VOCABULARY, "sex"}})
    answers = {labels.class_column, *labels.columns} if labels else set()
    if labels is None:
        remarks.append("no labels found: name them in [labels] before training")
    left_out = [name for name in free if name not in answers]
    if left_out:
        remarks.append(f"left out, not known to be an honest input: {', '.join(left_out)}")
    roles["case_id"], roles["patient_id"] = roles["case_id"] or "case_id", roles["patient_id"] or "patient_id"
    return Guess(CohortConfig(labels=labels, record=record, **roles), tuple(remarks))


def _key(name: str) -> str:
    """Return a column's name as VOCABULARY spells it."""
    return name.strip().casefold().replace(" ", "_").replace("-", "_")


def _find(names: Sequence[str], table: Mapping[str, Sequence[str]]) -> str:
    """Return the column that has the first of `names` that there is; empty if there is none."""
    there = {_key(column): column for column in reversed(list(table))}
    return next((there[name] for name in names if name in there), "")


def _record_column(name: str, values: list[str], remarks: list[str]) -> RecordColumn | None:
    """Return the column as an input, or None if it is not known to be an honest one."""
    if _key(name) == "sex":
        spellings = {value.casefold(): value for value in sorted(values, reverse=True)}
        honest = len(spellings) > 1 and SEXES.issuperset(spellings)
        return CategoryColumn(categories=tuple(sorted(spellings.values()))) if honest else None
    if _key(name) not in VOCABULARY or not values:
        return None
    unit, low, high = VOCABULARY[_key(name)]
    strange = sum(not low <= _as_number(value) <= high for value in values)
    if strange:
        text = (
            f"'{name}' looks like no input: {strange} of {len(values)} values are not from {low:g} to {high:g} {unit}"
        )
        remarks.append(text)
        return None
    return NumberColumn(unit=unit, low=low, high=high)


def _as_number(text: str) -> float:
    """Return a number, or NaN, which lies within no bounds."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _labels(free: Mapping[str, list[str]]) -> LabelColumns | None:
    """Return the answers among columns that are nothing else: one column of classes, else all columns of 1 and 0."""
    for wanted in CLASS_NAMES:
        for name, values in free.items():
            classes = sorted(set(values))
            if _key(name) == wanted and 2 <= len(classes) <= 30 and not _is_binary(values):
                return LabelColumns(class_column=name, classes=tuple(classes))
    binary = tuple(name for name, values in free.items() if _is_binary(values))
    return LabelColumns(columns=binary) if binary else None


def _is_binary(values: list[str]) -> bool:
    """Say whether the stated values are answers, and both occur."""
    return ANSWERS.keys() >= set(values) and len({ANSWERS[value] for value in values}) == len({0.0, 1.0})


def write_config(config: CohortConfig, path: Path) -> None:
    """Write `config` as a cohort.toml with comments, for the user to correct; it reads back to the same value.

    Raises:
        ConfigError: if `path` is there already; what a user corrected is never overwritten.
    """
    import tomlkit

    document = tomlkit.document()
    document.add(
        tomlkit.comment("What the columns of cases.csv are. A column that is not named here is never an input.")
    )
    said = {name: getattr(config, name) for name in ("case_id", "patient_id", "study", "note")}
    said |= config.model_dump(mode="json", exclude_defaults=True, exclude={"labels", "record", "images", "fhir"})
    for role, column in said.items():
        document.add(role, tomlkit.item(column))
    if config.labels is not None:
        labels = _table(config.labels)
        labels.comment("the answers: 1, 0 or empty in each of 'columns', or one class in 'class_column'")
        document.add("labels", labels)
    if config.images:
        rules = tomlkit.aot()
        for rule in config.images:
            rules.append(_table(rule))
        document.add("images", rules)
    record = tomlkit.table()
    record.comment("inputs known before the study is read; a value outside low and high is refused")
    for name, kind in config.record.items():
        line = tomlkit.inline_table()
        line.update(_stated(kind))
        record.add(name, line)
    document.add("record", record)
    if config.fhir is not None:
        document.add("fhir", _table(config.fhir))
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(tomlkit.dumps(document))
    except FileExistsError:
        raise ConfigError(f"{path.name} is there already", "Correct it by hand, or take it away first") from None


def _table(dials: Dials) -> Table:
    """Return a group of settings as a table of TOML."""
    import tomlkit

    table = tomlkit.table()
    for key, value in _stated(dials).items():
        table.add(key, tomlkit.item(value))
    return table


def _stated(dials: Dials) -> dict[str, Any]:
    """Return what differs from the defaults, in types that TOML has."""
    return dials.model_dump(mode="json", exclude_defaults=True)
