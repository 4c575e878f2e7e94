"""Between text and token ids. The room knows vocabularies and chat templates, not models.

`load_tokenizer` chooses by the files of a checkpoint; `chat` turns a conversation into token
ids; `detokenizer` turns token ids into text, one at a time.
"""

from pathlib import Path

from sirocco.errors import CheckpointError
from sirocco.tokenizer.base import Tokenizer

__all__ = ["Tokenizer", "load_tokenizer"]


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load a checkpoint's `tokenizer.json`, else its `tokenizer.model`.

    Raises: CheckpointError in one sentence if there is none, or it cannot be read.
    """
    if (file := folder / "tokenizer.json").is_file():
        from sirocco.tokenizer.huggingface import HuggingFaceTokenizer  # noqa: PLC0415

        return HuggingFaceTokenizer(file)
    for name in ("tokenizer.model", "tokenizer.model.v1"):
        if (file := folder / name).is_file():
            from sirocco.tokenizer.sentence_piece import SentencePieceTokenizer  # noqa: PLC0415

            return SentencePieceTokenizer(file)
    raise CheckpointError(f"{folder} has no tokenizer: tokenizer.json or tokenizer.model")
