"""What is taught of an encoder, and the head that asks each cell of a case.

B cases, F pictures or notes, K cells of a picture or word pieces of a note, L labels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from medmm.learn.fit import loss_of

_DROPOUT = 0.3


class Student(nn.Module):
    """What is taught, and a linear head that is asked about each cell of a case, beside the case's company if any.

    The head is heard as `Cells` will hear it, in the mean over the cells and where it says most, of which each label
    learns a share that begins at nothing: a nodule is few of a film's cells, and a mean alone teaches little of it.
    Classes that exclude each other are told by the whole picture, and the mean alone teaches them.
    """

    def __init__(
        self,
        taught: nn.Module,
        cells: Callable[..., tuple[Tensor, Tensor, Tensor]],
        width: int,
        labels: int,
        multi_class: bool,
    ) -> None:
        """Both as a Lesson has them: what is taught, and what makes cells of it and of a batch's inputs."""
        super().__init__()
        self.taught, self.cells, self.multi_class = taught, cells, multi_class
        self.head = nn.Linear(width, labels)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.share = nn.Parameter(torch.zeros(labels), requires_grad=not multi_class)

    def forward(self, targets: Tensor, company: Tensor, **inputs: Tensor) -> Tensor:
        """-> the mean loss of a batch."""
        cells, counts, owner = self.cells(self.taught, **inputs)
        kept = functional.dropout(torch.ones_like(cells[:, :1]), _DROPOUT, self.training)  # of channels, not of cells
        said = self.head(cells * kept)  # (F, K, L)
        whose = functional.one_hot(owner, len(targets)).to(said.dtype)  # (F, B)
        mean = (whose.T @ (said * counts[..., None]).sum(dim=1)) / (whose.T @ counts.sum(dim=1, keepdim=True))
        most = said.masked_fill(counts[..., None] == 0, -torch.inf).amax(dim=1)  # (F, L)
        owners = owner[:, None].expand_as(most)
        largest = torch.full_like(mean, -torch.inf).scatter_reduce(0, owners, most, "amax")
        return loss_of(mean + self.share * largest + company, targets, self.multi_class)

    def train(self, mode: bool = True) -> Self:
        """Batch statistics stay those of the frozen network: a few cases say less than what it was trained on."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self
