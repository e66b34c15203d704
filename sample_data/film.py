"""From a chest to a film: absorption, scatter, quanta, detector, processing; and the marker and the collimator.

`make_film` is the front door: a generator and the findings to plant in, a `Film` out.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from sample_data import findings as plant
from sample_data import tubes
from sample_data.anatomy import (
    Build,
    Chest,
    Field,
    Grid,
    Pose,
    draw_build,
    draw_grid,
    draw_pose,
    ellipsoid,
    make_chest,
    ramp,
    soft_tissue,
    upscale,
)

SOFT = 0.0185
"""Attenuation of soft tissue, 1/mm, for the hardened beam of a chest film."""
BONE = 0.040
"""Attenuation of compact bone above that of the soft tissue in its place, 1/mm."""
TOP = 4095
"""Largest stored value: 12 bits."""


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """One film, MONOCHROME2: bright is dense."""

    pixels: np.ndarray
    """(rows, columns) uint16 in [0, 4095]."""
    window: tuple[float, float]
    """Centre (0028,1050) and width (0028,1051) in which the film is meant to be shown."""
    spacing_mm: float
    """Distance between neighbouring pixels, the same in both directions."""
    view: str
    """PA, AP or LL."""
    masks: dict[str, np.ndarray] = field(default_factory=dict)
    """(rows, columns) bool by planted finding; empty for a lateral film."""
    heart_ratio: float = 0.0
    """Cardiothoracic ratio that the heart was drawn with."""


def make_film(
    rng: np.random.Generator, findings: Collection[str], *, build: Build | None = None, view: str = "PA"
) -> Film:
    """Make a frontal film with exactly the given findings planted.

    The same generator state gives the same patient, pose and noise whatever the findings are.

    Args:
        rng: decides everything that the arguments do not.
        findings: names out of `sample_data.findings.FINDINGS`.
        build: the patient; None draws one.
        view: PA or AP.
    """
    body_rng, pose_rng, noise_rng, heart_rng, *finding_rngs = rng.spawn(8)
    build = build or draw_build(body_rng)
    pose = draw_pose(pose_rng, view)
    grid = draw_grid(pose_rng, build, pose)
    ratio = plant.draw_heart_ratio(heart_rng, build.heart_ratio, view, "cardiomegaly" in findings)
    chest = make_chest(build, pose, grid, ratio)
    lungs = plant_findings(chest, findings, finding_rngs, noise_rng)
    path = SOFT * np.maximum(soft_tissue(chest) - lungs.gas + lungs.tissue - tubes.airways(chest), 0)
    path = path - SOFT * _stomach(chest, noise_rng)
    density = expose(path + BONE * tubes.bones(chest), pose, noise_rng)
    shown = process(density, grid, pose)
    shown = _collimate(_mark(shown, grid, noise_rng), noise_rng)
    pixels, window = store(shown, noise_rng)
    return Film(pixels, window, grid.spacing, view, lungs.masks, ratio)


def plant_findings(
    chest: Chest, findings: Collection[str], rngs: list[np.random.Generator], noise_rng: np.random.Generator
) -> plant.Lungs:
    """Fill the lungs with gas, vessels and grain, then plant what is asked for."""
    grain = plant.cloud(noise_rng, chest.grid.shape, 9) * 0.018 + plant.cloud(noise_rng, chest.grid.shape, 40) * 0.015
    gas = plant.LUNG_GAS * np.maximum(chest.air * (1 + grain) - tubes.vessels(chest), 0)
    masks = {"cardiomegaly": chest.heart > 0} if "cardiomegaly" in findings else {}
    lungs = plant.Lungs(gas.astype(np.float32), np.zeros_like(gas), masks)
    steps = {"consolidation": plant.consolidate, "pneumothorax": plant.collapse}
    steps |= {"effusion": plant.pour, "nodule": plant.add_nodule}
    for rng, (name, step) in zip(rngs, steps.items(), strict=True):
        if name in findings:
            lungs = step(chest, lungs, rng)
    return lungs


def _stomach(chest: Chest, rng: np.random.Generator) -> Field:
    """Thickness of the gas in the stomach, under the left dome, mm; flat below when the patient stands."""
    size, across = rng.uniform(8, 26), rng.uniform(0.38, 0.55)
    build, grid = chest.build, chest.grid
    dome = chest.height + 0.05 * build.height
    y = dome + 9 + 0.8 * size
    bubble = ellipsoid(grid, (across * build.half_width, y), (1.5 * size, 0.95 * size, 22), 0.15)
    if chest.pose.view == "PA":
        bubble = bubble * ramp(y + 0.25 * size - grid.y, 1.2)
    return np.asarray(bubble * ramp(grid.y - chest.dome - 6, 3), dtype=np.float32)


def expose(path: Field, pose: Pose, rng: np.random.Generator) -> Field:
    """Optical density of an exposure: scatter added, quanta counted, the detector's blur applied.

    Args:
        path: attenuation along the beam, no unit.
        pose: the exposure.
        rng: the quanta.

    Returns:
        The attenuation that the detector sees, noisy, on the same grid.
    """
    primary = np.exp(-path)
    scatter = ndimage.gaussian_filter(np.minimum(primary[::8, ::8], 0.3), 5.5, mode="nearest", truncate=3)
    light = primary + pose.scatter * upscale(scatter, *path.shape)
    light = ndimage.gaussian_filter(light, pose.blur, truncate=3)
    quanta = rng.standard_normal(path.shape, dtype=np.float32) * np.sqrt(light / np.float32(pose.photons))
    light = light + ndimage.gaussian_filter(quanta, 0.45, truncate=3) * 1.5
    return np.asarray(-np.log(np.maximum(light, 2e-4)), dtype=np.float32)


def process(density: Field, grid: Grid, pose: Pose) -> Field:
    """Turn density into what is shown, 0 (black) to 1: local contrast raised, then the film's curve."""
    coarse = ndimage.gaussian_filter(density[::4, ::4], 18 / grid.spacing / 4, truncate=3)
    crisp = density + pose.contrast * (density - upscale(coarse, *density.shape))
    lungs, dense = np.quantile(crisp[::4, ::4][density[::4, ::4] > 0.55], (0.03, 0.985))
    low = lungs - 0.16 * (dense - lungs)
    share = (crisp - low) / (dense - low)
    toe = np.clip(share, 0, 1.2)
    shown = 1 - np.exp(-(toe ** np.float32(1.25 * pose.gamma)) * 1.9)
    return np.asarray(np.clip(shown / (1 - np.exp(-1.9)) * 0.93, 0, 1), dtype=np.float32)


