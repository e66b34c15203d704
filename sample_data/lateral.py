"""The lateral film: simpler than the frontal one, and of the same patient."""

from collections.abc import Collection

import numpy as np
from scipy import ndimage

from sample_data.anatomy import Build, Field, Grid, draw_pose, ellipsoid, ramp
from sample_data.film import BONE, SOFT, Film, expose, process, store
from sample_data.findings import LUNG_GAS, cloud
from sample_data.tubes import grow, splat


def make_lateral(rng: np.random.Generator, findings: Collection[str], build: Build, heart_ratio: float) -> Film:
    """Make a left lateral film, front of the patient on the left; it shows heart size, fluid and consolidation.

    Args:
        rng: decides pose and noise.
        findings: names out of `sample_data.findings.FINDINGS`; a nodule or a pneumothorax is not drawn here.
        build: the patient.
        heart_ratio: of the frontal film.
    """
    pose = draw_pose(rng, "LL")
    grid = _grid(rng, build)
    height, deep = build.height * 0.97, build.half_depth
    across, y = grid.x, grid.y
    front = deep * (0.50 + 0.50 * np.sin(0.5 * np.pi * np.clip(y / (0.7 * height), 0, 1)))
    back = deep * (0.75 + 0.25 * np.sin(0.5 * np.pi * np.clip(y / (0.5 * height), 0, 1)))
    dome = _dome(across, deep, height)
    inside = np.where(across < 0, 1 - (across / front) ** 2, 1 - (across / back) ** 2)
    top = np.clip((y + 6 - 0.0035 * (across - 0.1 * deep) ** 2) / 95, 0, 1)
    lung = 1.5 * build.half_width * np.sqrt(np.clip(inside, 0, 1)) * top * (2 - top)
    lung = lung * ramp(dome - y, 2)
    lung = np.maximum(lung - _heart(grid, build, heart_ratio, height), 0)
    share = _opacity(rng, grid, findings, height, deep, dome)
    grain = 1 + 0.012 * cloud(rng, grid.shape, 9) + 0.02 * cloud(rng, grid.shape, 40)
    gas = LUNG_GAS * np.maximum(lung * grain - _vessels(rng, grid, build, height), 0) * (1 - share)
    body = _body(grid, build, height)
    path = SOFT * 0.82 * np.maximum(body - gas, 0) + BONE * _bones(rng, grid, build, height)
    density = expose(path.astype(np.float32), pose, rng)
    pixels, window = store(process(density, grid, pose), rng)
    return Film(pixels, window, grid.spacing, "LL")


def _grid(rng: np.random.Generator, build: Build) -> Grid:
    """A film around the whole chest; x runs to the back of the patient and is 0 in the middle of the thorax."""
    rows = int(rng.integers(480, 600)) // 2 * 2
    top = rng.uniform(30, 45)
    tall = build.height + top + rng.uniform(50, 75)
    spacing = tall / rows
    columns = int((2 * build.half_depth + rng.uniform(90, 130)) / spacing / 2) * 2
    y = (np.arange(rows, dtype=np.float32)[:, None] + 0.5) * np.float32(spacing) - np.float32(top)
    x = (np.arange(columns, dtype=np.float32)[None, :] - columns / 2) * np.float32(spacing)
    return Grid(x - 0.05 * (y - 100), y, float(spacing))


def _dome(across: Field, deep: float, height: float) -> Field:
    """Level of the diaphragm: high in front, deep behind."""
    share = np.clip((across + 0.35 * deep) / (1.3 * deep), -0.6, 1.05)
    return np.asarray(height + 62 * np.maximum(share, 0) ** 2 + 30 * np.minimum(share, 0) ** 2, dtype=np.float32)


def _heart(grid: Grid, build: Build, ratio: float, height: float) -> Field:
    """Thickness of the heart and of the great vessels, mm."""
    size = build.half_width * ratio
    centre = (-0.36 * build.half_depth, height - 0.62 * size)
    heart = ellipsoid(grid, centre, (1.08 * size, 0.78 * size, 0.95 * size), 0.95)
    vessels = ellipsoid(grid, (-0.12 * build.half_depth, 0.40 * height), (26, 58, 22), -0.25)
    arch = ellipsoid(grid, (0.16 * build.half_depth, 0.27 * height), (26, 22, 13), 0.3)
    hila = ellipsoid(grid, (0.04 * build.half_depth, 0.44 * height), (17, 22, 15))
    thick = np.maximum(np.maximum(heart * 0.8, vessels), np.maximum(arch, hila))
    return np.asarray(ndimage.gaussian_filter(thick, 0.8, truncate=3), dtype=np.float32)


