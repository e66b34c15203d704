"""How much burned-in text is found, by its size, contrast and polarity; and how often a film without text is masked.

python -m benchmarks.burned_in COHORT --films 20
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
from PIL import ImageDraw, ImageFont

from medmm.privacy.pixels import Box, find_text
from medmm.read.cohort import read_cohort
from medmm.read.dicom.study import read_study

SIDES = (1024, 2048)
"""Longest side in pixels to which a film is brought."""
HEIGHTS = (10, 14, 20, 32, 56)
"""Of the letters, in pixels."""
CONTRASTS = (0.15, 0.3, 0.6, 1.0)
"""Between letters and what is behind them, as a share of the film's range; 1 is white or black."""
WORDS = ("QUIGLEY BARTHOLOMEW", "12.03.1957", "MRN 4711093", "St. Elsewhere Hospital")
COVERED = 0.95
"""Share of a text's pixels that must be masked for it to count as found."""


def main(cohort: Path, films: int) -> None:
    """Print recall for every size and contrast, then what is found where nothing was added."""
    pictures = list(_films(cohort, films))
    rng = np.random.default_rng(0)
    for side, height in itertools.product(SIDES, HEIGHTS):
        shares = []
        for contrast in CONTRASTS:
            found = [_is_found(_resized(picture, side), height, contrast, rng) for picture in pictures]
            shares.append(f"{contrast:.2f}: {np.mean(found):.2f}")
        print(f"film of {side} px, letters of {height} px, found at contrast {'  '.join(shares)}", flush=True)
    for side in SIDES:
        started = time.perf_counter()
        boxes = [find_text(_rgb(_resized(picture, side))) for picture in pictures]
        seconds = (time.perf_counter() - started) / len(pictures)
        area = np.mean([_mask(picture.shape, found).mean() for picture, found in _scaled(pictures, boxes, side)])
        touched = np.mean([bool(found) for found in boxes])
        print(
            f"film of {side} px as it is: {touched:.2f} of films masked, {area:.4f} of pixels, {seconds:.1f} s a film"
        )


def _films(cohort: Path, count: int) -> Iterator[np.ndarray]:
    """Films, evenly spread over the cohort, as (rows, columns) in [0, 1]."""
    rows = [row for row in read_cohort(cohort).rows if row.study]
    for row in rows[:: max(1, len(rows) // count)][:count]:
        assert row.study is not None
        image = read_study(row.study, row.case_id).images[0].pixels
        yield image if image.ndim == 2 else image.mean(axis=2)


def _resized(picture: np.ndarray, side: int) -> np.ndarray:
    scale = side / max(picture.shape)
    size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    return np.asarray(PIL.Image.fromarray(picture.astype(np.float32)).resize(size, PIL.Image.Resampling.BICUBIC)).clip(
        0, 1
    )


def _is_found(picture: np.ndarray, height: int, contrast: float, rng: np.random.Generator) -> bool:
    """Burn one text in near an edge, light or dark by turns, and see whether it is masked."""
    word, font = str(rng.choice(WORDS)), ImageFont.load_default(round(height * 1.35))
    layer = PIL.Image.new("L", picture.shape[::-1])
    width = round(ImageDraw.Draw(layer).textlength(word, font))
    left = int(rng.integers(4, max(5, picture.shape[1] - width - 4)))
    top = (
        int(rng.integers(4, picture.shape[0] // 6))
        if rng.random() < 0.5
        else picture.shape[0] - int(rng.integers(2, 4) * height)
    )
    ImageDraw.Draw(layer).text((left, top), word, fill=255, font=font)
    ink = np.asarray(layer) / 255
    behind = float(picture[ink > 0.5].mean())
    colour = behind + contrast if behind < 0.5 else behind - contrast
    burned = picture * (1 - ink) + np.clip(colour, 0, 1) * ink
    mask = _mask(picture.shape, find_text(_rgb(burned)))
    return bool(mask[ink > 0.5].mean() >= COVERED)


def _rgb(picture: np.ndarray) -> np.ndarray:
    return np.repeat((picture * 255).astype(np.uint8)[..., None], 3, axis=2)


def _mask(shape: tuple[int, ...], boxes: list[Box]) -> np.ndarray:
    mask = np.zeros(shape[:2], dtype=bool)
    for box in boxes:
        mask[box.top : box.bottom, box.left : box.right] = True
    return mask


def _scaled(pictures: list[np.ndarray], boxes: list[list[Box]], side: int) -> Iterator[tuple[np.ndarray, list[Box]]]:
    for picture, found in zip(pictures, boxes, strict=True):
        yield _resized(picture, side), found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--films", type=int, default=20)
    arguments = parser.parse_args()
    main(arguments.cohort, arguments.films)
