"""The messages of a conversation, as far back as the model can hold them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sirocco.errors import PromptTooLong
from sirocco.types import Message

if TYPE_CHECKING:
    from sirocco.llm import LLM


@dataclass(slots=True)
class Conversation:
    """What was said.

    Attributes:
        system: what the model is told before all else; None is nothing.
        turns: messages of the user and the assistant by turns, the oldest first.
    """

    llm: "LLM"
    system: str | None = None
    turns: list[Message] = field(default_factory=list)

    def ask(self, text: str, *, max_tokens: int) -> tuple[list[int], int]:
        """Add a question; the oldest questions go, with their answers, if not all fit.

        Args:
            max_tokens: room that is kept for the answer, if the question leaves it.

        Returns: token ids for the model to answer; how many messages were left out for good.
        Raises: PromptTooLong if the question alone does not fit; nothing has changed then.
        """
        limit_tokens = self.llm.engine.limit_tokens
        turns = [*self.turns, Message("user", text)]
        token_ids = self._token_ids(turns)
        while len(token_ids) + max_tokens > limit_tokens and len(turns) > 2:
            turns = turns[2:]
            token_ids = self._token_ids(turns)
        if len(token_ids) >= limit_tokens:
            raise PromptTooLong(len(token_ids), max_tokens, limit_tokens)
        n_left_out = len(self.turns) + 1 - len(turns)
        self.turns = turns
        return token_ids, n_left_out

    def answered(self, text: str) -> None:
        """Add the answer to the last question; without any text the question is taken back."""
        if text:
            self.turns.append(Message("assistant", text))
        else:
            self.turns.pop()

    def _token_ids(self, turns: Sequence[Message]) -> list[int]:
        before = [Message("system", self.system)] if self.system else []
        return self.llm.encode_chat([*before, *turns])
