"""The planted findings: what each does to a chest, and where.

Each finding is a change of the gas in the lung (or of the heart, before the chest is made) and a boolean mask on the
film's grid that marks it. Sizes are drawn from ranges; the smallest are meant to be missed by a hasty eye.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from sample_data.anatomy import Chest, Field, ramp, upscale

FINDINGS = ("consolidation", "effusion", "cardiomegaly", "pneumothorax", "nodule")
"""Every finding, in the order of every table."""

LUNG_GAS = 0.74
"""Share of aerated lung that is gas."""

DENSE = (1.9, 3.2)
"""Density of a nodule, in that of soft tissue."""


@dataclass(frozen=True, slots=True, eq=False)
class Lungs:
    """What fills the chest while findings are added to it."""

    gas: Field
    """Thickness of gas along the beam, mm."""
    tissue: Field
    """Thickness of soft tissue that a finding added, mm."""
    masks: dict[str, np.ndarray]
    """(rows, columns) bool by finding."""


def draw_heart_ratio(rng: np.random.Generator, usual: float, view: str, enlarged: bool) -> float:
    """Cardiothoracic ratio of the heart on this film: 0.39 to 0.51, or 0.56 to 0.66 if it is enlarged."""
    big, breath = rng.uniform(0.56, 0.645), rng.normal(0, 0.006)
    magnified = 0.015 if view == "AP" else 0.0
    return float(big if enlarged else np.clip(usual + breath, 0.39, 0.49)) + magnified


def cloud(rng: np.random.Generator, shape: tuple[int, int], grain: int) -> Field:
    """Smooth noise of mean 0 and standard deviation 1, with lumps of about `grain` pixels."""
    rows, columns = (max(4, side // grain + 3) for side in shape)
    noise = ndimage.zoom(rng.standard_normal((rows, columns), dtype=np.float32), 3, order=3)
    noise = (noise - noise.mean()) / noise.std()
    return upscale(noise, *shape)


def consolidate(chest: Chest, lungs: Lungs, rng: np.random.Generator) -> Lungs:
    """Fill a part of one lobe: dense in the middle, fluffy at the border, with bronchi left open."""
    sign = -1.0 if rng.random() < 0.55 else 1.0
    level, out = [(0.27, 0.55), (0.62, 0.50), (0.80, 0.58), (0.45, 0.62)][rng.choice(4, p=[0.25, 0.25, 0.35, 0.15])]
    y = (level + rng.uniform(-0.07, 0.07)) * chest.height
    x = sign * (out + rng.uniform(-0.08, 0.14)) * chest.build.half_width
    half = rng.uniform(30, 58), rng.uniform(27, 52)
    tilt = rng.uniform(-0.6, 0.6)
    dense = rng.uniform(0.42, 0.85)
    grid = chest.grid
    across, down = (grid.x - x).astype(np.float32), (grid.y - y).astype(np.float32)
    along = (across * np.cos(tilt) + down * np.sin(tilt)) / half[0]
    over = (down * np.cos(tilt) - across * np.sin(tilt)) / half[1]
    grain = int(30 / grid.spacing)
    rough = cloud(rng, grid.shape, grain) * 0.26 + cloud(rng, grid.shape, grain // 3) * 0.10
    share = dense * ramp(1 - np.sqrt(along * along + over * over) + rough, 0.62) * (1 + 0.35 * rough)
    share = np.clip(share, 0, 0.95) * _same_lung(chest, sign) * _bronchogram(chest, rng, sign, x, y)
    mask = (share > 0.2) & (chest.air > 18)
    return Lungs(lungs.gas * (1 - share), lungs.tissue, lungs.masks | {"consolidation": mask})


def _same_lung(chest: Chest, sign: float) -> Field:
    """1 in the lung of the given side, 0 in the other."""
    return (chest.grid.x * sign > 0).astype(np.float32)


def _bronchogram(chest: Chest, rng: np.random.Generator, sign: float, x: float, y: float) -> Field:
    """What is left of the filling along a few bronchi that stay open: 1 elsewhere."""
    across, down = chest.grid.x[::2, ::2], chest.grid.y[::2]
    start = np.array([sign * 30.0, 0.48 * chest.height])
    open_share = np.zeros(across.shape, np.float32)
    for _ in range(3):
        way = np.array([x, y]) + rng.normal(0, 16, 2) - start
        length = float(np.hypot(*way))
        along, aside = (way / length).astype(np.float32)
        ahead = (across - start[0]) * along + (down - start[1]) * aside
        beside = (across - start[0]) * aside - (down - start[1]) * along
        width = np.clip(2.6 - 0.010 * ahead, 1.0, 3)
        open_share = np.maximum(open_share, ramp(1 - np.abs(beside) / width, 0.5) * ramp(length + 12 - ahead, 10))
    return 1 - 0.4 * upscale(open_share, *chest.grid.shape)


def add_nodule(chest: Chest, lungs: Lungs, rng: np.random.Generator) -> Lungs:
    """Put one to three round, dense opacities of 16 to 30 mm with spicules into open lung, away from other findings."""
    taken = np.zeros(chest.grid.shape, bool)
    for mask in lungs.masks.values():
        taken |= mask
    total = np.zeros(chest.grid.shape, np.float32)
    mask = np.zeros(chest.grid.shape, bool)
    for _ in range(rng.choice((1, 2, 3), p=(0.5, 0.3, 0.2))):
        radius = rng.uniform(8.0, 15.0)
        ball = _ball(chest, rng, radius, _open_spot(chest, rng, radius, taken | (total > 0)))
        total = np.maximum(total, ball)
        mask |= ball > 0.25 * radius
    return Lungs(lungs.gas, lungs.tissue + total, lungs.masks | {"nodule": mask})


def _open_spot(chest: Chest, rng: np.random.Generator, radius: float, taken: np.ndarray) -> tuple[int, int]:
    """Row and column of a point of aerated lung where a ball fits beside heart, hilum and everything `taken`."""
    step, grid = 4, chest.grid
    beside = (chest.depth > radius + 6) & (np.abs(grid.x) > 42) & (grid.y < chest.dome - radius - 4)
    free = beside & (chest.air > 50) & (chest.heart <= 0)
    rows, columns = np.nonzero((free & ~taken)[::step, ::step])
    if not len(rows):
        rows, columns = np.nonzero(free[::step, ::step])
    pick = int(rng.random() * len(rows))
    return int(rows[pick] * step), int(columns[pick] * step)


def _ball(chest: Chest, rng: np.random.Generator, radius: float, at: tuple[int, int]) -> Field:
    """Thickness of a lobed, spiculated ball, in mm of soft tissue; partly calcified, so denser than its size."""
    grid = chest.grid
    reach = int(2.2 * radius / grid.spacing)
    rows = slice(max(0, at[0] - reach), at[0] + reach)
    columns = slice(max(0, at[1] - reach), at[1] + reach)
    across = grid.x[rows, columns] - grid.x[at]
    down = grid.y[rows] - grid.y[at[0]]
    angle = np.arctan2(down, across)
    lobes = 1 + 0.08 * np.sin(2 * angle + rng.uniform(0, 6)) + 0.05 * np.sin(5 * angle + rng.uniform(0, 6))
    away = np.hypot(across, down) / (radius * lobes)
    core = 2 * radius * np.sqrt(np.maximum(1 - away * away, 0)) * rng.uniform(*DENSE)
    rays = np.maximum(np.sin(rng.integers(7, 11) * angle + rng.uniform(0, 6)), 0) ** 3
    spicules = 9 * rays * np.clip(1.9 - away, 0, 1) * (away > 0.8)
    ball = np.zeros(grid.shape, np.float32)
    ball[rows, columns] = ndimage.gaussian_filter(core + spicules, 0.8 / grid.spacing, truncate=3)
    return ball


def collapse(chest: Chest, lungs: Lungs, rng: np.random.Generator) -> Lungs:
    """Let the lung of one side fall away from the wall: bare gas outside, a fine line, denser lung inside."""
    sign = -1.0 if rng.random() < 0.5 else 1.0
    top, foot = rng.uniform(11, 36), rng.uniform(0.05, 0.6)
    grid = chest.grid
    down = np.clip(grid.y / chest.height, 0, 1.2)
    wave = 1 + 0.05 * np.sin(grid.y / rng.uniform(16, 28) + rng.uniform(0, 6))
    gap = (top * (1 - (1 - foot) * down) * wave).astype(np.float32)
    inner = chest.depth - gap  # distance inside the surface of the fallen lung, mm
    side = ramp(grid.x * sign - 24, 6) * (chest.air > 0)
    space = ramp(-inner, 0.5) * side
    edge = np.exp(-((inner / 0.75) ** 2)) * side * np.float32(rng.uniform(5, 9)) * np.minimum(chest.air / 40, 1)
    lung = lungs.gas * (1 - rng.uniform(0.03, 0.10) * side)
    gas = lung * (1 - space) + chest.air * 0.99 * space
    mask = (space > 0.5) & (chest.depth > 0) & (chest.air > 12)
    return Lungs(gas, lungs.tissue * (1 - space) + edge, lungs.masks | {"pneumothorax": mask})


def pour(chest: Chest, lungs: Lungs, rng: np.random.Generator) -> Lungs:
    """Fill the foot of one pleural space with fluid, its surface rising to the wall; sometimes both sides."""
    first = -1.0 if rng.random() < 0.5 else 1.0
    sides = (-1.0, 1.0) if rng.random() < 0.25 else (first,)
    grid, build = chest.grid, chest.build
    share = np.zeros(grid.shape, np.float32)
    for sign in sides:
        amount = rng.uniform(20, 75) if rng.random() < 0.75 else rng.uniform(75, 125)
        out = np.clip(np.abs(grid.x) / build.half_width, 0, 1)
        rise = rng.uniform(0.35, 0.55) * min(amount, 60) + 12
        angle = chest.height + 0.155 * build.height - amount  # y of the surface in the middle of the lung
        surface = angle - rise * np.clip((out - 0.45) / 0.55, 0, 1) ** 2.6 - 0.25 * rise * (1 - out) ** 2
        below = grid.y - surface
        fluid = 0.93 * ramp(below - 3, 7) + 0.10 * ramp(below + 10, 16) * ramp(-below, 8)
        share = np.maximum(share, np.clip(fluid, 0, 0.95) * ramp(grid.x * sign - 18, 16))
    mask = (share > 0.25) & (chest.air > 8)
    return Lungs(lungs.gas * (1 - share), lungs.tissue, lungs.masks | {"effusion": mask})
