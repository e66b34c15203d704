"""The patient before the film: who is pictured (Build), how (Pose), on which grid, and the shape of the chest.

Lengths are millimetres. x runs to the patient's left, which is the right side of the film, and is 0 in the midline;
y runs down and is 0 at the lung apices. Every map of a chest is (rows, columns) float32 and holds a thickness along
the beam. Nothing here is measured from patients: the numbers are drawn from ranges that look like adults.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

Field = np.ndarray
"""(rows, columns) float32 on a film's grid."""

WALL_CURVE = 0.0115
"""Curvature, 1/mm, of the outer border of the lung below its apex."""


@dataclass(frozen=True, slots=True)
class Build:
    """A body: the same in every study of one patient."""

    female: bool
    half_width: float
    """Widest inner half-width of the thorax, mm."""
    half_depth: float
    """Widest inner half-depth of the thorax, mm."""
    height: float
    """From the apices to the right dome of the diaphragm at full inspiration, mm."""
    fat: float
    """Soft tissue outside the ribs, mm."""
    breast: float
    """Depth of the breasts, mm; 0 for none."""
    shape: float
    """How much narrower the thorax is at the top than at its widest, as a share of the half-width."""
    apex: float
    """Distance of the apices from the midline, mm."""
    rib_drop: float
    """How far the front of a middle rib lies below its back, mm."""
    knob: float
    """Radius of the aortic knob, mm."""
    heart_ratio: float
    """Cardiothoracic ratio of the heart as it is when it is not enlarged."""
    heart_tilt: float
    """Angle of the long axis of the heart below the horizontal, radians."""
    curve: float
    """Sideways bow of the spine, mm."""
    seed: int
    """Decides ribs and vessels."""


@dataclass(frozen=True, slots=True)
class Pose:
    """How one film was taken."""

    view: str
    """PA, AP or LL: DICOM (0018,5101)."""
    inspiration: float
    """Share of the height reached, about 0.85 to 1."""
    rotation: float
    """Shift of front against back in mm for each mm of depth: the sine of the patient's rotation."""
    lean: float
    """Sideways lean: mm of x for each mm of y."""
    offset: float
    """Distance of the midline from the middle of the film, mm."""
    margin: float
    """Film above the apices, mm."""
    photons: float
    """Mean count of quanta in a pixel of the open beam."""
    blur: float
    """Standard deviation of the detector's point spread, pixels."""
    scatter: float
    """Scattered share added to the primary beam."""
    contrast: float
    """Strength of the detail enhancement of the film's processing, 0 for none."""
    gamma: float
    """Bend of the display curve; 1 is straight."""


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Where the pixels of a film are in the patient."""

    x: Field
    """(rows, columns), mm to the patient's left of the midline."""
    y: Field
    """(rows, 1), mm below the apices."""
    spacing: float
    """Distance between neighbouring pixels, mm."""

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.x.shape[0], self.x.shape[1]


@dataclass(frozen=True, slots=True, eq=False)
class Chest:
    """The shape of one chest on one film."""

    build: Build
    pose: Pose
    grid: Grid
    height: float
    """From the apices to the right dome in this breath, mm."""
    wall: Field
    """(rows, 1), inner half-width of the thorax, mm."""
    dome: Field
    """y of the diaphragm, mm."""
    cavity: Field
    """Thickness of the thorax inside the ribs and above the diaphragm, mm, whatever fills it."""
    depth: Field
    """Distance inside the outer and upper border of the lung, mm; negative outside."""
    heart: Field
    """Thickness of the heart, mm."""
    middle: Field
    """Share of the cavity, 0 to 1, that the great vessels and the spine leave to the lung."""
    air: Field
    """Thickness of lung, mm."""


def draw_build(rng: np.random.Generator, female: bool | None = None) -> Build:
    """Draw a body; `female` None draws the sex as well."""
    female = bool(rng.random() < 0.5) if female is None else female
    small = 0.92 if female else 1.0
    return Build(
        female=female,
        half_width=float(np.clip(rng.normal(142, 8), 124, 160) * small),
        half_depth=float(np.clip(rng.normal(96, 9), 76, 118) * small),
        height=float(np.clip(rng.normal(232, 16), 195, 268) * small),
        fat=float(np.clip(rng.lognormal(np.log(24), 0.35), 12, 55)),
        breast=float(rng.uniform(12, 38)) if female else 0.0,
        shape=float(rng.uniform(0.06, 0.22)),
        apex=float(rng.uniform(40, 52)),
        rib_drop=float(rng.normal(88, 9)),
        knob=float(rng.uniform(14, 21)),
        heart_ratio=float(rng.uniform(0.40, 0.485)),
        heart_tilt=float(rng.uniform(0.35, 0.8)),
        curve=float(rng.normal(0, 3.5)),
        seed=int(rng.integers(2**31)),
    )


