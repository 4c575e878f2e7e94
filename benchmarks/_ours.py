"""Sirocco in a process of its own, behind the same questions as `_peer.py`.

Everything goes through `LLM` and its engine's steps: scheduling, the forward pass, sampling and
text are all inside the measured seconds. Tokens are chosen greedily.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import tokenizers
import torch
from _child import answer, timed

from sirocco import LLM, SamplingParams, native
from sirocco.engine.engine import Engine
from sirocco.engine.request import Request
from sirocco.model.weights import save_quantized


class Ours:
    """One loaded model; at most one group of sequences at a time."""

    def __init__(self) -> None:
        self.llm: LLM
        self.sequences: dict[str, list[str]] = {}
        self.n_written: dict[str, int] = {}
        self.n_steps = self.n_prompts = 0

    def write_checkpoint(self, preset: str, weights: str, folder: str) -> dict[str, Any]:
        """Write random weights of the preset's shape, rounded, and the smallest vocabulary."""
        model = LLM.random(preset, weights=weights, max_seq_len=32).engine.model
        part = Path(folder).with_suffix(".part")
        save_quantized(model, part)
        words = ["<unk>", "<s>", "</s>"] + [f"w{i}" for i in range(3, model.config.vocab_size)]
        vocabulary = tokenizers.Tokenizer(
            tokenizers.models.BPE({word: i for i, word in enumerate(words)}, [])
        )
        vocabulary.add_special_tokens(words[:3])
        vocabulary.save(str(part / "tokenizer.json"))
        part.rename(folder)
        return {}

    def load(
        self, checkpoint: str, n_threads: int, max_seq_len: int, kv_cache_bytes: int, n_guesses: int
    ) -> dict[str, Any]:
        """Load a quantised folder; what the text itself suggests is not guessed by default."""
        torch.set_num_threads(n_threads)
        native.set_n_threads(n_threads)
        self.llm = LLM(checkpoint, max_seq_len=max_seq_len, kv_cache_bytes=kv_cache_bytes)
        engine = self.llm.engine
        config = replace(engine.config, n_guesses=n_guesses)
        self.llm.engine = Engine(engine.model, engine.tokenizer, config)
        return {"isas": native.isas(), "shape": asdict(engine.model.config)}

    def open(self, name: str, n_sequences: int, context: int) -> dict[str, Any]:
        """Read `context` tokens into each of the sequences, until each has written a token."""
        prompts = [self._new_prompt(context) for _ in range(n_sequences)]
        ids = self.sequences[name] = [f"{name}-{n}" for n in range(n_sequences)]
        self.n_written = dict.fromkeys(ids, 0)
        sampling = SamplingParams(
            max_tokens=self.llm.engine.limit_tokens - context, temperature=0, ignore_eos=True
        )
        for request_id, prompt in zip(ids, prompts, strict=True):
            self.llm.engine.add(Request(request_id, prompt, sampling))
        return timed(self._until_all_write)

    def advance(self, name: str, n_tokens: int) -> dict[str, Any]:
        """Take steps until each sequence has `n_tokens` more on average."""
        before, steps_before = self._n_tokens(), self.n_steps
        taken = timed(lambda: self._until(before + n_tokens * len(self.sequences[name])))
        n_more, n_steps = self._n_tokens() - before, self.n_steps - steps_before
        return {**taken, "n_tokens": n_more, "tokens_per_step": n_more / n_steps}

    def read_again(self, name: str, n_tokens: int) -> dict[str, Any]:
        """Forget what was read and read a prompt of `n_tokens` up to its first output token."""
        self.close(name)
        return {**self.open(name, 1, n_tokens), "n_tokens": n_tokens}

    def close(self, name: str) -> dict[str, Any]:
        """End the answers."""
        for request_id in self.sequences.pop(name, []):
            self.llm.engine.abort(request_id)
        return {}

    def _new_prompt(self, n_tokens: int) -> list[int]:
        """Make one that shares no prefix with those before: nothing is to be found in a cache."""
        self.n_prompts += 1
        return [3 + (7 * i + self.n_prompts) % 1000 for i in range(n_tokens)]

    def _n_tokens(self) -> int:
        return sum(self.n_written.values())

    def _until_all_write(self) -> None:
        while not all(self.n_written.values()):
            self._step()

    def _until(self, n_tokens: int) -> None:
        while self._n_tokens() < n_tokens:
            self._step()

    def _step(self) -> None:
        pieces = self.llm.engine.step()
        assert pieces or self.llm.engine.has_work, "the answers ended too early"
        self.n_steps += 1
        for piece in pieces:
            if piece.error is not None:
                raise piece.error
            self.n_written[piece.request_id] += len(piece.token_ids)


if __name__ == "__main__":
    ours = Ours()
    names = ("write_checkpoint", "load", "open", "advance", "read_again", "close")
    answer({name: getattr(ours, name) for name in names})
