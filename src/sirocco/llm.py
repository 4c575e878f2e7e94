"""The engine for a script: no server, no event loop. The same engine, step by step."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Literal

from sirocco.catalog import Catalog
from sirocco.catalog.template import template_of
from sirocco.engine.config import EngineConfig
from sirocco.engine.engine import Engine, Piece
from sirocco.engine.loading import choose_device, config_for, load_engine, weights_for
from sirocco.engine.request import Request
from sirocco.engine.scoring import score
from sirocco.errors import (
    ConfigError,
    InvalidInput,
    UnknownModel,
)
from sirocco.home import default_home
from sirocco.model.presets import preset
from sirocco.model.random_model import random_model
from sirocco.tokenizer.base import Tokenizer
from sirocco.tokenizer.byte import ByteTokenizer
from sirocco.tokenizer.chat import encode_messages, encode_prompt
from sirocco.types import FinishReason, Message, SamplingParams, TokenLogprob

Prompt = str | Sequence[int]


@dataclass(slots=True)
class Output:
    """One whole answer.

    Attributes:
        text: without the stop string or end token that ended it.
        token_ids: output tokens, the one that ended it included.
        n_cached_tokens: prompt tokens whose keys and values were there already.
        logprobs: one per output token if they were asked for, else empty.
        others: the other answers, where n of them were asked for.
    """

    n_prompt_tokens: int
    n_cached_tokens: int = 0
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    logprobs: list[TokenLogprob] = field(default_factory=list)
    others: list["Output"] = field(default_factory=list)

    @classmethod
    def of(cls, request: Request) -> "Output":
        """Begin the answers to a request."""
        n_prompt_tokens = len(request.prompt_token_ids)
        others = [cls(n_prompt_tokens) for _ in range(request.sampling.n - 1)]
        return cls(n_prompt_tokens, others=others)

    def add(self, piece: Piece) -> None:
        """Append what a step added. Raises: the error that broke the answer off."""
        if piece.error is not None:
            raise piece.error
        if piece.index:
            self.others[piece.index - 1].add(replace(piece, index=0))
            return
        self.n_cached_tokens = piece.n_cached_tokens
        self.text += piece.text
        self.token_ids += piece.token_ids
        self.logprobs += piece.logprobs
        self.finish_reason = piece.finish_reason


class LLM:
    """A model, ready to answer.

    Args:
        model: a checkpoint folder in the Hugging Face layout, or an id of the catalogue whose
            weights are on this machine.
        device: auto, cpu or cuda.
        weights: auto, float32, bfloat16, q8 or q4; on a GPU fp8 or int4, too.
        max_seq_len, kv_cache_bytes, block_size: see `EngineConfig`.
        prefix_cache: compute a beginning that prompts share only once.
        template: name of a chat template, where the checkpoint does not tell it.

    A GPU's memory may make less of what was asked for: a warning says so.

    Raises: ConfigError, ModelNotInstalled, CheckpointError, BackendUnavailable.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str = "auto",
        weights: str = "auto",
        max_seq_len: int | None = None,
        kv_cache_bytes: int | None = None,
        block_size: int = 16,
        prefix_cache: bool = True,
        template: str | None = None,
    ) -> None:
        config = _engine_config(max_seq_len, kv_cache_bytes, block_size, prefix_cache)
        folder, known_template = _find(model)
        self._set_up(
            load_engine(
                folder, device=device, weights=weights, config=config, on_note=warnings.warn
            ),
            template or known_template,
        )

    @classmethod
    def random(
        cls,
        preset_name: str,
        *,
        seed: int = 0,
        n_kv_heads: int | None = None,
        window: int | Literal["preset"] | None = "preset",
        device: str = "auto",
        weights: str = "auto",
        max_seq_len: int | None = None,
        kv_cache_bytes: int | None = None,
        block_size: int = 16,
        prefix_cache: bool = True,
    ) -> "LLM":
        """Build a model of a preset's shape with random weights; it reads and writes bytes.

        Args:
            preset_name: `mistral-7b`, `llama-2-7b`, `tinyllama-1.1b`, `breeze`, …
            n_kv_heads: in place of the preset's; must divide n_heads.
            window: in place of the preset's; None sees everything.

        Raises: ConfigError, BackendUnavailable.
        """
        shape = preset(preset_name)
        changes: dict[str, int | None] = {} if window == "preset" else {"window": window}
        if n_kv_heads is not None:
            changes["n_kv_heads"] = n_kv_heads
        try:
            shape = replace(shape, **changes)  # type: ignore[arg-type]
        except ValueError as error:
            raise ConfigError(str(error)) from error
        place = choose_device(device)
        config = _engine_config(max_seq_len, kv_cache_bytes, block_size, prefix_cache)
        form = weights_for(weights, shape, place, config, warnings.warn)
        network = random_model(shape, seed=seed, weights=form, device=place)
        config = config_for(network, config, warnings.warn)
        return cls.of(Engine(network, ByteTokenizer(vocab_size=shape.vocab_size), config))

    @classmethod
    def of(cls, engine: Engine, *, template: str | None = None) -> "LLM":
        """Answer with an engine that is ready; nobody else may step it.

        Args:
            template: name of the chat template that its model was tuned with.
        """
        llm = cls.__new__(cls)
        llm._set_up(engine, template)
        return llm

    def _set_up(self, engine: Engine, template: str | None) -> None:
        self.engine = engine
        self._template = template
        self._numbers = count()

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self.engine.tokenizer

    @property
    def template(self) -> str | None:
        """Name of the chat template; None if the model goes on with texts, and does not chat."""
        return self._template

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling: SamplingParams | Sequence[SamplingParams] | None = None,
    ) -> list[Output]:
        """Answer every prompt, all of them at once as far as memory allows.

        Args:
            prompts: texts (the BOS token is put in front; no template) or lists of token ids;
                one or several.
            sampling: one for all prompts, or one per prompt.

        Returns: one output per prompt, in their order.

        Raises: InvalidInput, PromptTooLong, before anything runs; ModelFault.
        """
        encoded = [self._encode(prompt) for prompt in _as_list(prompts)]
        samplings = _one_each(sampling, len(encoded))
        for token_ids, params in zip(encoded, samplings, strict=True):
            self.engine.limits.check(token_ids, params)
        requests = list(map(Request, self._new_ids(len(encoded)), encoded, samplings))
        outputs = {request.request_id: Output.of(request) for request in requests}
        try:
            for request in requests:
                self.engine.add(request)
            while self.engine.has_work:
                for piece in self.engine.step():
                    outputs[piece.request_id].add(piece)
        finally:
            self._abandon(outputs)
        return list(outputs.values())

    def stream(
        self,
        prompt: Prompt,
        sampling: SamplingParams | None = None,
        *,
        is_wanted: Callable[[], bool] | None = None,
    ) -> Iterator[Piece]:
        """Answer one prompt piece by piece; leaving the loop early aborts the answer.

        With n answers their pieces come in turn, and tell by `index` to which they belong.

        Args:
            is_wanted: asked before each step, of which a long prompt takes many without a piece;
                False aborts the answer.

        Raises: InvalidInput, PromptTooLong, ModelFault.
        """
        (request_id,) = self._new_ids(1)
        self.engine.add(Request(request_id, self._encode(prompt), sampling or SamplingParams()))
        try:
            while self.engine.has_work and (is_wanted is None or is_wanted()):
                for piece in self.engine.step():
                    if piece.error is not None:
                        raise piece.error
                    yield piece
        finally:
            self._abandon([request_id])

    def chat(
        self, messages: Sequence[Message | dict[str, str]], sampling: SamplingParams | None = None
    ) -> Output:
        """Answer a conversation, in the model's own chat template.

        Raises: InvalidInput if the model has no template, or the messages are not a conversation.
        """
        return self.generate([self.encode_chat(messages)], sampling)[0]

    def encode_chat(self, messages: Sequence[Message | dict[str, str]]) -> list[int]:
        """Token ids of a conversation in the model's own chat template, for `stream` to answer.

        Raises: InvalidInput if the model has no template, or the messages are not a conversation.
        """
        if self._template is None:
            raise InvalidInput("this model has no chat template: use generate, or name a template")
        turns = [m if isinstance(m, Message) else _message(m) for m in messages]
        return encode_messages(self.tokenizer, turns, self._template)

    def score(self, token_ids: Sequence[int]) -> list[float]:
        """Log-probability (nats) of each token after the first, given those before it.

        Raises: PromptTooLong; OutOfCapacity if the KV cache is too small.
        """
        return score(self.engine, token_ids)

    def _encode(self, prompt: Prompt) -> list[int]:
        if not isinstance(prompt, str):
            return list(prompt)
        return encode_prompt(self.tokenizer, prompt)

    def _new_ids(self, n: int) -> list[str]:
        return [f"llm-{next(self._numbers)}" for _ in range(n)]

    def _abandon(self, request_ids: Sequence[str] | dict[str, Output]) -> None:
        for request_id in request_ids:
            self.engine.abort(request_id)


