"""What teaches an encoder: every cell that lies on the picture is asked, and a finding may be one of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medmm.learn.fit import loss_of
from medmm.learn.lessons import NoteLesson
from medmm.learn.student import Student

CELLS, WIDTH = 64, 4


def as_they_are(taught: nn.Module, cells: Tensor, counts: Tensor, owner: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return taught(cells), counts, owner


def test_what_a_note_is_taught_with_lies_where_the_network_lies() -> None:
    lesson = NoteLesson.__new__(NoteLesson)
    lesson.width = WIDTH
    states, words = torch.zeros(2, 3, WIDTH, device="meta"), torch.ones(2, 3, dtype=torch.bool, device="meta")

    made = lesson.cells(Halves(), states=states, words=words)

    assert {one.device.type for one in made} == {"meta"}


class Halves(nn.Module):
    """Upper layers that change nothing."""

    def forward(self, middle: Tensor, words: Tensor) -> Tensor:
        return middle * words[..., None]


def student(multi_class: bool = False, labels: int = 1) -> Student:
    return Student(nn.Identity(), as_they_are, WIDTH, labels, multi_class)


def spoken(labels: int = 1) -> Student:
    """One whose head and shares say something."""
    made = student(labels=labels).eval()
    with torch.no_grad():
        made.head.weight.normal_(generator=torch.Generator().manual_seed(0))
        made.share.fill_(0.7)
    return made


def films(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """One film a case (B, K, W), noise but for one cell of each film that shows the finding; answers (B, 1)."""
    random = torch.Generator().manual_seed(seed)
    answers = torch.randint(2, (count, 1), generator=random).float()
    cells = torch.randn(count, CELLS, WIDTH, generator=random)
    where = torch.randint(CELLS, (count,), generator=random)
    cells[torch.arange(count), where, 0] += 5 * answers[:, 0]
    return cells, answers


def loss(of: Student, cells: Tensor, answers: Tensor) -> Tensor:
    ones = torch.ones(cells.shape[:2])
    loss: Tensor = of(answers, torch.zeros_like(answers), cells=cells, counts=ones, owner=torch.arange(len(cells)))
    return loss


def learnt(of: Student, cells: Tensor, answers: Tensor) -> Student:
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW([one for one in of.parameters() if one.requires_grad], lr=0.03)
    for _ in range(300):
        optimizer.zero_grad()
        torch.autograd.backward(loss(of.train(), cells, answers))
        optimizer.step()
    return of.eval()


def test_a_finding_in_one_cell_of_many_is_learnt_better_than_by_the_mean_of_all() -> None:
    by_mean = student()
    by_mean.share.requires_grad_(False)

    both, mean = (learnt(one, *films(400, 0)) for one in (student(), by_mean))

    new = films(400, 1)
    assert both.share.item() > 0
    assert loss(both, *new).item() < loss(mean, *new).item() - 0.1


def test_classes_that_exclude_each_other_are_taught_by_the_mean_alone() -> None:
    cells, answers = films(100, 0)

    classes = learnt(student(multi_class=True, labels=2), cells, torch.cat([answers, 1 - answers], dim=1))

    assert classes.head.weight.abs().max() > 0
    assert torch.equal(classes.share, torch.zeros(2))


def test_before_it_has_learnt_a_student_says_what_its_company_says() -> None:
    cells, _ = films(6, 0)
    for multi_class, answers in ((False, torch.ones(6, 3)), (True, torch.eye(3).repeat(2, 1))):
        company = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
        new = student(multi_class, labels=3).eval()

        said = new(answers, company, cells=cells, counts=torch.ones(6, CELLS), owner=torch.arange(6))

        torch.testing.assert_close(said, loss_of(company, answers, multi_class))


def test_what_lies_beside_the_picture_says_nothing() -> None:
    cells, answers = films(6, 0)
    counts = torch.ones(6, CELLS)
    counts[:, 40:] = 0
    other = cells.clone()
    other[:, 40:] = 100.0
    taught, owner, alone = spoken(), torch.arange(6), torch.zeros(6, 1)

    one, two = (taught(answers, alone, cells=c, counts=counts, owner=owner) for c in (cells, other))

    assert torch.equal(one, two)
    torch.testing.assert_close(one, loss(taught, cells[:, :40], answers))


def test_pictures_of_one_case_are_heard_together_whatever_their_shape() -> None:
    cells, answers = films(3, 0)
    parts = torch.cat(
        [cells, torch.zeros_like(cells)]
    )  # cells 0 to 39 of each film on one picture, the rest on another
    counts = torch.zeros(6, CELLS)
    counts[:3, :40] = 1
    counts[3:, : CELLS - 40] = 1
    parts[3:, : CELLS - 40] = cells[:, 40:]
    taught = spoken()

    owner = torch.arange(3).repeat(2)
    apart = taught(answers, torch.zeros(3, 1), cells=parts, counts=counts, owner=owner)

    torch.testing.assert_close(apart, loss(taught, cells, answers))
