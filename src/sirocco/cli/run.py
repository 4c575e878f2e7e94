"""`sirocco run`: one answer at the terminal, from a model in this process."""

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from sirocco.cli.answering import (
    Answer,
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
    writer,
)
from sirocco.cli.local_model import Device, MaxSeqLen, Weights, load_local_model
from sirocco.cli.output import AsJson
from sirocco.errors import ConfigError
from sirocco.types import Message, SamplingParams

if TYPE_CHECKING:
    from sirocco.cli.local_model import LocalModel


def run(
    model: Annotated[
        str, typer.Argument(help="A checkpoint's folder, or an id that sirocco models lists.")
    ],
    prompt: Annotated[
        str | None, typer.Argument(help="What to ask; without it, standard input is read.")
    ] = None,
    system: System = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="The prompt is a text to go on with: no chat template.")
    ] = False,
    max_tokens: MaxTokens = 256,
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
    as_json: AsJson = False,
) -> None:
    """Ask a model one thing; its answer comes as it is made. No server is needed."""
    if raw and system is not None:
        raise ConfigError("--system needs the chat template, which --raw leaves out")
    sampling = SamplingParams(
        max_tokens=max_tokens, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p,
        seed=seed, repetition_penalty=repetition_penalty, stop=tuple(stop or ()),
    )  # fmt: skip
    text = _standard_input() if prompt is None else prompt
    if not text:
        raise ConfigError("PROMPT must have at least 1 character, got 0")
    asked = load_local_model(model, device=device, weights=weights, max_seq_len=max_seq_len)
    token_ids = _token_ids(asked, text, system, raw=raw)
    if as_json:
        made = answer(asked.llm, token_ids, sampling, show=lambda _: None)
        print(json.dumps(_members(asked.name, made), ensure_ascii=False))
        return
    made = answer(asked.llm, token_ids, sampling, show=writer(sys.stdout))
    print()
    if sys.stdout.isatty():
        typer.secho(made.line(), dim=True, err=True)


def _standard_input() -> str:
    if sys.stdin.isatty():
        raise ConfigError("name a PROMPT, or pipe one in")
    return sys.stdin.read().strip()


def _token_ids(asked: "LocalModel", prompt: str, system: str | None, *, raw: bool) -> list[int]:
    """Put a prompt into the form that the model was tuned with, as the API does."""
    from sirocco.tokenizer.chat import encode_prompt  # noqa: PLC0415 - not needed for --help

    if raw or asked.llm.template is None:
        if system is not None:
            raise ConfigError(f"--system needs a chat template, and {asked.name} has none")
        return encode_prompt(asked.llm.tokenizer, prompt)
    before = asked.default_system if system is None else system
    messages = [Message("user", prompt)]
    return asked.llm.encode_chat([Message("system", before), *messages] if before else messages)


def _members(name: str, made: Answer) -> dict[str, object]:
    return {
        "model": name,
        "response": made.text,
        "finish_reason": made.finish_reason,
        "usage": {
            "prompt_tokens": made.n_prompt_tokens,
            "completion_tokens": made.n_output_tokens,
            "total_tokens": made.n_prompt_tokens + made.n_output_tokens,
        },
        "ttft_s": made.ttft_s,
        "duration_s": made.duration_s,
        "tokens_per_s": made.tokens_per_s,
    }
