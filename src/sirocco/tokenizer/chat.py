"""From a conversation to the token ids of a prompt, in the form a model was tuned with.

Templates are ours, and code: a checkpoint's own Jinja is never run. Text and control tokens
are kept apart from the start, so a `</s>` in a message stays four characters.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sirocco.errors import CheckpointError, ConfigError, InvalidInput
from sirocco.tokenizer.base import Tokenizer
from sirocco.tokenizer.tools import with_tools
from sirocco.types import Message, Tool


@dataclass(frozen=True, slots=True)
class Control:
    """A control token, by its name."""

    name: str


BOS, EOS = Control("<s>"), Control("</s>")
Part = str | Control


def encode_messages(
    tokenizer: Tokenizer, messages: Sequence[Message], template: str, tools: Sequence[Tool] = ()
) -> list[int]:
    """Token ids of a conversation, ready for the model to answer.

    A last message of the assistant is a beginning that the model goes on with. Tools, calls and
    results are put into words first.

    Raises: InvalidInput without messages; ConfigError for an unknown template; CheckpointError
        if the template needs a control token that the vocabulary lacks.
    """
    if not messages:
        raise InvalidInput("'/messages' must have at least 1 item, got 0")
    if template not in TEMPLATES:
        raise ConfigError(f"template must be one of {', '.join(TEMPLATES)}, got {template!r}")
    token_ids: list[int] = []
    for part in TEMPLATES[template](with_tools(messages, tools)):
        if isinstance(part, Control):
            token_ids.append(_control_id(tokenizer, part))
        elif part:
            token_ids += tokenizer.encode(part)
    return token_ids


def encode_prompt(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """Token ids of a text to go on with: BOS, then the text without any template."""
    bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    return bos + tokenizer.encode(prompt)


def encode_raw_prompt(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """Token ids of a prompt whose author writes the control tokens; BOS is added if absent."""
    token_ids = tokenizer.encode_raw(prompt)
    if tokenizer.bos_id is None or token_ids[:1] == [tokenizer.bos_id]:
        return token_ids
    return [tokenizer.bos_id, *token_ids]


def _mistral_instruct(messages: Sequence[Message]) -> Iterator[Part]:
    """`<s>[INST] system user [/INST] answer</s>[INST] user [/INST]`."""
    return _bracketed(messages, system=("", " "), bos_each_turn=False)


def _llama2(messages: Sequence[Message]) -> Iterator[Part]:
    """`<s>[INST] <<SYS>>…<</SYS>> user [/INST] answer</s><s>[INST] user [/INST]`."""
    return _bracketed(messages, system=("<<SYS>>\n", "\n<</SYS>>\n\n"), bos_each_turn=True)


def _bracketed(
    messages: Sequence[Message], *, system: tuple[str, str], bos_each_turn: bool
) -> Iterator[Part]:
    """Write instructions between brackets that are text.

    Args:
        system: what stands before and after a system message.
        bos_each_turn: BOS begins every turn of the user, not the conversation alone.
    """
    yield BOS
    text = ""
    for previous, message in _with_previous(messages):
        if message.role == "system":
            text += f"[INST] {system[0]}{message.content}{system[1]}"
        elif message.role == "user":
            if bos_each_turn and previous in ("user", "assistant"):
                yield text
                yield BOS
                text = ""
            text += f"{'' if previous == 'system' else '[INST] '}{message.content} [/INST]"
        else:
            yield f"{text} {message.content}"
            yield from () if message is messages[-1] else (EOS,)
            text = ""
    yield text + ("[/INST]" if messages[-1].role == "system" else "")


def _breeze(messages: Sequence[Message]) -> Iterator[Part]:
    """`<s>[INST]system⏎⏎user[/INST]answer</s>`, where the brackets are control tokens."""
    yield BOS
    system: list[str] = []
    for message in messages:
        if message.role == "system":
            system.append(message.content)
        elif message.role == "user":
            yield from _instruction([*system, message.content])
            system = []
        else:
            yield message.content
            yield from () if message is messages[-1] else (EOS,)
    if system:
        yield from _instruction(system)


def _instruction(texts: Sequence[str]) -> tuple[Part, ...]:
    return Control("[INST]"), "\n\n".join(texts), Control("[/INST]")


TEMPLATES: dict[str, Callable[[Sequence[Message]], Iterator[Part]]] = {
    "mistral-instruct": _mistral_instruct,
    "llama2": _llama2,
    "breeze": _breeze,
}
"""By the names that the catalogue uses. Source: the public service's own, message by message."""


def _with_previous(messages: Sequence[Message]) -> Iterator[tuple[str | None, Message]]:
    """Each message with the role of the one before it."""
    return zip([None, *(message.role for message in messages)], messages, strict=False)


def _control_id(tokenizer: Tokenizer, control: Control) -> int:
    known = {BOS: tokenizer.bos_id, EOS: tokenizer.eos_id}
    token_id = known[control] if control in known else tokenizer.control_id(control.name)
    if token_id is None:
        raise CheckpointError(
            f"the chat template needs the control token {control.name}, which the tokenizer lacks"
        )
    return token_id
