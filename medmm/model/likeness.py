"""Is this case like those that the model learnt from? How far out each side lies, which way up, and how well sides fit.

    image, note, record     distance from the training cases in the space of a head's pooled features: Mahalanobis under
                            probabilistic PCA (Tipping & Bishop 1999; Lee 2018), whose residual finds noise and
                            photographs of something else
    upside down, mirrored   a linear discriminant of a picture's halves less their mirror image. It turns its sign when
                            the patches are turned, so that the training pictures teach it both ways
    image and note, ...     canonical correlations of two sides, and the pointwise mutual information that they leave

Each score becomes a surprise: how rare it is in the tail of cases that the check has not seen, a generalised Pareto
distribution (Hosking & Wallis 1987), so that scores of different kinds compare. A case is doubted where a surprise is
above one limit for all, the conformal quantile of the largest surprise of validation cases: all checks together raise
`false_alarms` of cases like these.

Means, projections and correlations are kept, and no case's features. N cases, C channels, F pooled features, K axes,
G cells along a side of the grid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations
from math import ceil, exp, inf, log1p
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from sklearn.decomposition import PCA
from torch import Tensor

from medmm.case import MODALITIES
from medmm.errors import ModelError
from medmm.model.batch import COLUMN, PRIOR, ROW, Features, collate
from medmm.model.heads import Pool

_AXES = 64
"""Most axes of a distance; at most a quarter of the cases."""
_GRID = 6
_RIDGE = 3.0
"""Of the discriminant, in mean squared lengths of its training vectors."""
_BLOCK = 4096
"""Features that it looks at in one go."""
_CORRELATIONS = 8
_FEWEST = 20
"""Cases below which nothing is learnt of a side."""
_FEWEST_PAIRS = 200
"""Cases with two sides below which nothing is learnt of how they go together."""
_MOST = 2000
"""Cases that teach, drawn if there are more."""
_FOLDS = 5
_TAIL = 0.2
"""Share of the held-out scores that the tail is fitted to."""
_TURNS = {"upside down": ROW, "mirrored": COLUMN}


@dataclass(frozen=True, slots=True, eq=False)
class _Distance:
    """How far out a pooled vector lies."""

    centre: Tensor
    """(F,)."""
    spread: Tensor
    """(F,)."""
    axes: Tensor
    """(K, F), orthonormal."""
    variance: Tensor
    """(K,) along the axes."""
    noise: Tensor
    """() in every other direction."""

    @classmethod
    def learn(cls, x: Tensor, seed: int) -> _Distance:
        """From vectors (N, F)."""
        variance = x.var(dim=0)
        spread = (variance + variance.mean()).sqrt().clamp(min=1e-6)  # a feature that hardly varies here may elsewhere
        centre = x.mean(dim=0)
        axes = max(1, min(_AXES, len(x) // 4, x.shape[1] - 1))
        found = PCA(axes, svd_solver="randomized", random_state=seed).fit(((x - centre) / spread).numpy())
        along = torch.from_numpy(found.explained_variance_).to(x)
        noise = torch.tensor(max(float(found.noise_variance_), 1e-6)).to(x)
        return cls(centre, spread, torch.from_numpy(found.components_).to(x).clone(), along + noise, noise)

    def white(self, x: Tensor) -> Tensor:
        """(..., F) -> (..., K) of mean 0 and variance 1 over the training cases."""
        return ((x.double() - self.centre) / self.spread) @ self.axes.double().T / self.variance.sqrt()

    def score(self, x: Tensor) -> Tensor:
        """(..., F) -> (...) the logarithm of the squared distance, a feature."""
        whole = ((x.double() - self.centre) / self.spread).square().sum(dim=-1)
        known = self.white(x).square()
        rest = (whole - (known * self.variance).sum(dim=-1)).clamp(min=0)
        return ((known.sum(dim=-1) + rest / self.noise) / len(self.centre)).clamp(min=1e-9).log()


@dataclass(frozen=True, slots=True, eq=False)
class _Turn:
    """Whether a picture lies as the training pictures do: a ridge discriminant without intercept."""

    weight: Tensor
    """(F,)."""

    @classmethod
    def learn(cls, halves: Sequence[Tensor]) -> _Turn:
        """From halves less their mirror image, N of (F,), of pictures that lie right; turned they are the negative."""

        def block(start: int) -> Tensor:  # so that nothing as large as all of them is held besides
            return torch.stack([half[start : start + _BLOCK] for half in halves])

        def sized(start: int) -> Tensor:
            return (block(start) / size[start : start + _BLOCK]).double()

        starts = range(0, len(halves[0]), _BLOCK)
        size = torch.cat([block(start).square().mean(dim=0).sqrt() for start in starts])
        size = (size + 0.01 * size.mean()).clamp(min=1e-9)
        gram = torch.zeros(len(halves), len(halves), dtype=torch.float64)
        for x in map(sized, starts):
            gram += x @ x.T
        ridge = max(_RIDGE * float(gram.diagonal().mean()), 1e-9)
        dual = torch.linalg.solve(gram + ridge * torch.eye(len(gram)).double(), torch.ones(len(gram)).double())
        return cls(torch.cat([x.T @ dual for x in map(sized, starts)]).to(size) / size)

    def score(self, halves: Tensor) -> Tensor:
        """(..., F) -> (...): -1 for one that lies right, 1 for one that is turned."""
        return -(halves.double() @ self.weight.double())


@dataclass(frozen=True, slots=True, eq=False)
class _Agreement:
    """How well two sides fit each other, each in the white space of its distance."""

    first: Tensor
    """(K, D) directions of one side."""
    second: Tensor
    """(K', D) directions of the other that go with them."""
    correlation: Tensor
    """(D,) in (0, 1), as held-out cases show it."""

    @classmethod
    def learn(cls, a: Tensor, b: Tensor) -> _Agreement | None:
        """From white vectors (N, K) and (N, K') of the same cases; None where held-out cases show no correlation."""
        fold = torch.arange(len(a)) % _FOLDS
        held_out = torch.stack([_correlations(a, b, fold != f, fold == f) for f in range(_FOLDS)]).mean(dim=0)
        told = held_out > 3 / len(a) ** 0.5
        if not told.any():
            return None
        first, second = _directions(a, b)
        return cls(first[:, told].contiguous(), second[:, told].contiguous(), held_out[told].clamp(max=0.95))

    def score(self, a: Tensor, b: Tensor) -> Tensor:
        """(..., K) and (..., K') -> (...): minus the mutual information of this case, in nats."""
        u, v = ((x @ w).clamp(-3, 3) for x, w in ((a, self.first), (b, self.second)))
        r = self.correlation
        told = -0.5 * (1 - r**2).log() - (r**2 * (u**2 + v**2) - 2 * r * u * v) / (2 * (1 - r**2))
        return -told.sum(dim=-1)


def _directions(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Canonical directions of white vectors: (K, D) and (K', D), scaled so that what they give has variance 1."""
    left, _, right = torch.linalg.svd(a.T @ b / len(a), full_matrices=False)
    first, second = left[:, :_CORRELATIONS], right[:_CORRELATIONS].T
    return first / (a @ first).std(dim=0).clamp(min=1e-6), second / (b @ second).std(dim=0).clamp(min=1e-6)


def _correlations(a: Tensor, b: Tensor, learn: Tensor, judge: Tensor) -> Tensor:
    """Correlations along the directions of some cases, among others: (D,)."""
    first, second = _directions(a[learn], b[learn])
    u, v = a[judge] @ first, b[judge] @ second
    u, v = u - u.mean(dim=0), v - v.mean(dim=0)
    lengths = (u.square().sum(dim=0) * v.square().sum(dim=0)).sqrt().clamp(min=1e-9)
    return (u * v).sum(dim=0) / lengths


_Check = _Distance | _Turn | _Agreement
_KINDS: dict[str, type[_Check]] = (
    dict.fromkeys(MODALITIES, _Distance)
    | dict.fromkeys(_TURNS, _Turn)
    | {f"{a} and {b}": _Agreement for a, b in combinations(MODALITIES, 2)}
)
"""Every check, in the order of its doubts."""


@dataclass(frozen=True, slots=True, eq=False)
class Likeness:
    """What cases like the training cases look like, and when one is unlike them."""

    checks: Mapping[str, _Check]
    """Those of _KINDS that there was enough to learn for."""
    tails: Mapping[str, Tensor]
    """Of each, the score that a fifth of the cases exceeds, and scale and shape of the tail beyond it: (3,) float64."""
    limit: float
    """The surprise above which a case is doubted; infinite where too few cases were there to choose it."""
    channels: Mapping[str, int]
    """How many channels of a patch or a word piece are looked at; all where it is not said."""

    @classmethod
    def fit(
        cls,
        train: Sequence[Features],
        validation: Sequence[Features],
        modalities: Sequence[str] = MODALITIES,
        *,
        channels: Mapping[str, int] | None = None,
        false_alarms: float = 0.05,
        seed: int = 0,
    ) -> Likeness:
        """Learn from training cases; choose the limit on validation cases.

        Args:
            train: what the model learnt from.
            validation: cases of other patients. Where they are too few for the quantile, held-out training cases
                stand beside them.
            modalities: those that the model uses; nothing is said of others.
            channels: see the field. With taught encoders those of the frozen ones, since training cases are seen
                through other copies than all others.
            false_alarms: share of cases like the training cases that may be doubted.
            seed: of all that is drawn.
        """
        wanted = dict(channels or {})
        order = np.random.default_rng(seed).permutation(len(train))[:_MOST]
        seen = [_view(train[int(i)], modalities, wanted) for i in order]
        told = [_view(case, modalities, wanted) for case in validation]
        held_out: list[dict[str, float]] = []
        for fold in range(_FOLDS):
            part = _learn([view for i, view in enumerate(seen) if i % _FOLDS != fold], seed)
            held_out += [_scores(part, view) for i, view in enumerate(seen) if i % _FOLDS == fold]
        learnt = _learn(seen, seed)
        validated = [_scores(learnt, view) for view in told]
        found = {name: [said[name] for said in held_out + validated if name in said] for name in learnt}
        checks = {name: check for name, check in learnt.items() if len(found[name]) >= _FEWEST}
        like = cls(checks, {name: _tail(np.array(found[name])) for name in checks}, inf, wanted)
        largest = [like._largest(said) for said in validated]
        if len(largest) + 1 < 1 / false_alarms:
            largest += [like._largest(said) for said in held_out]
        return replace(like, limit=_quantile(largest, false_alarms))

    def scores(self, case: Features) -> dict[str, float]:
        """The surprise of each check that the case has the sides for; one above `limit` is a doubt.

        0 is what a fifth of the cases exceed; each 2.3 more is ten times as rare.
        """
        return self._surprises(_scores(self.checks, _view(case, MODALITIES, self.channels)))

    def doubts(self, case: Features) -> tuple[str, ...]:
        """Why the case is unlike what the model learnt from, in plain sentences; empty if it is like it."""
        found = self.scores(case)
        return tuple(_sentence(name, found[name]) for name in _KINDS if found.get(name, -inf) > self.limit)

    def save(self, path: Path) -> None:
        """Write everything as one safetensors file."""
        state = {"limit": torch.tensor(self.limit, dtype=torch.float64)}
        for name, check in self.checks.items():
            state |= {f"{name}.{part.name}": getattr(check, part.name).contiguous() for part in fields(check)}
            state[f"{name}.tail"] = self.tails[name]
        state |= {f"channels.{name}": torch.tensor(count) for name, count in self.channels.items()}
        save_file(state, path)

    @classmethod
    def load(cls, path: Path) -> Likeness:
        """Read what `save` wrote.

        Raises:
            ModelError: if it is damaged.
        """
        try:
            state = load_file(path)
            names = [name for name in _KINDS if f"{name}.tail" in state]
            checks = {name: _restored(_KINDS[name], name, state) for name in names}
            tails = {name: state[f"{name}.tail"] for name in names}
            channels = {name: int(state[f"channels.{name}"]) for name in MODALITIES if f"channels.{name}" in state}
            return cls(checks, tails, float(state["limit"]), channels)
        except (OSError, SafetensorError, KeyError) as problem:
            raise ModelError(f"{path.name} is damaged ({type(problem).__name__})", "Copy the folder again") from None

    def _surprises(self, scores: Mapping[str, float]) -> dict[str, float]:
        return {name: _surprise(score, self.tails[name]) for name, score in scores.items()}

    def _largest(self, scores: Mapping[str, float]) -> float:
        known = {name: score for name, score in scores.items() if name in self.tails}
        return max(self._surprises(known).values(), default=-inf)


def _restored(kind: type[_Check], name: str, state: Mapping[str, Tensor]) -> _Check:
    make = cast("Callable[..., Any]", kind)
    return cast("_Check", make(**{part.name: state[f"{name}.{part.name}"].clone() for part in fields(kind)}))


_View = dict[str, Tensor]
"""Of one case, what the checks look at: a vector for each of its modalities and, of an image, for each of _TURNS."""


@torch.inference_mode()
def _view(case: Features, modalities: Sequence[str], channels: Mapping[str, int]) -> _View:
    """Pool a case, alone."""
    case = replace(
        case,
        image=case.image[:, : channels.get("image", case.image.shape[1])],
        note=case.note[:, : channels.get("note", case.note.shape[1])],
    )
    batch = collate([case])
    there = [name for name, has in zip(MODALITIES, case.present, strict=True) if has and name in modalities]
    view = {name: Pool(name, prior=False)(batch)[0] for name in there}
    if "image" in view:
        grid = _grid(case)
        view |= {name: _halves(grid, dim) for dim, name in enumerate(_TURNS)}
    return view


def _grid(case: Features) -> Tensor:
    """The patches of the study of now, spread over a grid: (G, G, C); one between two knots counts for both."""
    now = case.place[:, PRIOR] == 0
    patches, at = case.image[now].float(), case.place[now][:, list(_TURNS.values())]
    near = (1 - (at[..., None] * (_GRID - 1) - torch.arange(_GRID)).abs()).clamp(min=0)  # (P, 2, G)
    return torch.einsum("pi,pj,pc->ijc", near[:, 0], near[:, 1], patches) / len(patches)


def _halves(grid: Tensor, dim: int) -> Tensor:
    """One half of a grid less the mirror image of the other: (F,)."""
    return (grid - grid.flip(dim)).narrow(dim, 0, _GRID // 2).flatten()


def _learn(views: Sequence[_View], seed: int) -> dict[str, _Check]:
    """Every check that there are enough cases for."""
    checks: dict[str, _Check] = {}
    for name, kind in _KINDS.items():
        if kind is _Agreement:
            continue
        mine = [view[name] for view in views if name in view]
        if len(mine) >= _FEWEST and any(not torch.equal(mine[0], other) for other in mine):
            checks[name] = _Distance.learn(torch.stack(mine), seed) if kind is _Distance else _Turn.learn(mine)
    for a, b in combinations(MODALITIES, 2):
        both = [view for view in views if a in view and b in view]
        first, second = checks.get(a), checks.get(b)
        if len(both) >= _FEWEST_PAIRS and isinstance(first, _Distance) and isinstance(second, _Distance):
            x, y = (torch.stack([view[name] for view in both]) for name in (a, b))
            agreement = _Agreement.learn(first.white(x), second.white(y))
            if agreement is not None:
                checks[f"{a} and {b}"] = agreement
    return checks


@torch.inference_mode()
def _scores(checks: Mapping[str, _Check], view: _View) -> dict[str, float]:
    """The score of each check that the case has the sides for; higher is less like."""
    scores = {}
    for name, check in checks.items():
        if isinstance(check, _Agreement):
            sides = name.split(" and ")
            if all(side in view for side in sides):
                white = [cast("_Distance", checks[side]).white(view[side]) for side in sides]
                scores[name] = float(check.score(*white))
        elif name in view:
            scores[name] = float(check.score(view[name]))
    return scores


def _tail(scores: np.ndarray) -> Tensor:
    """Where the tail begins, its scale, and its shape, 0 for an exponential one; by probability-weighted moments."""
    knee = float(np.quantile(scores, 1 - _TAIL))
    beyond = np.sort(scores[scores > knee] - knee)
    least = 0.1 * (float(scores.std()) or 1.0)
    if len(beyond) < 2:
        return torch.tensor([knee, least, 0.0], dtype=torch.float64)
    mean = beyond.mean()
    weighted = (beyond * (len(beyond) - 0.65 - np.arange(len(beyond))) / len(beyond)).mean()
    shape = float(np.clip(2 - mean / max(mean - 2 * weighted, 1e-9), 0, 0.9))
    return torch.tensor([knee, max(mean * (1 - shape), least), shape], dtype=torch.float64)


def _surprise(score: float, tail: Tensor) -> float:
    """Minus the logarithm of the share of the tail that lies beyond a score; below the tail it falls on evenly."""
    knee, scale, shape = tail.tolist()
    far = (score - knee) / scale
    return log1p(shape * far) / shape if shape > 0 and far > 0 else float(far)


def _quantile(largest: Sequence[float], false_alarms: float) -> float:
    """The limit that a new case exceeds with a chance of `false_alarms` at most; infinite if there are too few."""
    rank = ceil((len(largest) + 1) * (1 - false_alarms))
    return float(np.sort(largest)[rank - 1]) if rank <= len(largest) else inf


def _sentence(name: str, surprise: float) -> str:
    """A doubt in words."""
    share = f"{min(99, int(100 * (1 - _TAIL * exp(-max(surprise, 0.0)))))} %"
    learnt = "that the model learnt from"
    if name in _TURNS:
        parts = {"upside down": "top and bottom", "mirrored": "left and right"}[name]
        return f"the image may be {name}: {parts} are told apart less than in {share} of the images {learnt}"
    if name in MODALITIES:
        return f"the {name} is unlike those {learnt}: further out than {share} of them"
    return f"{name} fit each other less than in {share} of the cases {learnt}: are they of the same patient?"