def draw_pose(rng: np.random.Generator, view: str) -> Pose:
    """Draw how a film is taken; an AP film is taken in bed: a smaller breath, more rotation, less contrast."""
    bed = view == "AP"
    return Pose(
        view=view,
        inspiration=float(np.clip(rng.normal(0.86 if bed else 0.97, 0.035), 0.78, 1.03)),
        rotation=float(np.clip(rng.normal(0, 0.07 if bed else 0.035), -0.14, 0.14)),
        lean=float(rng.normal(0, 0.02 if bed else 0.01)),
        offset=float(rng.normal(0, 6)),
        margin=float(rng.uniform(22, 48)),
        photons=float(np.exp(rng.uniform(np.log(9e3), np.log(6e4))) * (0.6 if bed else 1)),
        blur=float(rng.uniform(0.45, 0.95)),
        scatter=float(rng.uniform(0.28, 0.5) * (1.3 if bed else 1)),
        contrast=float(rng.uniform(0.1, 0.55)),
        gamma=float(rng.uniform(0.85, 1.25)),
    )


def draw_grid(rng: np.random.Generator, build: Build, pose: Pose) -> Grid:
    """Choose how much of the patient the film shows, and in how many pixels: 480 to 640 on the longer side."""
    tall = build.height * pose.inspiration + rng.uniform(62, 92) + pose.margin
    wide = 2 * build.half_width + rng.uniform(34, 84)
    rows = int(rng.integers(480, 641))
    spacing = max(tall, wide) / rows
    rows, columns = (round(side / spacing / 2) * 2 for side in (tall, wide))
    y = (np.arange(rows, dtype=np.float32)[:, None] + 0.5) * np.float32(spacing) - np.float32(pose.margin)
    bow = build.curve * np.sin(np.pi * y / build.height) + pose.lean * (y - 120) + pose.offset
    x = (np.arange(columns, dtype=np.float32)[None, :] - (columns - 1) / 2) * np.float32(spacing) - bow
    return Grid(x.astype(np.float32), y, float(spacing))


def ellipsoid(grid: Grid, centre: tuple[float, float], half: tuple[float, float, float], tilt: float = 0.0) -> Field:
    """Thickness along the beam of an ellipsoid with half-axes `half` (x, y, depth), turned clockwise by `tilt`."""
    across, down = grid.x - np.float32(centre[0]), grid.y - np.float32(centre[1])
    cosine, sine = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    long, short = (across * cosine + down * sine) / half[0], (down * cosine - across * sine) / half[1]
    inside = 1 - long * long - short * short
    return (2 * half[2] * np.sqrt(np.maximum(inside, 0))).astype(np.float32)


def ramp(values: Field, width: float) -> Field:
    """0 below -width, 1 above width, smooth between."""
    share = np.clip(values * np.float32(0.5 / width) + np.float32(0.5), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), dtype=np.float32)


def make_chest(build: Build, pose: Pose, grid: Grid, heart_ratio: float) -> Chest:
    """Shape the chest around a heart of the given cardiothoracic ratio."""
    height = build.height * pose.inspiration
    wall = _wall(build, height, grid.y)
    side = np.abs(grid.x)
    above = side - np.float32(build.apex)
    curve = np.where(above > 0, np.float32(WALL_CURVE), np.float32(0.02))
    apex = curve * above * above
    slope = 2 * curve * above
    depth = _soft_minimum(wall - side, (grid.y - apex) / np.sqrt(1 + slope * slope), 16.0)
    dome = _dome(build, pose, grid, height)
    cavity = _cavity(build, grid, wall, depth, dome)
    heart = make_heart(build, pose, grid, dome, heart_ratio)
    middle = _middle(build, pose, grid, height)
    air = np.maximum(cavity - heart, 0) * middle
    return Chest(build, pose, grid, height, wall, dome, cavity, depth, heart, middle, air)