def _vessels(rng: np.random.Generator, grid: Grid, build: Build, height: float) -> Field:
    """Thickness of the vessels of both lungs, which lie over each other, mm."""
    clouds = []
    for sign in (-1, 1, 1):
        fan = rng.uniform(-1.4, 1.4, 7)
        x = np.full(7, 0.05 * build.half_depth) + rng.normal(0, 5, 7)
        y = 0.45 * height + 14 * fan + rng.normal(0, 3, 7)
        radius, length = rng.uniform(1.8, 3.4, 7), rng.uniform(0.08, 0.13, 7) * build.height
        clouds.append(splat(grid, grow(rng, x, y, fan, radius, length, sign)))
    return np.asarray(ndimage.gaussian_filter(sum(clouds), 1.0, truncate=3), dtype=np.float32)


def _opacity(
    rng: np.random.Generator, grid: Grid, findings: Collection[str], height: float, deep: float, dome: Field
) -> Field:
    """Share of the lung that fluid or consolidation fills."""
    share = np.zeros(grid.shape, np.float32)
    level, amount = rng.uniform(0.3, 0.85), rng.uniform(25, 60)
    spot = rng.uniform(-0.3, 0.6) * deep
    rough = cloud(rng, grid.shape, 24)
    if "effusion" in findings:
        rise = height + 45 - amount - 14 * np.clip(np.abs(grid.x) / deep, 0, 1) ** 3
        share = np.maximum(share, 0.6 * ramp(grid.y - rise, 6))
    if "consolidation" in findings:
        distance = np.hypot(grid.x - spot, 0.9 * (grid.y - level * height)) / 34
        share = np.maximum(share, 0.4 * ramp(1 - distance + 0.3 * rough, 0.9))
    return share * (grid.y < dome + 4)


def _body(grid: Grid, build: Build, height: float) -> Field:
    """Thickness of the body from side to side, mm."""
    front = build.half_depth + 0.5 * build.fat + 8 + 0.6 * build.breast * np.exp(-(((grid.y - 0.6 * height) / 50) ** 2))
    front = front * (0.62 + 0.38 * np.sin(0.5 * np.pi * np.clip((grid.y + 45) / (0.7 * height), 0, 1)))
    back = build.half_depth + 0.7 * build.fat + 22
    inside = np.where(grid.x < 0, 1 - (grid.x / front) ** 2, 1 - (grid.x / back) ** 2)
    wide = 2 * build.half_width * 0.86 + build.fat + 40 * ramp(40 - grid.y, 90)
    body = wide * np.clip(inside, 0, 1) ** np.float32(0.4)
    return np.asarray(ndimage.gaussian_filter(body.astype(np.float32), 1.2, truncate=3), dtype=np.float32)


def _bones(rng: np.random.Generator, grid: Grid, build: Build, height: float) -> Field:
    """Compact bone, mm: the spine behind, the breastbone in front, ribs across."""
    y = grid.y
    line = build.half_depth * (0.72 + 0.20 * np.sin(np.pi * np.clip(y / height, -0.2, 1.2)))
    period = 0.098 * build.height
    phase = (y / period + rng.random()) % 1
    disc = 1 - 0.6 * ramp(0.13 - np.minimum(phase, 1 - phase), 0.05)
    edge = 15 + 1.5 * np.cos(2 * np.pi * phase)
    inside = ramp(edge - np.abs(grid.x - line), 1.5)
    spine = 8 * inside * disc * (1 + 0.4 * np.exp(-(((edge - np.abs(grid.x - line) - 1.5) / 1.6) ** 2)))
    front = -build.half_depth * (0.50 + 0.50 * np.sin(0.5 * np.pi * np.clip(y / (0.7 * height), 0, 1))) - 5
    breastbone = 9 * np.exp(-(((grid.x - front) / 4.5) ** 2)) * ramp(0.66 * height - y, 8) * ramp(y - 20, 8)
    rib_gap = 0.094 * build.height
    slope = (y - 0.55 * grid.x + 6 * np.sin(grid.x / 30)) / rib_gap
    ribs = sum(np.exp(-((((slope + shift) % 1 - 0.5) / 0.11) ** 2)) for shift in (0.0, 0.37))
    across = np.clip(1 - (grid.x / (build.half_depth + 8)) ** 2, 0, 1)
    ribs = 1.5 * ribs * np.sqrt(across) * ramp(y - 5, 15)
    return np.asarray(spine + breastbone + ribs, dtype=np.float32)
