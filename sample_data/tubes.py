"""What is drawn by adding small pieces of matter up: ribs, clavicles, spine, shoulder blades, vessels, airways.

A tube is a cloud of points with a volume each; the film sums the volume over each pixel. That gives a rib its bright
borders and a lateral wall its density without any painting. Lengths in mm, maps in mm along the beam.
"""

import numpy as np
from scipy import ndimage

from sample_data.anatomy import WALL_CURVE, Chest, Field, Grid, ellipsoid, ramp

CORTEX = 1.25
"""Thickness of compact bone, mm."""
MARROW = 0.22
"""Share of compact bone in the inside of a rib."""


VESSEL = 2.0
"""How much denser than a bare tube a vessel is drawn: its walls and its company of airways and veins."""


Cloud = tuple[np.ndarray, np.ndarray, np.ndarray]
"""x in mm, y in mm and volume in mm^3 of some points, each (points,) float32."""


def _cloud(x: np.ndarray, y: np.ndarray, volume: np.ndarray) -> Cloud:
    """Flatten points of any shape; `volume` is spread over the shape of `x`."""
    flat = (x, y, np.broadcast_to(volume, x.shape))
    a, b, c = (values.ravel().astype(np.float32) for values in flat)
    return a, b, c


def _join(clouds: list[Cloud]) -> Cloud:
    a, b, c = (np.concatenate([cloud[k] for cloud in clouds]) for k in range(3))
    return a, b, c


def splat(grid: Grid, cloud: Cloud) -> Field:
    """Sum the volume of points over the pixels, shared by the nearest four; gives mm along the beam."""
    x, y, volume = cloud
    rows, columns = grid.shape
    row = (y - grid.y[0, 0]) / np.float32(grid.spacing)
    nearest = np.clip(row, 0, rows - 1).astype(np.intp)
    column = (x - grid.x[nearest, 0]) / np.float32(grid.spacing)
    inside = (row >= 0) & (row < rows - 1) & (column >= 0) & (column < columns - 1)
    row, column = row[inside], column[inside]
    weight = volume[inside]
    top, left = row.astype(np.int32), column.astype(np.int32)
    down, across = row - top, column - left
    start = (top * columns + left).astype(np.intp)
    upper, lower = weight * (1 - down), weight * down
    total = np.zeros(rows * columns + columns + 1)
    for step, share in ((0, upper * (1 - across)), (1, upper * across)):
        total[step : step + rows * columns] += np.bincount(start, share, rows * columns)
    for step, share in ((columns, lower * (1 - across)), (columns + 1, lower * across)):
        total[step : step + rows * columns] += np.bincount(start, share, rows * columns)
    return (total[: rows * columns].reshape(rows, columns) / grid.spacing**2).astype(np.float32)


def _tube(
    path: np.ndarray, step: np.ndarray, up: np.ndarray, out: np.ndarray, radius: tuple[float, float], around: int
) -> Cloud:
    """Points of a bony tube: its cortex and a little of its inside.

    Args:
        path: (..., steps, 2) centre line, x and y.
        step: (..., steps) length along the tube of each step, mm.
        up: (..., steps, 2) the higher half-axis of the cross-section, projected, of length up to 1.
        out: (..., steps, 2) the flatter half-axis of the cross-section, projected, of length up to 1.
        radius: half-axes along `up` and `out`, mm.
        around: points around the cross-section.
    """
    number = np.arange(step.size).reshape(*step.shape, 1)
    turn, sunk = number * 0.618034 % 1, number * 0.754878 % 1  # spread evenly, so that no stripes appear
    angle = ((np.arange(around) + turn) * (2 * np.pi / around)).astype(np.float32)  # (..., steps, around)
    cosine, sine = radius[0] * np.cos(angle), radius[1] * np.sin(angle)
    ring = np.hypot(radius[0] * np.sin(angle), radius[1] * np.cos(angle)) * (2 * np.pi / around * CORTEX)
    filling = np.full_like(ring, np.pi * radius[0] * radius[1] * MARROW / around)
    shrink = np.stack([np.ones_like(ring), 0.9 * np.sqrt(sunk) * np.ones_like(ring)], axis=-1).astype(np.float32)
    volume = step[..., None, None] * np.stack([ring, filling], axis=-1)
    x, y = (
        path[..., k, None, None] + shrink * (up[..., k, None] * cosine + out[..., k, None] * sine)[..., None]
        for k in range(2)
    )
    return _cloud(x, y, volume)


def bones(chest: Chest) -> Field:
    """Thickness of compact bone, mm."""
    loose = _join([_ribs(chest), _clavicles(chest), _shoulders(chest)])
    return np.asarray(
        ndimage.gaussian_filter(splat(chest.grid, loose), 0.85, truncate=3) + _spine(chest), dtype=np.float32
    )


