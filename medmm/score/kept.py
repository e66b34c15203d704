"""Cases that were encoded once, kept for the next model: found by what they were read from. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from medmm.model.shelf import Shelf


@dataclass(frozen=True, slots=True)
class Kept:
    """Where the cases of a run are kept, and what of a run they depend on."""

    shelf: Shelf
    settings: str
    """See `settings_of`."""
    prior: bool
    """Whether the model knows what to do with an earlier study."""

    def key(self, inputs: str) -> str:
        """Name of a case by its `inputs_of`."""
        return self.shelf.key(repr((inputs, self.settings, self.prior)).encode())

    def has(self, inputs: str) -> bool:
        """Whether the case is kept, and not cut short: then its files need not be decoded."""
        return self.shelf.has(self.key(inputs))