def _engine_config(
    max_seq_len: int | None, kv_cache_bytes: int | None, block_size: int, prefix_cache: bool
) -> EngineConfig:
    return EngineConfig(
        max_seq_len=max_seq_len,
        kv_cache_bytes=kv_cache_bytes,
        block_size=block_size,
        prefix_cache=prefix_cache,
    )


def _find(model: str | Path) -> tuple[Path, str | None]:
    """Folder and template of a checkpoint folder or a catalogue id."""
    folder = Path(model)
    if isinstance(model, Path) or folder.is_dir():
        return folder, template_of(folder)
    catalog = Catalog(default_home() / "models", own_file=default_home() / "catalog.toml")
    try:
        entry = catalog.find(model)
    except UnknownModel:
        raise ConfigError(
            f"model must be a checkpoint folder or an id of the catalogue, got {model!r}"
        ) from None
    catalog.installed(entry)
    return entry.folder, entry.template


def _as_list(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    if isinstance(prompts, str):
        return [prompts]
    if prompts and isinstance(prompts[0], int):
        return [prompts]  # type: ignore[list-item]
    return list(prompts)  # type: ignore[arg-type]


def _one_each(
    sampling: SamplingParams | Sequence[SamplingParams] | None, n: int
) -> list[SamplingParams]:
    if sampling is None or isinstance(sampling, SamplingParams):
        return [sampling or SamplingParams()] * n
    if len(sampling) != n:
        raise InvalidInput(
            f"'/sampling' must have {n} entries, one per prompt; got {len(sampling)}"
        )
    return list(sampling)


def _message(raw: dict[str, str]) -> Message:
    try:
        return Message(role=raw["role"], content=raw["content"])  # type: ignore[arg-type]
    except KeyError as missing:
        raise InvalidInput(f"a message has no {missing.args[0]!r}") from missing
