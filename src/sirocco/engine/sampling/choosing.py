"""What each sequence of a step takes of its logits: one token, or as many as were guessed right."""

from collections.abc import Sequence as Run
from dataclasses import replace
from itertools import islice

from torch import Tensor

from sirocco.engine.sampling.sampler import Choice, Row, sample
from sirocco.engine.scheduling.scheduler import Chunk
from sirocco.errors import ModelFault


def choose(chunks: Run[Chunk], logits: Tensor) -> list[list[Choice]]:
    """Choose the tokens that follow each chunk.

    Args:
        chunks: those of a plan that sample.
        logits: [R, V] float32, as `ModelRunner.run` returns them.

    Returns: for each chunk at least one choice; if it has no token, it says why, and is alone.
    """
    rows: list[Row] = []
    faults: dict[int, ModelFault] = {}
    for index, chunk in enumerate(chunks):
        try:
            rows += _rows(chunk)
        except ModelFault as fault:
            faults[index] = fault
            rows.append(_row(chunk))
    choices = iter(sample(logits, rows) if rows else ())
    kept = [_kept(chunk, list(islice(choices, 1 + len(chunk.guesses)))) for chunk in chunks]
    for index, reason in faults.items():
        kept[index] = [Choice(None, fault=reason)]
    return kept


def _rows(chunk: Chunk) -> list[Row]:
    """Say what each choice depends on: that of a guess's follower on the guess, too.

    Raises: ModelFault if the answer's grammar cannot be followed further.
    """
    seq, row = chunk.seq, _row(chunk)
    if seq.grammar is not None:
        return [replace(row, allowed=seq.grammar.allowed())]
    return [row] + [
        replace(row, token_ids=[*seq.token_ids, *chunk.guesses[:n]])
        for n in range(1, 1 + len(chunk.guesses))
    ]


def _row(chunk: Chunk) -> Row:
    seq = chunk.seq
    return Row(seq.sampling, seq.seed, seq.token_ids, seq.n_prompt_tokens, seq.counts)


def _kept(chunk: Chunk, choices: Run[Choice]) -> list[Choice]:
    """Keep the choices up to the first that its guess did not foresee, and that one."""
    kept = [choices[0]]
    for guess, following in zip(chunk.guesses, choices[1:], strict=True):
        if kept[-1].token_id != guess or following.token_id is None:
            break
        kept.append(following)
    return kept
