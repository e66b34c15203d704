"""The pipeline that a user would write: MONAI reads, transformers and torch encode, one study after the other, fp32.

It has the networks of the model that it is held against and gives no answer: no heads, no record, no calibration, no
explanation, nothing is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medmm.model.encode import Encoders


@dataclass(frozen=True, slots=True, eq=False)
class ByHand:
    """Networks and transforms, ready for a study."""

    encoders: Encoders
    load: Callable[..., Any]

    @classmethod
    def of(cls, encoders: Encoders) -> ByHand:
        """With the weights of a model's encoders, but for what was taught of them."""
        from monai.data import PydicomReader
        from monai.transforms import Compose, EnsureChannelFirst, LoadImage, RepeatChannel, Resize, ScaleIntensity

        side = encoders.image.size
        chain = Compose(
            [
                LoadImage(reader=PydicomReader(), image_only=True),
                EnsureChannelFirst(),
                Resize((side, side)),
                ScaleIntensity(),
                RepeatChannel(3),
            ]
        )
        return cls(encoders, chain)

    @torch.inference_mode()
    def encode(self, film: Path, note: str) -> tuple[torch.Tensor, torch.Tensor]:
        """One film and one note -> the mean of the image network's last map, and the note's [CLS]."""
        image, text = self.encoders.image, self.encoders.text
        maps = image.stages(self.load(str(film)).as_tensor().squeeze(-1)[None].float())
        words = text.tokenizer(note, truncation=True, max_length=text.max_words, return_tensors="pt")
        return maps.mean(dim=(2, 3)), text.network(**words).last_hidden_state[:, 0]
