"""What people read stands in one file, so that a translator edits no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import get_args

import pytest

from medmm.result import Call, Reading, Verdict
from medmm.store.worklist import Status
from ui import words

PAGES = (
    *("agreement", "app", "case", "decision", "export", "findings", "given", "keys", "login", "models", "note"),
    *("progress", "reasons", "reports", "say", "worklist"),
)
"""Modules that draw."""
VALUES = {value for kind in (Call, Verdict, Reading, Status) for value in get_args(kind)} | set(words.DID)
"""Of data, which no translation changes; the page has its own word for each."""
_PROSE = re.compile(r"[A-Za-z’]{2,},? [a-z]{2,}")
"""Two words that follow each other."""
_MARKUP = re.compile(r"<[^>]*(>|$)|^[^<]*>")


def texts(module: str) -> Iterator[tuple[int, str]]:
    """Every text of a module but its docstrings: line, and what is left of it without markup."""
    tree = ast.parse(files("ui").joinpath(f"{module}.py").read_text(encoding="utf-8"))
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.lineno, _MARKUP.sub("", node.value)


@pytest.mark.parametrize("module", PAGES)
def test_no_module_that_draws_holds_prose_of_its_own(module: str) -> None:
    prose = [(line, text) for line, text in texts(module) if _PROSE.search(text) and text not in VALUES]

    assert prose == []
