"""Real vocabularies of each kind: Mistral's own, and small ones that are trained here."""

from collections.abc import Callable
from pathlib import Path

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers

from sirocco.tokenizer.base import Tokenizer
from sirocco.tokenizer.byte import ByteTokenizer
from sirocco.tokenizer.huggingface import HuggingFaceTokenizer
from sirocco.tokenizer.sentence_piece import SentencePieceTokenizer

TEXTS = ["the cat sat on the mat", "a query head reads a key head", "Grouped-query attention 123"]
KINDS = ["byte", "byte-level", "byte-fallback", "chat", "mistral"]


def mistral_file() -> Path:
    import mistral_common

    return Path(mistral_common.__file__).parent / "data" / "tokenizer.model.v1"


def byte_level_file(folder: Path) -> Path:
    """The embedded model's kind: byte-level BPE with control tokens."""
    from sirocco.training.bpe import train_tokenizer

    train_tokenizer(iter(TEXTS), 320, folder / "tokenizer.json")
    return folder / "tokenizer.json"


def byte_fallback_file(folder: Path) -> Path:
    """Llama's kind: words begin with ▁, and what has no token is spelt in bytes."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256))]
    pieces += ["▁", "▁▁", *"abcdefghijklmnopqrstuvwxyzé", "▁a", "▁t", "th", "▁th"]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    merges = [("▁", "▁"), ("▁", "a"), ("▁", "t"), ("t", "h"), ("▁t", "h")]
    model = models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def chat_file(folder: Path) -> Path:
    """Llama's kind with the control tokens of chats, one of which does not say that it is one."""
    tokenizer = tokenizers.Tokenizer.from_file(str(byte_fallback_file(folder)))
    tokenizer.add_special_tokens(["<|im_end|>", "<|end_of_turn|>"])
    tokenizer.add_tokens([tokenizers.AddedToken("<|im_start|>", normalized=False)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


@pytest.fixture(scope="session")
def chat_tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chat_file(tmp_path_factory.mktemp("chat"))


@pytest.fixture(scope="session")
def tokenizer_of(
    tmp_path_factory: pytest.TempPathFactory, chat_tokenizer_file: Path
) -> Callable[[str], Tokenizer]:
    """Look a vocabulary up by its kind; each is made once."""
    made: dict[str, Tokenizer] = {
        "byte": ByteTokenizer(),
        "byte-level": HuggingFaceTokenizer(byte_level_file(tmp_path_factory.mktemp("level"))),
        "byte-fallback": HuggingFaceTokenizer(
            byte_fallback_file(tmp_path_factory.mktemp("fallback"))
        ),
        "chat": HuggingFaceTokenizer(chat_tokenizer_file),
        "mistral": SentencePieceTokenizer(mistral_file()),
    }
    assert list(made) == KINDS
    return made.__getitem__


@pytest.fixture(params=KINDS)
def tokenizer(request: pytest.FixtureRequest, tokenizer_of) -> Tokenizer:
    """Every kind of vocabulary in turn."""
    made: Tokenizer = tokenizer_of(request.param)
    return made
