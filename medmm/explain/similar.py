"""Labelled training cases like the one that is asked about, in the space in which the model decides.

A case is what the head of each side says of each label, as the fusion weighs it: log-odds, one number for a side and a
label. Two cases are near where the model would decide them alike and for the same reasons. The training cases are
those said out-of-fold, by heads that had not seen them; a model without heads has no such answers and no memory.

Of patients a file holds salted SHA-256 digests. They keep ids from being read; somebody who can guess an id can check
it. N training cases, M modalities, L labels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from medmm.errors import ModelError
from medmm.model.batch import Features, collate
from medmm.model.folder import Model
from medmm.model.fusion import Fusion, pattern_of
from medmm.result import SimilarCase

_SALT = 16
"""Bytes."""
_SMALLEST = 1e-6
"""Spread in log-odds that a label has at least, so that one that never varies divides nothing by 0."""
_CASES = "cases"
"""Key of the metadata under which the case ids stand, as JSON."""


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """What a model says of its training cases."""

    said: np.ndarray
    """(N, M, L) float32, what each head says, 0 where it has nothing to say."""
    present: np.ndarray
    """(N, M) bool."""
    targets: np.ndarray
    """(N, L) float32: 1, 0 or NaN for not stated."""
    case_ids: tuple[str, ...]
    patients: np.ndarray
    """(N, 32) uint8, see `digest`."""
    salt: bytes

    @classmethod
    def build(
        cls,
        said: np.ndarray,
        present: np.ndarray,
        targets: np.ndarray,
        case_ids: Sequence[str],
        patient_ids: Sequence[str],
        seed: int | None = None,
    ) -> Memory:
        """Keep what heads say of cases that they have not seen; see the fields. A seed makes the same file again."""
        salt = np.random.default_rng(seed).bytes(_SALT)
        return cls(
            said=np.where(present[..., None], said, 0).astype(np.float32),
            present=present.astype(bool),
            targets=targets.astype(np.float32),
            case_ids=tuple(case_ids),
            patients=np.stack([np.frombuffer(digest(patient, salt), dtype=np.uint8) for patient in patient_ids]),
            salt=salt,
        )

    def save(self, path: Path) -> None:
        """Write everything as one safetensors file."""
        arrays = {
            "said": self.said,
            "present": self.present,
            "targets": self.targets,
            "patients": self.patients,
            "salt": np.frombuffer(self.salt, dtype=np.uint8),
        }
        state = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
        save_file(state, path, metadata={_CASES: json.dumps(self.case_ids)})

    @classmethod
    def load(cls, path: Path) -> Memory:
        """Read what `save` wrote.

        Raises:
            ModelError: if it is damaged.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                arrays = {name: file.get_tensor(name) for name in ("said", "present", "targets", "patients")}
                salt, case_ids = file.get_tensor("salt").tobytes(), tuple(json.loads(file.metadata()[_CASES]))
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as problem:
            raise ModelError(f"{path.name} is damaged ({type(problem).__name__})", "Copy the folder again") from None
        if any(len(array) != len(case_ids) for array in arrays.values()):
            raise ModelError(f"{path.name} does not fit together: its cases", "Copy the folder again")
        return cls(**arrays, case_ids=case_ids, salt=salt)

    def nearest(self, model: Model, case: Features, patient_id: str, count: int = 5) -> tuple[SimilarCase, ...]:
        """The training cases of other patients that are most like a case, nearest first; equally near ones by id.

        Only the sides that the case has are compared, with the weights that the fusion gives them where no other is
        there, and only with training cases that have them: fewer than `count`, or none, where there are no more.

        Args:
            model: the one whose training cases these are.
            case: encoded by it.
            patient_id: whose case it is, if known; no case of this patient is given.
            count: how many at most.

        Raises:
            ModelError: if the memory is of another model.
        """
        if self.targets.shape[1] != len(model.labels) or not isinstance(model.network.body, Fusion):
            raise ModelError("the memory of training cases is of other labels", "Copy the whole folder again")
        others = (self.patients != np.frombuffer(digest(patient_id, self.salt), dtype=np.uint8)).any(axis=1)
        mine, theirs, comparable = self._decided(model.network.body, case)
        asked = np.flatnonzero(comparable & others)
        if not len(asked):
            return ()
        spread = np.maximum(theirs[comparable].sum(axis=1).std(axis=0), _SMALLEST)  # (L,)
        distances = np.sqrt(np.square((theirs[asked] - mine) / spread).mean(axis=(1, 2)))
        close = np.flatnonzero(distances <= np.sort(distances)[min(count, len(asked)) - 1])
        named = [(float(distances[i]), self.case_ids[asked[i]], int(asked[i])) for i in close]
        return tuple(
            SimilarCase(case_id, distance, dict(zip(model.labels, _answers(self.targets[row]), strict=True)))
            for distance, case_id, row in sorted(named)[:count]
        )

    @torch.inference_mode()
    def _decided(self, body: Fusion, case: Features) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What a case is decided by (S, L), what training cases are (N, S, L), and which of them compare (N,) bool."""
        batch = collate([case]).only(torch.tensor(body.keep))
        sides = batch.present[0].numpy()
        weight = body.rule.stack_weight[pattern_of(batch.present)[0]].double().numpy()  # (M, L, L)
        mine = np.einsum("ml,mlk->mk", body.said(batch)[0].double().numpy(), weight)[sides]
        theirs = np.einsum("nml,mlk->nmk", self.said.astype(np.float64), weight)[:, sides]
        return mine, theirs, (self.present | ~sides).all(axis=1) & sides.any()


def digest(patient_id: str, salt: bytes) -> bytes:
    """What a file holds of a patient: SHA-256 of salt and id."""
    return hashlib.sha256(salt + patient_id.encode()).digest()


def _answers(targets: np.ndarray) -> list[bool | None]:
    """1, 0 or NaN -> whether a label holds, None where not stated."""
    return [None if np.isnan(target) else bool(target) for target in targets]
