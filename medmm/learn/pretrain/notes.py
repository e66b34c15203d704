"""The text encoder taught on notes that nobody labelled: some words are hidden, and it is to say which they were.

Devlin et al. 2019, "BERT", continued on texts of the domain as in Gururangan et al. 2020, "Don't Stop Pretraining".
Only low-rank adapters learn (Hu et al. 2021, "LoRA"), beside the head that names the words; they are merged into the
weights afterwards, so that the result is a BERT like any other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from medmm.case import Note
from medmm.errors import ModelError
from medmm.learn.course import Course, Listener, Material, claim, digest_of, pursue
from medmm.learn.fit import Epoch
from medmm.model.text_encoder import TextEncoder

METHOD = "masked words (Devlin et al. 2019)"
_HIDDEN = 0.15
"""Share of the word pieces that is hidden."""
_RANK = 16
_NOT_ASKED = -100
"""Label of a word piece that was not hidden, as transformers writes it."""


def pretrain_notes(
    encoder: TextEncoder, notes: Sequence[tuple[str, Note]], course: Course, out: Path, listener: Listener
) -> tuple[Epoch, ...]:
    """Teach the encoder the words of notes, and leave a folder that `[encoders] text` takes.

    Args:
        encoder: changed in place.
        notes: owner and note, of two owners at least; a long one is learnt in pieces.
        course: how long and how hard.
        out: for the Hugging Face folder, run.json and the state of the course.
        listener: told of progress.

    Raises:
        CohortError: if all notes are of one owner.
        ConfigError: if `out` holds another pretraining.
        ModelError: if the encoder cannot be taught hidden words.
    """
    material = _material(encoder, notes)
    claim(out, METHOD, (encoder.digest, encoder.max_words), course, material)
    torch.manual_seed(course.seed)
    network = MaskedWords(encoder)
    epochs = pursue(network, material, course, out / "work", listener)
    network.merge()
    write_text_folder(out, encoder)
    return epochs


def write_text_folder(out: Path, encoder: TextEncoder) -> None:
    """Leave a Hugging Face folder in `out`, each file whole."""
    made = out / "work" / "encoder"
    encoder.save(made)
    for path in sorted(made.iterdir()):
        os.replace(path, out / path.name)
    made.rmdir()


def pieces_of(encoder: TextEncoder, text: str) -> list[list[int]]:
    """A text as runs of at most `max_words` word pieces, each between [CLS] and [SEP]; nothing is cut."""
    said = encoder.tokenizer(
        text, truncation=True, max_length=encoder.max_words, return_overflowing_tokens=True, verbose=False
    )
    ids: list[list[int]] = said["input_ids"]
    return ids if ids and isinstance(ids[0], list) else [said["input_ids"]]


def _material(encoder: TextEncoder, notes: Sequence[tuple[str, Note]]) -> Material:
    from transformers import DataCollatorForLanguageModeling

    if encoder.tokenizer.mask_token is None:
        raise ModelError("the text encoder has no mask token", "Give a BERT-like encoder")
    examples = [(owner, ids) for owner, note in notes for ids in pieces_of(encoder, note.text)]
    hide = DataCollatorForLanguageModeling(encoder.tokenizer, mlm_probability=_HIDDEN)

    def batch(which: Sequence[int]) -> dict[str, Tensor]:
        return dict(hide([{"input_ids": examples[i][1], "attention_mask": [1] * len(examples[i][1])} for i in which]))

    owners = tuple(owner for owner, _ in examples)
    return Material(owners, batch, digest_of([ids for _, ids in examples]))


class MaskedWords(nn.Module):
    """The loss of naming hidden words, with a head that is thrown away afterwards."""

    def __init__(self, encoder: TextEncoder) -> None:
        """Take the head that the encoder's checkpoint has, or a fresh one."""
        from transformers import AutoModelForMaskedLM

        super().__init__()
        source = encoder.network.name_or_path
        try:
            self.masked = AutoModelForMaskedLM.from_pretrained(
                source,
                trust_remote_code=False,
                use_safetensors=True,
                local_files_only=Path(source).is_dir(),
                dtype=torch.float32,
            )
        except (OSError, ValueError) as problem:
            raise ModelError(
                f"the text encoder cannot be taught hidden words ({type(problem).__name__})",
                "Give a BERT-like encoder",
            ) from None
        setattr(self.masked, self.masked.base_model_prefix, encoder.network)
        self.masked.requires_grad_(True)
        self.masked.get_output_embeddings().weight.requires_grad_(False)
        self.merge = add_adapters(encoder.network)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> Tensor:
        """Word pieces (B, T), some of them hidden; labels (B, T) with what these were -> the mean loss.

        The head sees hidden places only: its answer for each is as wide as the vocabulary.
        """
        from transformers.modeling_outputs import BaseModelOutput

        asked = labels != _NOT_ASKED
        body = getattr(self.masked, self.masked.base_model_prefix)
        narrow = body.register_forward_hook(lambda _, __, said: BaseModelOutput(said.last_hidden_state[asked][None]))
        try:
            said = self.masked(input_ids=input_ids, attention_mask=attention_mask).logits[0]
        finally:
            narrow.remove()
        return functional.cross_entropy(said.float(), labels[asked], reduction="sum") / asked.sum().clamp(min=1)


def add_adapters(network: Any) -> Callable[[], object]:
    """Freeze a BERT but for low-rank adapters of its linear layers; what is given back merges them into its weights."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=_RANK, lora_alpha=2 * _RANK, target_modules="all-linear")
    merge: Callable[[], object] = get_peft_model(network, config).merge_and_unload
    return merge