@lru_cache(maxsize=8)
def _letter(text: str, height: int) -> np.ndarray:
    """(rows, columns) float32 in [0, 1]: a lead letter."""
    font = ImageFont.load_default(size=height)
    left, top, right, bottom = font.getbbox(text)
    canvas = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4))
    ImageDraw.Draw(canvas).text((2 - left, 2 - top), text, fill=255, font=font, stroke_width=1, stroke_fill=255)
    return np.asarray(canvas, dtype=np.float32) / 255


def _mark(shown: Field, grid: Grid, rng: np.random.Generator) -> Field:
    """Lay a lead letter into an upper corner: R on the patient's right, which is left on the film, or L."""
    text = "R" if rng.random() < 0.5 else "L"
    letter = _letter(text, int(rng.choice([20, 24, 28])))
    letter = ndimage.rotate(letter, float(rng.normal(0, 5)), order=1)
    rows, columns = letter.shape
    top = int(rng.uniform(0.03, 0.10) * grid.shape[0])
    inset = int(rng.uniform(0.03, 0.08) * grid.shape[1])
    left = inset if text == "R" else grid.shape[1] - inset - columns
    place = (slice(top, top + rows), slice(left, left + columns))
    shown[place] = np.maximum(shown[place], np.clip(letter, 0, 1) * 0.97)
    return shown


def _collimate(shown: Field, rng: np.random.Generator) -> Field:
    """Cover the borders that the collimator closed: nearly white as on a plate, or black as behind a shutter."""
    edges = np.where(rng.random(4) < 0.45, rng.uniform(2, 13, 4), 0).astype(int)
    black = rng.random() < 0.6
    cover = np.ones(shown.shape, dtype=bool)
    rows, columns = shown.shape
    cover[edges[0] : rows - edges[1], edges[2] : columns - edges[3]] = False
    return np.where(cover, np.float32(0 if black else 0.95), shown)


def store(shown: Field, rng: np.random.Generator) -> tuple[np.ndarray, tuple[float, float]]:
    """Stored values of a film and the window in which they were meant to be seen; machines differ in both."""
    low, gain = int(rng.integers(0, 400)), int(rng.integers(2400, 3600))
    pixels = np.clip(np.rint(low + gain * shown), 0, TOP).astype(np.uint16)
    return pixels, (low + gain / 2 + 0.5, float(gain + 1))
