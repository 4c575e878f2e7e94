"""Which of our chat templates a checkpoint was tuned with, read from its files."""

import json
from pathlib import Path

TEMPLATES = (
    "breeze", "mistral-instruct", "llama2", "zephyr", "chatml", "openchat", "neural-chat",
)  # fmt: skip
"""Every name that a model may have; `tokenizer/chat.py` writes them."""

_SIGNS = (
    ("chatml", ("<|im_start|>",)),
    ("openchat", ("GPT4 Correct",)),
    ("zephyr", ("<|user|>", "eos_token")),  # others end their turns with other tokens
)


def template_of(folder: Path) -> str | None:
    """Name the template of a checkpoint folder; None if it shows none that we know.

    A checkpoint's own Jinja template is data from outside, and is looked at, but never run.
    """
    if _has_control_tokens(folder):
        return "breeze"
    jinja = _text(folder / "chat_template.jinja") + _text(folder / "tokenizer_config.json")
    told = _chat_template(folder)
    found = (name for name, signs in _SIGNS if all(sign in told for sign in signs))
    if (template := _bracketed(jinja) or next(found, None)) is not None:
        return template
    family = _json(folder / "config.json").get("model_type")
    # Mistral's own layout comes without any template; its instruct models share this one.
    is_mistral = family == "mistral" or (folder / "params.json").exists()
    return "mistral-instruct" if is_mistral and "chat_template" not in jinja else None


def _bracketed(jinja: str) -> str | None:
    if "<<SYS>>" in jinja:
        return "llama2"
    return "mistral-instruct" if "[INST]" in jinja else None


def _chat_template(folder: Path) -> str:
    """Read the Jinja alone: what stands beside it names control tokens that it may not use."""
    inside = _json(folder / "tokenizer_config.json").get("chat_template")
    return _text(folder / "chat_template.jinja") + (inside if isinstance(inside, str) else "")


def _has_control_tokens(folder: Path) -> bool:
    """Tell the embedded model's kind of tokenizer: `[INST]` is one token of its own, number 3."""
    added = _json(folder / "tokenizer.json").get("added_tokens")
    return isinstance(added, list) and any(
        isinstance(token, dict) and token.get("content") == "[INST]" and token.get("id") == 3
        for token in added
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _json(path: Path) -> dict[str, object]:
    try:
        raw = json.loads(_text(path) or "{}")
    except (ValueError, RecursionError):
        return {}
    return raw if isinstance(raw, dict) else {}
