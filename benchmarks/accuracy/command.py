"""What the commands that compare systems by folds share: arguments, the encoded cohort, the two files they leave."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from medmm.config import RunConfig
from medmm.errors import MedmmError
from medmm.files import write_whole
from medmm.learn.train import Prepared, prepare
from medmm.read.cohort import read_cohort
from pipelines.terminal import console, training


def parser_of(module: str, description: str | None, config: str) -> argparse.ArgumentParser:
    """The arguments that all have; `config` says what --config is for."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="results; a second call makes what is missing")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--config", type=Path, help=config)
    parser.add_argument("--cache", type=Path, help="encoded studies and notes; below --out without it")
    parser.add_argument("--resamples", type=int, default=1000)
    return parser


def prepared_by(asked: argparse.Namespace, run: RunConfig) -> Prepared:
    """The cohort that was asked for, through the frozen encoders; with views of its pictures if `run` teaches them."""
    with training() as progress:
        return prepare(read_cohort(asked.cohort), run, asked.cache or asked.out / "features", progress)


def publish(out: Path, name: str, table: str, content: Mapping[str, Any]) -> None:
    """Write NAME.md and NAME.json, in which NaN is null, and print the table."""
    written = json.dumps(_without_nan(content), indent=2, allow_nan=False) + "\n"
    write_whole(out / f"{name}.md", lambda path: path.write_text(table, encoding="utf-8"))
    write_whole(out / f"{name}.json", lambda path: path.write_text(written, encoding="utf-8"))
    console.print(table)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def code_of(command: Callable[[argparse.Namespace], int], asked: argparse.Namespace) -> int:
    """The exit code of a command; 3 and one line if it is given what it cannot use."""
    try:
        return command(asked)
    except MedmmError as problem:
        console.print(f"Error: {problem}")
        return 3
