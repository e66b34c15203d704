"""The folder that `medmm score` wrote: its store, the pictures of its films, how urgent labels are."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

from medmm.errors import ConfigError, StoreError
from medmm.store.store import Store
from medmm.write.picture import FILMS

STORE_URL = "MEDMM_STORE"
"""Environment variable with the URL of a store that is not in the folder; it may hold a password."""
PRIORITIES = "priorities.toml"
"""Beside the store, if somebody wrote it: label = weight, as in `pneumothorax = 5`; 1 for one that is not named."""
_REMEDY = "Give the folder that 'medmm score' wrote"


def open_store(out: Path, url: str | None = None) -> Store:
    """Open the store of a scored folder, or another one; nothing is made if there is none.

    Args:
        out: the folder that `medmm score` wrote.
        url: of a database instead of the folder's; else the one that the environment variable names, if it does.

    Raises:
        StoreError: if it is not a scored folder, nothing was scored in it, or the database cannot be reached.
    """
    store = Store.existing(url or os.environ.get(STORE_URL) or out)
    if not store.models():
        store.close()
        raise StoreError("Nothing has been scored in this folder yet", _REMEDY)
    return store


def films_folder(out: Path) -> Path:
    """Where the pictures of the films are."""
    return out / FILMS


def priorities(out: Path) -> Mapping[str, float]:
    """Label -> how much more urgent it is than others; empty if nobody said.

    Raises:
        ConfigError: if a weight is not a number above 0.
    """
    path = out / PRIORITIES
    if not path.is_file():
        return {}
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        said = {"": None}
    if not all(isinstance(weight, int | float) and weight > 0 for weight in said.values()):
        raise ConfigError(f"{PRIORITIES} does not say how urgent labels are", "Write 'label = number above 0' a line")
    return said
