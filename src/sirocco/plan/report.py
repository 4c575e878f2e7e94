"""A plan as a flat row of figures, for tables, JSON and the page."""

from collections.abc import Mapping

from sirocco.plan.hardware import Hardware
from sirocco.plan.planning import Plan, Question, kinds_of_attention, plan

Row = Mapping[str, float | int | str | None]


def compared(question: Question, hardware: Hardware) -> list[Row]:
    """Plan the network as it is, and as MHA, GQA and MQA: one row each.

    Raises: ConfigError if the machine cannot multiply weights of this format.
    """
    own = question.shape.n_kv_heads
    return [
        row(name, plan(question.with_kv_heads(n), hardware), is_this_model=n == own)
        for name, n in kinds_of_attention(question.shape)
    ]


def row(name: str, made: Plan, *, is_this_model: bool) -> Row:
    """Write a plan as numbers; None where it does not fit, or nobody named a price."""
    single, step = made.single, made.step
    return {
        "attention": name,
        "is_this_model": is_this_model,
        "kv_heads": made.question.shape.n_kv_heads,
        "weights_bytes": round(made.weights_bytes),
        "kv_bytes_per_token": made.kv_bytes_per_token,
        "kv_bytes_per_sequence": made.kv_bytes_per_sequence,
        "largest_batch": made.largest_batch,
        "single_tokens_per_s": single.tokens_per_s if single else None,
        "batch": step.batch if step else None,
        "tokens_per_s": step.tokens_per_s if step else None,
        "weights_ms": 1e3 * step.weights_s if step else None,
        "attention_ms": 1e3 * step.attention_s if step else None,
        "rest_ms": 1e3 * step.rest_s if step else None,
        "prompt_tokens_per_s": made.prompt_tokens_per_s,
        "usd_per_million_tokens": made.usd_per_million_tokens,
    }
