"""One answer at the terminal: how it is asked for, shown piece by piece, stopped and measured."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from sirocco.types import FinishReason

if TYPE_CHECKING:
    from sirocco.llm import LLM
    from sirocco.types import SamplingParams

System = Annotated[
    str | None, typer.Option(help="What the model is told before all else (default: its own).")
]
MaxTokens = Annotated[int, typer.Option(help="Output tokens of an answer at most.")]
Temperature = Annotated[float, typer.Option(help="0 takes the likeliest token; up to 5.")]
TopP = Annotated[
    float, typer.Option(help="Keep the likeliest tokens whose probabilities add up to this.")
]
TopK = Annotated[int, typer.Option(help="Keep as many of the likeliest tokens; 0 keeps all.")]
MinP = Annotated[float, typer.Option(help="Drop tokens less likely than this times the likeliest.")]
Seed = Annotated[int | None, typer.Option(help="The same seed gives the same answer.")]
RepetitionPenalty = Annotated[
    float, typer.Option(help="Make tokens that were there less likely; 1 does nothing.")
]
Stop = Annotated[
    list[str] | None, typer.Option(help="End before this text; may be given many times.")
]

# Control characters are shown, not obeyed: a model may write what a terminal takes for orders.
_SHOWN: dict[int, int | str] = {
    **{code: 0x2400 + code for code in range(0x20)},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
    ord("\n"): "\n",
    ord("\t"): "\t",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a prompt.

    Attributes:
        finish_reason: ABORT if it was stopped.
        n_cached_tokens: of the prompt's, whose keys and values were there already.
        ttft_s, duration_s: seconds to the first token, and to the end; ttft_s is None without one.
    """

    text: str
    finish_reason: FinishReason
    n_prompt_tokens: int
    n_cached_tokens: int
    n_output_tokens: int
    ttft_s: float | None
    duration_s: float

    @property
    def tokens_per_s(self) -> float | None:
        """Output tokens after the first, by the second; None if there are none."""
        if self.ttft_s is None or self.n_output_tokens < 2 or self.duration_s <= self.ttft_s:
            return None
        return (self.n_output_tokens - 1) / (self.duration_s - self.ttft_s)

    def line(self) -> str:
        """Tell a person what it took."""
        cached = f" ({self.n_cached_tokens} cached)" if self.n_cached_tokens else ""
        parts = [f"{self.n_prompt_tokens}{cached} + {self.n_output_tokens} tokens"]
        if self.ttft_s is not None:
            parts.append(f"{self.ttft_s:.2f} s to the first")
        if self.tokens_per_s is not None:
            parts.append(f"{self.tokens_per_s:,.0f} tokens/s")
        if self.finish_reason is FinishReason.LENGTH:
            parts.append("cut off by the limit of tokens")
        if self.finish_reason is FinishReason.ABORT:
            parts.append("stopped")
        return ", ".join(parts)


def answer(
    llm: "LLM",
    token_ids: Sequence[int],
    sampling: "SamplingParams",
    *,
    show: Callable[[str], None],
    is_wanted: Callable[[], bool] | None = None,
) -> Answer:
    """Answer a prompt.

    Args:
        show: told each piece of text as it is made.
        is_wanted: asked before each step of the engine; False stops the answer.

    Raises: InvalidInput, PromptTooLong, ModelFault.
    """
    from sirocco.llm import Output  # noqa: PLC0415 - torch is slow to import

    output = Output(n_prompt_tokens=len(token_ids))
    began_s, ttft_s = time.perf_counter(), None
    for piece in llm.stream(token_ids, sampling, is_wanted=is_wanted):
        if ttft_s is None:
            ttft_s = time.perf_counter() - began_s
        output.add(piece)
        show(piece.text)
    return Answer(
        text=output.text,
        finish_reason=output.finish_reason or FinishReason.ABORT,
        n_prompt_tokens=len(token_ids),
        n_cached_tokens=output.n_cached_tokens,
        n_output_tokens=len(output.token_ids),
        ttft_s=ttft_s,
        duration_s=time.perf_counter() - began_s,
    )


def writer(stream: TextIO) -> Callable[[str], None]:
    """Give a function that writes text at once, to a terminal without its control characters."""
    is_terminal = stream.isatty()

    def write(text: str) -> None:
        stream.write(text.translate(_SHOWN) if is_terminal else text)
        stream.flush()

    return write


@contextmanager
def stopped_by_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Give the question whether an answer is still wanted; within, Ctrl-C makes it False.

    An exception could come in the middle of a step and leave the engine's books wrong, so the
    first Ctrl-C is only noted. A second one interrupts, whatever is half done.
    """
    is_wanted = True

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal is_wanted
        if not is_wanted:
            raise KeyboardInterrupt
        is_wanted = False

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: is_wanted
    finally:
        signal.signal(signal.SIGINT, before)
