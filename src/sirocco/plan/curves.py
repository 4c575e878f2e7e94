"""Plans over a range: what a longer context or a larger batch does to each kind of attention."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from sirocco.plan.hardware import Hardware
from sirocco.plan.planning import Question, decode_step, kinds_of_attention, largest_batch, plan

Point = Mapping[str, float | int | None]
Curves = Mapping[str, list[Point]]
"""By the name of the kind of attention."""

_FIRST_CONTEXT = 128


def over_batches(question: Question, hardware: Hardware) -> Curves:
    """Tokens per second by batch at this context: the same batches for all, None past memory."""
    most = {name: largest_batch(asked, hardware) for name, asked in _kinds(question)}
    batches = sorted({*_doubled(1, max(most.values())), *most.values()} - {0})
    return {
        name: [_at_batch(asked, hardware, batch, fits=batch <= most[name]) for batch in batches]
        for name, asked in _kinds(question)
    }


def over_contexts(question: Question, hardware: Hardware) -> Curves:
    """Largest batch, its tokens per second, and those of one sequence alone, by context."""
    limit = question.shape.max_seq_len
    return {
        name: [
            _at_context(replace(asked, context=context, batch=None), hardware)
            for context in _doubled(min(_FIRST_CONTEXT, limit), limit)
        ]
        for name, asked in _kinds(question)
    }


def _at_batch(question: Question, hardware: Hardware, batch: int, *, fits: bool) -> Point:
    step = decode_step(question, hardware, batch) if fits else None
    return {"batch": batch, "tokens_per_s": step.tokens_per_s if step else None}


def _at_context(question: Question, hardware: Hardware) -> Point:
    made = plan(question, hardware)
    return {
        "context": question.context,
        "kv_bytes_per_sequence": made.kv_bytes_per_sequence,
        "largest_batch": made.largest_batch,
        "single_tokens_per_s": made.single.tokens_per_s if made.single else None,
        "tokens_per_s": made.step.tokens_per_s if made.step else None,
    }


def _kinds(question: Question) -> Iterator[tuple[str, Question]]:
    for name, n_kv_heads in kinds_of_attention(question.shape):
        yield name, question.with_kv_heads(n_kv_heads)


def _doubled(first: int, last: int) -> Iterator[int]:
    """Yield first, twice that, … and last; nothing if last is less."""
    n = first
    while n < last:
        yield n
        n *= 2
    if last >= first:
        yield last
