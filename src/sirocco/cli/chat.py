"""`sirocco chat`: a conversation at the terminal, with a model in this process."""

import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Annotated

import typer

from sirocco.cli.answering import (
    MaxTokens,
    MinP,
    RepetitionPenalty,
    Seed,
    Stop,
    System,
    Temperature,
    TopK,
    TopP,
    answer,
    stopped_by_ctrl_c,
    writer,
)
from sirocco.cli.conversation import Conversation
from sirocco.cli.local_model import Device, MaxSeqLen, Weights, load_local_model
from sirocco.errors import ConfigError, SiroccoError
from sirocco.types import SamplingParams

_HELP = """\
/system TEXT  tell the model something before all else; without TEXT, show what it is told
/reset        forget what was said
/help         show this
/exit         end, as Ctrl-D does
Ctrl-C stops an answer. A line that begins with // is a message that begins with /."""


def chat(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A checkpoint's folder, or an id that sirocco models lists (default: the "
            "embedded model)."
        ),
    ] = None,
    system: System = None,
    max_tokens: MaxTokens = 512,
    temperature: Temperature = 0.6,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    min_p: MinP = 0.0,
    seed: Seed = None,
    repetition_penalty: RepetitionPenalty = 1.0,
    stop: Stop = None,
    device: Device = None,
    weights: Weights = None,
    max_seq_len: MaxSeqLen = None,
) -> None:
    """Talk with a model; it knows what was said before. No server is needed.

    Answers go to standard output, all else to standard error.
    """
    sampling = SamplingParams(
        max_tokens=max_tokens, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p,
        seed=seed, repetition_penalty=repetition_penalty, stop=tuple(stop or ()),
    )  # fmt: skip
    asked = load_local_model(model, device=device, weights=weights, max_seq_len=max_seq_len)
    if asked.llm.template is None:
        raise ConfigError(f"{asked.name} has no chat template: ask it with sirocco run")
    before = asked.default_system if system is None else system
    _note(f"{asked.name}, {asked.llm.engine.limit_tokens:,} tokens. /help tells what else.")
    Chat(Conversation(asked.llm, before or None), sampling, writer(sys.stdout), _note).run()


class Chat:
    """Reads lines and answers them.

    Args:
        show, note: told a piece of an answer; told a line that is not part of one.
    """

    def __init__(
        self,
        conversation: Conversation,
        sampling: SamplingParams,
        show: Callable[[str], None],
        note: Callable[[str], None],
    ) -> None:
        self._conversation, self._sampling = conversation, sampling
        self._show, self._note = show, note

    def run(self) -> None:
        """Go on until /exit, or the end of the input."""
        with suppress(ImportError):  # it is not on every system; input() works without
            import_module("readline")  # lines can be edited, and come back with the arrow keys
        while (line := self._read()) is not None:
            if line.startswith("/") and not line.startswith("//"):
                if not self._obey(line):
                    return
            elif line:
                self._answer(line.removeprefix("/"))

    def _read(self) -> str | None:
        """Give the next line, empty after Ctrl-C; None at the end."""
        try:
            return input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return None
        except KeyboardInterrupt:
            self._note("\n/exit or Ctrl-D ends.")
            return ""

    def _obey(self, line: str) -> bool:
        """Do what a command says; False ends the conversation."""
        command, _, text = line.partition(" ")
        match command:
            case "/exit":
                return False
            case "/reset":
                self._conversation.turns.clear()
                self._note("Forgotten.")
            case "/system":
                self._set_system(text.strip())
            case "/help":
                self._note(_HELP)
            case _:
                self._note(f"There is no {command}; /help tells what there is.")
        return True

    def _set_system(self, text: str) -> None:
        if text:
            self._conversation.system = text
        self._note(f"The model is told: {self._conversation.system or 'nothing'}")

    def _answer(self, text: str) -> None:
        """Answer a message; a failure is told, and the message is taken back."""
        try:
            token_ids, n_left_out = self._conversation.ask(
                text, max_tokens=self._sampling.max_tokens
            )
        except SiroccoError as error:
            self._note(f"sirocco: {error}")
            return
        if n_left_out:
            self._note(f"The oldest {n_left_out} messages do not fit any more: left out.")
        given = ""
        try:
            given = self._say(token_ids)
        except SiroccoError as error:
            self._note(f"\nsirocco: {error}")
        finally:
            self._conversation.answered(given)

    def _say(self, token_ids: list[int]) -> str:
        """Show an answer, until Ctrl-C; give what there is of it."""
        with stopped_by_ctrl_c() as is_wanted:
            made = answer(
                self._conversation.llm, token_ids, self._sampling,
                show=self._show, is_wanted=is_wanted,
            )  # fmt: skip
        self._show("\n")
        self._note(made.line())
        return made.text


def _note(text: str) -> None:
    typer.secho(text, dim=True, err=True)