def _soft_minimum(a: Field, b: Field, width: float) -> Field:
    """The smaller of two, rounded where they are closer than `width`."""
    near = np.maximum(width - np.abs(a - b), 0)
    return np.asarray(np.minimum(a, b) - near * near / (4 * width), dtype=np.float32)


def _wall(build: Build, height: float, y: Field) -> Field:
    """Inner half-width of the thorax at each y, mm."""
    down = np.clip(y / (0.8 * height), 0, 1.25)
    narrow = build.shape * (1 - np.sin(0.5 * np.pi * np.minimum(down, 1))) + 0.05 * np.maximum(down - 1, 0)
    return (build.half_width * (1 - narrow)).astype(np.float32)


def _dome(build: Build, pose: Pose, grid: Grid, height: float) -> Field:
    """Level of the diaphragm: a dome on each side that falls to a sharp angle at the wall; the right one is higher."""
    top = height + 0.05 * build.height * ramp(grid.x, 26)
    fall = 0.17 * build.height * (1.15 if pose.inspiration > 0.9 else 0.8)
    middle = np.float32(0.44 * build.half_width)
    outward = (np.abs(grid.x) - middle) / np.float32(build.half_width - middle)
    inward = -outward * np.float32((build.half_width - middle) / middle)
    outside = np.maximum(outward, 0)
    lateral = outside * outside * (0.45 + 0.55 * outside)
    medial = np.maximum(inward, 0) ** 2 * np.float32(0.28)
    return np.asarray(top + fall * (lateral + medial), dtype=np.float32)


def _cavity(build: Build, grid: Grid, wall: Field, depth: Field, dome: Field) -> Field:
    """Thickness of the thorax inside the ribs: round to the sides and the top, cut by the diaphragm below."""
    across = grid.x / wall
    deep = build.half_depth * (0.62 + 0.38 * np.sin(0.5 * np.pi * np.clip(grid.y / 130, 0, 1)))
    round_side = np.sqrt(np.maximum(1 - across * across, 0))
    q = np.clip(depth / 34, 0, 1)
    round_top = np.sqrt(q * (2 - q))
    over = dome - grid.y
    above = ramp(over, 1.2) * (0.62 + 0.38 * np.clip(over / 45, 0, 1))
    recess = 0.16 * np.clip(1 + over / 42, 0, 1)  # the lung behind the dome
    share = np.maximum(above, recess)
    return np.asarray(2 * deep * round_side * round_top * share, dtype=np.float32)


def make_heart(build: Build, pose: Pose, grid: Grid, dome: Field, ratio: float) -> Field:
    """Thickness of a heart whose silhouette is `ratio` times the inner width of the thorax, mm."""
    width = 2 * build.half_width * ratio
    left, right = 0.665 * width, 0.335 * width
    low = float(np.median(dome[0, np.abs(grid.x[0]) < 0.35 * build.half_width]))
    cosine, sine = np.cos(build.heart_tilt), np.sin(build.heart_tilt)
    reach = 0.495 * width
    scale = reach / float(np.hypot(0.57 * cosine, 0.40 * sine))
    half = (0.57 * scale, 0.40 * scale)
    sink = float(np.hypot(half[0] * sine, half[1] * cosine))
    shift = 40 * pose.rotation
    deep = 0.40 * width
    ventricles = ellipsoid(grid, (left - reach + shift, low - 0.72 * sink), (*half, deep), build.heart_tilt)
    atrium_half = (0.36 * width, 0.40 * width, 0.8 * deep)
    atrium = ellipsoid(grid, (atrium_half[0] - right + shift, low - 0.80 * sink), atrium_half, -0.12)
    return np.asarray(
        np.minimum(np.maximum(ventricles, atrium) * 1.35, 2.2 * deep) * ramp(dome + 14 - grid.y, 10), dtype=np.float32
    )


