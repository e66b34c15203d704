"""The benchmark of strange cases: what it makes strange, what it counts, and a whole run on the sample cohort."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from benchmarks.likeness import CHANGES, OWN, Asked, changed, laterals, line_of, main
from medmm.case import Case, Image, Study
from medmm.model.likeness import Likeness
from tests.cohorts import Run
from tests.models import random_case


def _image(view: str = "PA") -> Image:
    pixels = np.random.default_rng(0).random((6, 4)).astype(np.float32)
    return Image(pixels, "0" * 64, modality="DX", view=view)


def test_every_change_gives_other_pixels_that_are_an_image() -> None:
    case = Case("c1", "p1", study=Study((_image(),)))
    for change in CHANGES.values():
        strange = changed(case, change, np.random.default_rng(1))
        assert strange.study is not None
        pixels = strange.study.images[0].pixels
        assert 0 <= pixels.min() <= pixels.max() <= 1
        assert not np.array_equal(pixels, _image().pixels)


def test_lateral_films_are_those_whose_view_says_so() -> None:
    alone = laterals(Study((_image("PA"), _image("LL"))))
    assert alone is not None
    assert [image.view for image in alone.images] == ["LL"]
    assert laterals(Study((_image("PA"), _image("")))) is None


def test_a_case_with_a_doubt_of_its_pixels_alone_counts_as_doubted() -> None:
    likeness = Likeness.fit([], [])
    line = line_of("kind", [Asked(random_case(1)), Asked(random_case(2), ("empty",))], likeness)
    assert (line.doubted, line.checks["pixels and text"]) == (0.5, 0.5)


def test_a_run_is_asked_with_strange_pictures_and_with_those_of_another_cohort(
    run: Run, sample: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    asked = [str(run.out), str(sample), "--out", str(out), "--most", "3"]
    assert main([*asked, "--strange", f"same={sample}"]) in (0, 1)
    lines = {line["kind"]: line for line in json.loads((out / "likeness.json").read_text("utf-8"))["lines"]}
    assert {OWN, "picture of same", *CHANGES} <= set(lines)
    assert lines["inverted polarity"]["checks"]["pixels and text"] == 1
    assert "| noise | " in (out / "likeness.md").read_text("utf-8")
