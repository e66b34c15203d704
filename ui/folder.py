"""The folder that `medmm score` wrote: its store, its newest model, the pictures of its films."""

from __future__ import annotations

from pathlib import Path

from medmm.errors import StoreError
from medmm.store.store import STORE, Store
from medmm.write.picture import FILMS

_REMEDY = "Give the folder that `medmm score` wrote"


def open_store(out: Path) -> Store:
    """Open the store of a scored folder; nothing is made if there is none.

    Raises:
        StoreError: if it is not a scored folder, or nothing was scored in it.
    """
    path = out / STORE
    if not path.is_file():
        raise StoreError(f"The folder holds no {STORE}", _REMEDY)
    store = Store(path)
    if not store.models():
        store.close()
        raise StoreError("Nothing has been scored in this folder yet", _REMEDY)
    return store


def films_folder(out: Path) -> Path:
    """Where the pictures of the films are."""
    return out / FILMS
