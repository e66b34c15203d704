"""How well does medmm do beside what it has to pass, on the same folds by patient?

python -m benchmarks.accuracy COHORT --out FOLDER --folds 5 --seeds 3 --group cancer=BCC,MEL,SCC
"""

from __future__ import annotations

import argparse
from datetime import date

from benchmarks.accuracy.command import code_of, parser_of, prepared_by, publish
from benchmarks.accuracy.fold import folds_of
from benchmarks.accuracy.results import Results, run_all
from benchmarks.accuracy.systems import MEDMM, systems_of
from benchmarks.accuracy.table import Judged, as_json, lines_of, machine, markdown, versions
from medmm.config import RunConfig, read_toml
from medmm.errors import ConfigError
from medmm.learn.train import Prepared
from pipelines.terminal import console


def main(arguments: list[str] | None = None) -> int:
    """Run what is missing, then print the table and write table.md and table.json."""
    return code_of(_run, _parser().parse_args(arguments))


def _run(asked: argparse.Namespace) -> int:
    config = read_toml(asked.config, RunConfig) if asked.config else None
    run = RunConfig(encoders=config.encoders) if config else RunConfig()
    prepared = prepared_by(asked, config or run)
    groups = {name: _classes(prepared, name, members) for name, _, members in (g.partition("=") for g in asked.group)}
    folds = folds_of(prepared.patients, asked.folds, asked.seeds)
    systems = systems_of(prepared, run, config)
    chosen = {name: systems[name] for name in _chosen(asked.systems, list(systems))}
    (reference,) = _chosen([asked.reference], list(systems))
    results = Results(asked.out)
    results.claim(prepared, asked.folds, config or run)
    run_all(results, chosen, prepared, folds, console.print)
    judged = Judged.of(prepared, folds, asked.resamples, seed=0)
    lines = lines_of(results, list(systems), folds, judged, reference, groups)
    about = {
        "cases": len(prepared.cases),
        "patients": len(set(prepared.patients)),
        "folds": asked.folds,
        "seeds": asked.seeds,
        "resamples": asked.resamples,
        "reference": reference,
        "date": date.today().isoformat(),
        "machine": machine(),
        "versions": versions(),
    }
    publish(asked.out, "table", markdown(lines, about), as_json(lines, about))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("benchmarks.accuracy", __doc__, "a run.toml to try beside medmm's defaults")
    parser.add_argument("--systems", nargs="+", default=[], help="names from the table; all without it")
    parser.add_argument("--reference", default=MEDMM, help="the system whose gains over each other one are shown")
    parser.add_argument("--group", action="append", default=[], help="classes that count as one: cancer=BCC,MEL,SCC")
    return parser


def _chosen(asked: list[str], known: list[str]) -> list[str]:
    for name in asked:
        if name not in known:
            raise ConfigError(f"there is no system '{name}' for this cohort", f"Known here: {'; '.join(known)}")
    return [name for name in known if name in asked or not asked]


def _classes(prepared: Prepared, name: str, members: str) -> list[str]:
    classes, labels = members.split(","), prepared.cohort.config.labels
    if labels is None or not labels.multi_class or not set(classes) <= set(labels.names):
        raise ConfigError(
            f"group '{name}' is not made of this cohort's classes", "Write it as --group cancer=BCC,MEL,SCC"
        )
    return classes


if __name__ == "__main__":
    raise SystemExit(main())