def _middle(build: Build, pose: Pose, grid: Grid, height: float) -> Field:
    """Share of the cavity that the great vessels, the aorta and the spine leave to the lung."""
    shift = 30 * pose.rotation
    x, y = grid.x - shift, grid.y / np.float32(height)
    knob = build.knob * np.maximum(1 - ((y - 0.285) / 0.085) ** 2, 0) ** 0.75
    trunk = 9 * np.exp(-(((y - 0.43) / 0.075) ** 2))
    left = 14 + 6 * ramp(y - 0.14, 0.16) + np.maximum(knob, trunk)
    right = 15 + 10 * ramp(y - 0.15, 0.15)
    vessels = _rounded(left - x, 17) * _rounded(x + right, 17) * (0.50 - 0.32 * ramp(y - 0.62, 0.12))
    wide = (17 + 5 * ramp(y - 0.5, 0.4)) * (0.5 + 0.5 * ramp(y - 0.05, 0.1))
    column = 0.16 * ramp(wide - np.abs(grid.x), 10)
    aorta_edge = 25 - 15 * ramp(y - 0.68, 0.45) + 0.4 * build.curve
    aorta = 0.14 * ramp(aorta_edge - x, 1.5) * ramp(x + 4, 8) * ramp(y - 0.31, 0.06)
    return np.asarray(1 - np.minimum(vessels + column + aorta, 0.95), dtype=np.float32)


def _rounded(inside: Field, radius: float) -> Field:
    """0 to 1 over the first `radius` mm inside an edge, as the thickness of something round rises."""
    q = np.clip(inside * np.float32(1 / radius), 0, 1)
    return np.asarray(np.sqrt(q * (2 - q)), dtype=np.float32)


def soft_tissue(chest: Chest) -> Field:
    """Thickness of the whole body along the beam, mm, air included; 0 beside the patient. Smooth by nature."""
    step = 6
    x, y = chest.grid.x[::step, ::step], chest.grid.y[::step]
    build = chest.build
    half = chest.wall[::step] + np.float32(13 + 0.75 * build.fat)
    depth = 2 * build.half_depth + 0.9 * build.fat + 24
    belly = 1 + 0.10 * ramp(y - chest.height, 60)
    trunk = depth * belly * np.maximum(1 - (x / half) ** 2, 0) ** np.float32(0.42)
    neck_half = 60 + 0.5 * build.fat
    shoulder = np.float32(0.66 * build.half_width) + np.maximum(y + 40, 0) * 2.4
    armpit = half + 6 + np.maximum(0.36 * chest.height - y, 0) * 1.9
    reach = np.minimum(np.maximum(shoulder, neck_half), armpit)
    upper = 0.60 * depth * np.maximum(1 - (x / reach) ** 2, 0) ** np.float32(0.45)
    upper = upper * ramp(np.float32(0.62 * chest.height) - y, 0.3 * chest.height)
    body = np.maximum(trunk * ramp(y + 12, 45), upper)
    body = ndimage.gaussian_filter(body, 1.1)
    rows, columns = chest.grid.shape
    return upscale(body, rows, columns) + _breasts(chest)


def _breasts(chest: Chest) -> Field | float:
    """Thickness of the breasts, mm: fading upward, with a round lower border."""
    build = chest.build
    if not build.breast:
        return 0.0
    rng = np.random.default_rng(build.seed)
    half = (0.46 * build.half_width, 0.40 * build.half_width)
    level = (0.62 + rng.uniform(-0.05, 0.10)) * build.height
    total = np.zeros(chest.grid.shape, np.float32)
    for sign in (-1, 1):
        centre = (sign * (0.56 + rng.uniform(-0.03, 0.05)) * build.half_width, level + rng.uniform(-5, 5))
        total += ellipsoid(chest.grid, centre, (*half, build.breast / 2))
    return total


def upscale(coarse: Field, rows: int, columns: int) -> Field:
    """Bring a coarse map to (rows, columns), linearly."""
    at_row = np.linspace(0, coarse.shape[0] - 1, rows, dtype=np.float32)
    at_column = np.linspace(0, coarse.shape[1] - 1, columns, dtype=np.float32)
    return _lerp(_lerp(coarse.T, at_column).T, at_row)


def _lerp(values: Field, at: Field) -> Field:
    """Rows of `values` at fractional positions."""
    low = np.minimum(at.astype(np.intp), values.shape[0] - 2)
    share = (at - low)[:, None].astype(np.float32)
    return np.asarray(values[low] * (1 - share) + values[low + 1] * share, dtype=np.float32)
