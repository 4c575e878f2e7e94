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
    text = ""  # a vocabulary may join words across parts, so text is encoded in one piece
    for part in (*TEMPLATES[template](with_tools(messages, tools)), None):
        if isinstance(part, str):
            text += part
            continue
        token_ids += tokenizer.encode(text) if text else []
        text = ""
        if part is not None:
            token_ids.append(_control_id(tokenizer, part))
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


def _zephyr(messages: Sequence[Message]) -> Iterator[Part]:
    """`<s><|user|>⏎user</s>⏎<|assistant|>⏎answer</s>⏎`, where the roles are text."""
    return _turns(messages, lambda role: (f"<|{role}|>\n",), (EOS, "\n"))


def _chatml(messages: Sequence[Message]) -> Iterator[Part]:
    """`<s><|im_start|>user⏎user<|im_end|>⏎<|im_start|>assistant⏎answer<|im_end|>⏎`.

    The card of microsoft/Orca-2-13b ends a prompt at `assistant`, without the line feed that
    follows every other role; the answer begins with it there, and here it does not.
    """
    start, end = Control("<|im_start|>"), Control("<|im_end|>")
    return _turns(messages, lambda role: (start, f"{role}\n"), (end, "\n"))


def _openchat(messages: Sequence[Message]) -> Iterator[Part]:
    """`<s>GPT4 Correct User: user<|end_of_turn|>GPT4 Correct Assistant: answer<|end_of_turn|>`.

    Where the answer is to begin, no space follows the colon.
    """
    is_open = messages[-1].role == "assistant"
    turns = _turns(
        messages, lambda role: (f"GPT4 Correct {role.title()}: ",), (Control("<|end_of_turn|>"),)
    )
    parts = list(turns)
    if not is_open:
        parts[-1] = str(parts[-1]).rstrip()
    return iter(parts)


def _neural_chat(messages: Sequence[Message]) -> Iterator[Part]:
    """`### System:⏎system⏎### User:⏎user⏎### Assistant:⏎answer</s>⏎### User:⏎…`, without BOS.

    Source: a single turn is that of the model card of Intel/neural-chat-7b-v3-1, which encodes it
    with add_special_tokens=False; what stands between turns is Intel's own fine-tuning code
    (intel-extension-for-transformers, `prompt_SlimOrca`).
    """
    for message in messages:
        yield f"### {message.role.title()}:\n{message.content}"
        if message.role != "assistant":
            yield "\n"
        elif message is not messages[-1]:
            yield from (EOS, "\n")
    if messages[-1].role != "assistant":
        yield "### Assistant:\n"


def _turns(
    messages: Sequence[Message], begin: Callable[[str], Sequence[Part]], end: Sequence[Part]
) -> Iterator[Part]:
    """Write every turn alike, whoever speaks, then the beginning of the answer's.

    Args:
        begin: what stands before a turn of this role.
        end: what stands behind each but a last one of the assistant, which is gone on with.
    """
    yield BOS
    for message in messages:
        yield from begin(message.role)
        yield message.content
        if message.role == "assistant" and message is messages[-1]:
            return
        yield from end
    yield from begin("assistant")


TEMPLATES: dict[str, Callable[[Sequence[Message]], Iterator[Part]]] = {
    "mistral-instruct": _mistral_instruct,
    "llama2": _llama2,
    "breeze": _breeze,
    "zephyr": _zephyr,
    "chatml": _chatml,
    "openchat": _openchat,
    "neural-chat": _neural_chat,
}
"""By the names that the catalogue uses. Source: for the first two the public service's own,
message by message; for the last four the publishers' Jinja, or, of Neural Chat and Orca 2, which
have none, their model cards."""

TURN_ENDS = ("<|im_end|>", "<|end_of_turn|>")
"""Control tokens that end a turn in these templates, so that an answer is over with them, whatever
a checkpoint says: Orca 2 names only `</s>`."""


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