def _ribs(chest: Chest) -> Cloud:
    """Both rib cages: each rib a ring that falls from the spine to the front."""
    build, pose = chest.build, chest.pose
    rng = np.random.default_rng(build.seed + 1)
    number = np.arange(11)
    gap = (0.094 + rng.uniform(-0.003, 0.004)) * build.height * (0.35 + 0.65 * pose.inspiration)
    start = -4 + gap * number * (0.90 + 0.02 * number) + rng.normal(0, 1.0, (2, 11))
    drop = build.rib_drop * (0.34 + 0.66 * np.sin(0.5 * np.pi * np.clip(number / 6, 0, 1))) * pose.inspiration
    drop = drop + rng.normal(0, 3, (2, 11))
    if pose.view == "AP":
        drop = drop * 0.82
    end = np.clip(np.pi * (0.80 - 0.022 * np.maximum(number - 5, 0)), 0.55 * np.pi, None)
    t = np.linspace(0.02, 1, 280) * end[:, None]  # (ribs, steps)
    t = np.broadcast_to(t, (2, 11, 280))
    lift = 5 * np.sin(np.clip(2.2 * t, 0, np.pi))
    y = start[..., None] + drop[..., None] * (1 - np.cos(t)) / 2 - lift
    wall = _wall_at(chest, y)
    sign = np.array([-1.0, 1.0])[:, None, None]
    sine, cosine = np.sin(t), np.cos(t)
    twist = build.half_depth * pose.rotation * -cosine
    x = sign * (16 + (wall - 13.5) * sine) + twist
    z = -build.half_depth * cosine
    dx, dy, dz = (np.gradient(values, axis=-1) for values in (x, y, z))
    step = np.sqrt(dx * dx + dy * dy + dz * dz)
    flat, fall = dx / step, dy / step
    norm = np.sqrt(np.maximum(1 - fall * fall, 0.05))
    up = np.stack([-flat * fall / norm, norm], axis=-1)
    out = np.stack([sign * sine, np.zeros_like(sine)], axis=-1)
    size = rng.uniform(6.2, 7.6)
    path = np.stack([x, y], axis=-1).astype(np.float32)
    return _tube(path, step, up, out, (size, 3.4), 12)


def _wall_at(chest: Chest, y: np.ndarray) -> np.ndarray:
    """Inner half-width of the thorax at any y, the narrow apex included, mm."""
    straight = np.interp(y, chest.grid.y[:, 0], chest.wall[:, 0])
    arch = chest.build.apex + np.sqrt(np.maximum(y + 6, 0) / WALL_CURVE)
    return np.asarray(np.minimum(straight, np.maximum(arch, 38.0)), dtype=np.float32)


def _clavicles(chest: Chest) -> Cloud:
    """Both collar bones; rotation moves one medial end to the spine and the other away."""
    build, pose = chest.build, chest.pose
    rng = np.random.default_rng(build.seed + 2)
    high = rng.uniform(2, 16) + (-16 if pose.view == "AP" else 0)
    t = np.linspace(0, 1, 260)
    clouds = []
    for sign in (-1, 1):
        reach = 1.24 * build.half_width
        x = sign * (13 + (reach - 13) * t) + 0.9 * build.half_depth * pose.rotation * (1 - t)
        bend = 6.5 * np.sin(2 * np.pi * t) - (30 + 10 * rng.random()) * t**0.8
        y = 26 + high + bend + rng.normal(0, 1.5)
        dx, dy = np.gradient(x), np.gradient(y)
        step = np.hypot(dx, dy)
        up = np.stack([-dy, dx], axis=-1) / step[:, None]
        taper = (1.25 - 0.55 * np.sin(np.pi * np.clip(t * 1.1, 0, 1)))[:, None]
        clouds.append(_tube(np.stack([x, y], axis=-1), step, up * taper, up * 0, (6.0, 5.2), 16))
    return _join(clouds)


