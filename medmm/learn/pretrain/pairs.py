"""Both encoders taught on studies with their notes, without labels: each finds the other's counterpart.

Zhang et al. 2020, "Contrastive Learning of Medical Visual Representations from Paired Images and Text" (ConVIRT):
InfoNCE from image to note and from note to image. Here the image encoder's tail and low-rank adapters of the text
encoder learn. Notes that say the same, and cases of one patient, are not told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from medmm.learn.course import Course, Listener, Material, claim, digest_of, pursue
from medmm.learn.fit import Epoch
from medmm.learn.pretrain.images import ImageTower, Square, contrast, projection, views
from medmm.learn.pretrain.notes import add_adapters, pieces_of, write_text_folder
from medmm.model.image_encoder import ImageEncoder
from medmm.model.image_networks import write_image_folder
from medmm.model.text_encoder import TextEncoder

METHOD = "image-note alignment (ConVIRT, Zhang et al. 2020)"


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """One case: its pictures, of which an epoch sees one, and what was written."""

    squares: tuple[Square, ...]
    """At least one; all of one owner."""
    note: str


def pretrain_pairs(
    image: ImageEncoder, text: TextEncoder, pairs: Sequence[Pair], course: Course, out: Path, listener: Listener
) -> tuple[Epoch, ...]:
    """Teach both encoders, and leave OUT/image and OUT/text, which `[encoders]` takes.

    Args:
        image: changed in place.
        text: changed in place; of a note longer than it reads at once, the first piece is learnt.
        pairs: of two patients at least.
        course: how long and how hard.
        out: for both folders, run.json and the state of the course.
        listener: told of progress.

    Raises:
        CohortError: if all pairs are of one patient.
        ConfigError: if `out` holds another pretraining.
    """
    made_from, material = image.digest, _material(text, pairs)
    claim(out, METHOD, (made_from, image.size, text.digest, text.max_words), course, material)
    torch.manual_seed(course.seed)
    network = Alignment(image, text)
    epochs = pursue(network, material, course, out / "work", listener)
    network.merge()
    write_image_folder(out / "image", image, METHOD, made_from, sum(len(pair.squares) for pair in pairs))
    write_text_folder(out / "text", text)
    return epochs


def _material(text: TextEncoder, pairs: Sequence[Pair]) -> Material:
    vary, words = views(), [torch.tensor(pieces_of(text, pair.note)[0]) for pair in pairs]
    owners = tuple(pair.squares[0].owner for pair in pairs)
    who = torch.from_numpy(np.unique(owners, return_inverse=True)[1])
    says = torch.from_numpy(np.unique([pair.note for pair in pairs], return_inverse=True)[1])

    def batch(which: Sequence[int]) -> dict[str, Tensor]:
        seen = []
        for squares in (pairs[i].squares for i in which):
            seen.append(vary(squares[int(torch.randint(len(squares), ()))]))
        chosen = torch.tensor(which)
        same = [of[chosen][:, None] == of[chosen] for of in (who, says)]
        return {
            "views": torch.stack(seen),
            "input_ids": pad_sequence([words[i] for i in which], True, text.tokenizer.pad_token_id),
            "attention_mask": pad_sequence([torch.ones_like(words[i]) for i in which], True),
            "alike": same[0] | same[1],
        }

    content = [part for pair in pairs for square in pair.squares for part in (square.pixels.numpy().tobytes(), "|")]
    return Material(owners, batch, digest_of(who.tolist(), [ids.tolist() for ids in words], *content))


class Alignment(nn.Module):
    """The loss of finding each image's note and each note's image, with projections that are thrown away."""

    def __init__(self, image: ImageEncoder, text: TextEncoder) -> None:
        super().__init__()
        self.image, self.text = ImageTower(image), text.network
        self.merge = add_adapters(text.network)
        self.project_image, self.project_note = projection(image.width), projection(text.width)

    def forward(self, views: Tensor, input_ids: Tensor, attention_mask: Tensor, alike: Tensor) -> Tensor:
        """Views (B, 3, S, S) uint8, word pieces (B, T), alike (B, B) bool -> the mean loss of both directions."""
        layers = self.text(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True).hidden_states
        words = torch.cat([layers[len(layers) // 2], layers[-1]], dim=-1).float()  # (B, T, W), see TextEncoder
        there = attention_mask[..., None].float()
        note = (words * there).sum(dim=1) / there.sum(dim=1)
        seen = functional.normalize(self.project_image(self.image(views)), dim=1)
        said = functional.normalize(self.project_note(note), dim=1)
        answer = torch.arange(len(views), device=views.device)
        similarity = seen @ said.T
        return (contrast(similarity, answer, alike) + contrast(similarity.T, answer, alike)) / 2
