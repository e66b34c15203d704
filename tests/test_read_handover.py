"""Large answers of a child come whole, are let go once they were taken, and are asked for again if they were lost."""

from __future__ import annotations

import os
import pickle
import signal
from pathlib import Path

import numpy as np
import pytest

from medmm.errors import DataError
from medmm.read import handover
from medmm.read.handover import Parcel
from medmm.read.pool import in_children

LARGE = 300_000


def arrays(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "pixels": rng.random((LARGE // 8, 2)).astype(np.float32),
        "voxels": rng.integers(9, size=LARGE, dtype=np.int16),
    }


def lose_the_next(seed: int) -> dict[str, np.ndarray] | str:
    """Asked for 0: the memory of the next answer will be gone before the parent opens it, as if the child had died."""
    if seed:
        return arrays(seed)
    give = Parcel.give

    def lose(answer: object) -> Parcel:
        setattr(Parcel, "give", give)  # noqa: B010  # once is enough
        parcel = give(answer)
        assert parcel.place is not None
        os.close(parcel.place[1])
        handover._given.remove(parcel.place[1])
        Path("lost").touch()
        return parcel

    setattr(Parcel, "give", lose)  # noqa: B010
    return "ready"


def held(seed: int) -> tuple[int, dict[str, np.ndarray]]:
    return len(os.listdir("/proc/self/fd")), arrays(seed)


def stopped(seed: int) -> dict[str, np.ndarray]:
    if seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return arrays(seed)


def test_arrays_arrive_as_they_were_and_cannot_be_changed() -> None:
    answers = list(in_children(arrays, [(f"c{seed}", (seed,)) for seed in range(4)], workers=2))

    for seed, (_, answer) in enumerate(answers):
        assert not isinstance(answer, DataError)
        for name, expected in arrays(seed).items():
            np.testing.assert_array_equal(answer[name], expected)
            assert answer[name].dtype == expected.dtype
            assert not answer[name].flags.writeable


def test_a_child_holds_on_to_a_few_answers_at_most() -> None:
    answers = [answer for _, answer in in_children(held, [(f"c{seed}", (seed,)) for seed in range(30)], workers=1)]

    descriptors = [answer[0] for answer in answers if not isinstance(answer, DataError)]
    assert len(descriptors) == 30
    assert max(descriptors) - descriptors[0] <= 5


def test_an_answer_that_was_lost_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    answers = list(in_children(lose_the_next, [("c0", (0,)), ("c3", (3,))], workers=1))

    assert [path.name for path in tmp_path.iterdir()] == ["lost"]
    assert answers[0] == ("c0", "ready")
    assert not isinstance(answers[1][1], DataError | str)
    np.testing.assert_array_equal(answers[1][1]["pixels"], arrays(3)["pixels"])


def test_more_answers_than_there_are_descriptors_can_be_kept() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 160, hard))
    try:
        answers = list(in_children(arrays, [(f"c{seed}", (seed,)) for seed in range(220)], workers=1))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert not any(isinstance(answer, DataError) for _, answer in answers)
    last = answers[-1][1]
    assert not isinstance(last, DataError)
    np.testing.assert_array_equal(last["voxels"], arrays(219)["voxels"])
    assert not last["voxels"].flags.writeable


def test_a_death_between_answers_takes_no_other_answer_with_it() -> None:
    answers = list(in_children(stopped, [(f"c{seed}", (seed,)) for seed in range(5)], workers=1))

    assert [isinstance(answer, DataError) for _, answer in answers] == [False, True, False, False, False]


@pytest.mark.parametrize(
    "answer", [None, "read", {"small": np.arange(3)}, np.zeros((0, 4)), np.zeros((500, 500))[:, ::2]]
)
def test_any_answer_survives_the_way(answer: object) -> None:
    arrived = pickle.loads(pickle.dumps(Parcel.give(answer))).open()

    assert repr(arrived) == repr(answer)