def _spine(chest: Chest) -> Field:
    """Compact bone of the vertebral column, mm: bodies and discs, pedicles, spinous processes."""
    build, pose, grid = chest.build, chest.pose, chest.grid
    rng = np.random.default_rng(build.seed + 3)
    period = 0.098 * build.height
    near = np.abs(grid.x[0]) < 60
    x, y = grid.x[:, near] - np.float32(0), grid.y
    phase = (y / period + rng.random()) % 1
    half = 15.5 + 3.5 * ramp(y - 60, 160) + 2.4 * np.cos(2 * np.pi * phase)
    body = ramp(half - np.abs(x), 2.2)
    disc = 1 - 0.55 * ramp(0.12 - np.minimum(phase, 1 - phase), 0.05)
    plate = 1 + 0.5 * np.exp(-(((np.minimum(phase, 1 - phase) - 0.17) / 0.035) ** 2))
    rim = 1 + 0.3 * np.exp(-(((half - np.abs(x) - 1.6) / 1.5) ** 2))
    bone = 2.9 * body * disc * plate * rim
    tilt = 26 * pose.rotation
    for sign in (-1, 1):
        ring = np.sqrt(((x - sign * 10.5 - tilt) / 3.6) ** 2 + ((phase - 0.42) * period / 4.6) ** 2)
        bone = bone + 3.2 * np.exp(-(((ring - 1) / 0.3) ** 2))
    process = np.sqrt(((x - 1.8 * tilt) / 2.6) ** 2 + ((phase - 0.72) * period / 5.2) ** 2)
    bone = bone + 4.0 * ramp(1 - process, 0.25)
    out = np.zeros(grid.shape, np.float32)
    out[:, near] = bone
    return out


def _shoulders(chest: Chest) -> Cloud:
    """Shoulder blades and upper arms; an AP film has them over the lung."""
    build = chest.build
    rng = np.random.default_rng(build.seed + 4)
    inward = rng.uniform(0.76, 0.84) if chest.pose.view == "AP" else rng.uniform(0.90, 1.06)
    t = np.linspace(0, 1, 220)
    clouds = []
    for sign in (-1, 1):
        near = inward * build.half_width
        far = near + 46
        tip = 0.52 * build.height + rng.uniform(-8, 8)
        medial = np.stack([sign * (near + 6 * np.sin(np.pi * t) + 10 * t), 22 + (tip - 22) * t], axis=-1)
        lateral = np.stack([sign * (far - (far - near - 12) * t**1.3), 34 + (tip - 34) * t], axis=-1)
        clouds += [_ridge(path) for path in (medial, lateral)]
        u = rng.random((2, 5000))
        left, right = np.interp(u[0], t, medial[:, 0]), np.interp(u[0], t, lateral[:, 0])
        clouds.append(_cloud(left + (right - left) * u[1], 24 + (tip - 24) * u[0], np.array(0.9)))
        angle, radius = 2 * np.pi * u[0], 23 * np.sqrt(1 - (1 - u[1]) ** 2)
        head = sign * (far + 20) + radius * np.cos(angle), 16 + radius * np.sin(angle)
        clouds.append(_cloud(*head, np.array(2.0)))
        shaft = np.stack([sign * (far + 26 + 8 * t), 20 + 160 * t], axis=-1)
        sideways = np.stack([np.ones_like(t), 0 * t], axis=-1)
        clouds.append(_tube(shaft, np.full(len(t), 160 / len(t)), sideways, sideways * 0, (11.0, 11.0), 24))
    return _join(clouds)


def _ridge(path: np.ndarray) -> Cloud:
    """The thickened border of a shoulder blade along (steps, 2) points."""
    dx, dy = np.gradient(path[:, 0]), np.gradient(path[:, 1])
    step = np.hypot(dx, dy)
    up = np.stack([-dy, dx], axis=-1) / step[:, None]
    return _tube(path, 0.8 * step, up, up * 0, (2.4, 2.4), 8)


def vessels(chest: Chest) -> Field:
    """Thickness of the hila and of the pulmonary vessels, mm, cut to the lung."""
    build = chest.build
    rng = np.random.default_rng(build.seed + 5)
    cloud = _join([_branches(chest, rng, sign) for sign in (-1, 1)])
    tree = ndimage.gaussian_filter(splat(chest.grid, cloud), 0.9, truncate=3)
    shift, height = 30 * chest.pose.rotation, chest.height
    for at_x, at_y, tilt in ((-36, 0.50, -0.35), (38, 0.455, 0.45)):
        centre = (at_x + shift + rng.normal(0, 2), at_y * height + rng.normal(0, 3))
        tree += ellipsoid(
            chest.grid, centre, (13 + 3 * rng.random(), 23 + 4 * rng.random(), 8 + 4 * rng.random()), tilt
        )
    lung = np.minimum(chest.air / 40, 1)
    return np.asarray(np.minimum(tree, 30) * lung, dtype=np.float32)


