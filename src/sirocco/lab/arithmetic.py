"""What fewer KV heads can bring if memory traffic is all that counts.

A decode step reads every weight once and the keys and values of every sequence in it. So at equal
batch the gain is (W + B · kv) / (W′ + B · kv′), where W are the bytes of the weights and kv those
of a sequence's keys and values; at equal memory each network has the largest batch that fits.
Arithmetic units, caches and the rest of the engine are left out: what is measured falls short of
this where they matter.
"""

from sirocco.plan.needs import Needs


def step_bytes(needs: Needs, batch: int, context: int) -> float:
    """Bytes that one decode step of `batch` sequences reads at the end of `context` tokens."""
    return needs.step_bytes + batch * needs.kv_bytes(context)


def equal_batch_gain(base: Needs, other: Needs, *, batch: int, context: int) -> float:
    """How many times as many tokens a second `other` gives as `base`, with the same batch."""
    return step_bytes(base, batch, context) / step_bytes(other, batch, context)


def equal_memory_gain(
    base: Needs, other: Needs, *, base_batch: int, other_batch: int, context: int
) -> float:
    """Compare likewise where each has its own batch: the sequences that fit into one memory."""
    per_token = step_bytes(base, base_batch, context) / base_batch
    return per_token / (step_bytes(other, other_batch, context) / other_batch)


def largest_batch(needs: Needs, kv_memory_bytes: float, context: int) -> int:
    """Sequences of `context` tokens whose keys and values fit into this memory."""
    return int(kv_memory_bytes // needs.kv_bytes(context))
