"""Which files of a repository make a checkpoint: configuration, tokenizer, safetensors."""

import re
from collections.abc import Sequence

from sirocco.errors import HubError
from sirocco.hub.listing import HubFile, Listing

_INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors")
_TOKENIZER = re.compile(r"tokenizer\.json|tokenizer\.model(\.v\d)?")
_BESIDE = re.compile(
    r"(generation_config|tokenizer_config|special_tokens_map|added_tokens)\.json"
    r"|chat_template\.jinja"
)
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_LARGEST_SMALL_FILE = 256 << 20
"""Bytes of a file that is not weights: it is read into memory whole."""


def choose_files(listing: Listing) -> list[HubFile]:
    """Choose what a checkpoint needs, the small files first; nothing in sub-folders.

    Raises: HubError if there is no checkpoint that we can read, with the reason.
    """
    files = {file.name: file for file in listing.files}
    layout = _hugging_face(listing.repo, files) or _mistral(files)
    if layout is None:
        raise _no_checkpoint(listing.repo, files)
    tokenizers = [file for name, file in files.items() if _TOKENIZER.fullmatch(name)]
    if not tokenizers:
        raise HubError(f"{listing.repo} has no tokenizer.json and no tokenizer.model")
    beside = [file for name, file in files.items() if _BESIDE.fullmatch(name)]
    chosen = sorted([*layout, *tokenizers, *beside], key=lambda file: (is_weights(file), file.name))
    for file in chosen:
        _check(listing.repo, file)
    return chosen


def is_weights(file: HubFile) -> bool:
    """Tell the large files from the others."""
    return file.name.endswith(".safetensors")


def _hugging_face(repo: str, files: dict[str, HubFile]) -> list[HubFile] | None:
    """`config.json`, and `model.safetensors` or its parts with their index."""
    if "config.json" not in files:
        return None
    if _INDEX in files:
        shards = [name for name in files if _SHARD.fullmatch(name)]
        if shards:
            _require_all(repo, shards)
            return [files["config.json"], files[_INDEX], *(files[name] for name in shards)]
    if "model.safetensors" in files:
        return [files["config.json"], files["model.safetensors"]]
    return None


def _mistral(files: dict[str, HubFile]) -> list[HubFile] | None:
    """Mistral's own layout. A `config.json` beside it would be read as the other one."""
    names = ("params.json", "consolidated.safetensors")
    return [files[name] for name in names] if all(name in files for name in names) else None


def _require_all(repo: str, shards: Sequence[str]) -> None:
    counts = {name.rpartition("-of-")[2].partition(".")[0] for name in shards}
    n_wanted = int(max(counts))
    if len(counts) > 1 or len(shards) != n_wanted:
        raise HubError(f"{repo} has {len(shards)} of the {n_wanted} parts of its weights")


def _no_checkpoint(repo: str, files: dict[str, HubFile]) -> HubError:
    """Say what is there instead."""
    if any(name.endswith(".safetensors") for name in files):
        return HubError(
            f"{repo} has safetensors, but not in a layout that can be read: config.json with "
            f"model.safetensors, or with its parts and their index, or params.json with "
            f"consolidated.safetensors"
        )
    pickles = [name for name in files if name.endswith(_PICKLES)]
    if pickles:
        return HubError(
            f"{repo} has its weights only as pickle files ({pickles[0]}), which can run code when "
            f"they are read: only safetensors are pulled"
        )
    if any(name.endswith(".gguf") for name in files):
        return HubError(f"{repo} has its weights only as GGUF: only safetensors are pulled")
    return HubError(f"{repo} has no safetensors: there are no weights to pull")


def _check(repo: str, file: HubFile) -> None:
    if file.sha256 is None and file.git_sha1 is None:
        raise HubError(f"the hub tells no checksum of {file.name} of {repo}: not pulled")
    if not is_weights(file) and file.n_bytes > _LARGEST_SMALL_FILE:
        raise HubError(
            f"{file.name} of {repo} must have at most {_LARGEST_SMALL_FILE} bytes, "
            f"got {file.n_bytes}"
        )