def _branches(chest: Chest, rng: np.random.Generator, sign: int) -> Cloud:
    """Points of the vessel tree of one lung, from its hilum."""
    level = chest.height * (0.50 if sign < 0 else 0.46)
    fan = np.array([-1.25, -0.85, -0.35, 0.1, 0.45, 0.8, 1.1, 1.35]) + rng.normal(0, 0.08, 8)
    x = sign * (np.array([27, 30, 31, 30, 32, 32, 30, 26]) + 3 * rng.random()) + 30 * chest.pose.rotation
    y = level + 17 * fan + rng.normal(0, 2, 8)
    radius = np.array([3.2, 3.4, 3.0, 3.2, 4.0, 4.8, 5.0, 4.2]) * rng.uniform(0.85, 1.1)
    length = np.full(8, 0.115 * chest.build.height) * rng.uniform(0.8, 1.2, 8)
    return grow(rng, x, y, fan, radius, length, sign)


def grow(
    rng: np.random.Generator,
    x: np.ndarray,
    y: np.ndarray,
    fan: np.ndarray,
    radius: np.ndarray,
    length: np.ndarray,
    sign: int,
) -> Cloud:
    """Points of a tree of vessels that splits in two, six times.

    Args:
        rng: decides how.
        x: (roots,) where each root starts, mm; `y` likewise.
        y: see `x`.
        fan: (roots,) direction below the horizontal, radians.
        radius: (roots,) mm.
        length: (roots,) of the first piece, mm.
        sign: 1 to grow to the right of the film, -1 to the left.
    """
    points: list[Cloud] = []
    for generation in range(7):
        points.append(_twigs(rng, x, y, fan, radius, length, sign))
        x = x + sign * np.cos(fan) * length
        y = y + np.sin(fan) * length
        spread = rng.uniform(0.12, 0.5, (2, len(fan))) * np.array([[-1], [1]])
        fan = (fan[None] + spread + 0.02 * generation).ravel()
        radius = (radius[None] * rng.uniform(0.64, 0.88, (2, len(radius)))).ravel()
        length = (length[None] * rng.uniform(0.68, 1.0, (2, len(length)))).ravel()
        x, y = np.tile(x, 2), np.tile(y, 2)
    return _join(points)


def _twigs(
    rng: np.random.Generator,
    x: np.ndarray,
    y: np.ndarray,
    fan: np.ndarray,
    radius: np.ndarray,
    length: np.ndarray,
    sign: int,
) -> Cloud:
    """Points of a set of straight vessels with a slight bow; the thick ones get points across their width."""
    wide = len(fan) < 100
    along = np.linspace(0, 1, 28 if wide else 18)
    across = rng.uniform(-1, 1, (len(fan), len(along), 6 if wide else 1)) * (1 if wide else 0.4)
    weight = np.sqrt(1 - across * across)
    weight = weight / weight.sum(axis=-1, keepdims=True)
    bow = rng.normal(0, 0.10, len(fan))[:, None] * length[:, None] * np.sin(np.pi * along)
    away = bow[..., None] + across * radius[:, None, None]
    ahead = (length[:, None] * along)[..., None]
    px = x[:, None, None] + sign * (np.cos(fan)[:, None, None] * ahead - np.sin(fan)[:, None, None] * away)
    py = y[:, None, None] + np.sin(fan)[:, None, None] * ahead + np.cos(fan)[:, None, None] * away
    volume = (VESSEL * np.pi * radius**2 * length / len(along))[:, None, None] * weight
    return _cloud(px, py, volume)


def airways(chest: Chest) -> Field:
    """Thickness of air, mm, in the windpipe and the main bronchi."""
    grid, shift = chest.grid, 25 * chest.pose.rotation
    carina = 0.34 * chest.height
    x, y = grid.x - np.float32(shift), grid.y
    lean = 3 * ramp(y - 0.5 * carina, 30)
    half = 8.3 + 5 * ramp(y - carina + 8, 10)
    inside = np.maximum(1 - ((x + lean) / half) ** 2, 0)
    windpipe = 15 * np.sqrt(inside) * ramp(carina - y - 0.35 * np.abs(x), 5)
    t = np.linspace(0, 1, 900)
    turn = np.pi * (np.arange(900) * 0.618034 % 1 - 0.5)
    across, weight = 5.6 * np.sin(turn), 2 * np.cos(turn) ** 2  # a round bore
    clouds = []
    for sign, angle, length in ((-1, 0.98, 42), (1, 0.72, 52)):
        px = sign * (4 + np.cos(angle) * length * t - np.sin(angle) * across) + shift - 2
        py = carina - 4 + np.sin(angle) * length * t + np.cos(angle) * across
        volume = 0.9 * np.pi * 5.6**2 * length / len(t) * weight
        clouds.append(_cloud(px, py, volume))
    return np.asarray(ndimage.gaussian_filter(windpipe + splat(grid, _join(clouds)), 1.0, truncate=3), dtype=np.float32)
