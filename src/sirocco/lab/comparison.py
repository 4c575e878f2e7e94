"""Variants against multi-head attention in decode: measured, and by the bytes alone."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

from sirocco.kvcache.format import KV_FORMATS
from sirocco.lab.arithmetic import equal_batch_gain, equal_memory_gain
from sirocco.lab.decode import DecodeBench, StepTime
from sirocco.lab.kept import Kept, Result
from sirocco.lab.learning import OnStep
from sirocco.lab.size import DecodeSize
from sirocco.lab.variants import Variant
from sirocco.plan.needs import Needs

CLOSE = 3.5
"""What counts as "close to 4 times"."""

GROUP = 4
"""Query heads that share a KV head in Mistral 7B, for which "close to 4 times" was said."""


@dataclass(frozen=True, slots=True)
class Gain:
    """A variant's tokens a second over multi-head attention's.

    Attributes:
        time: the variant's step.
        group_size: query heads that share a KV head.
        measured: here.
        by_bytes: if nothing but memory traffic counted.
    """

    time: StepTime
    group_size: int
    measured: float
    by_bytes: float

    @property
    def is_close_to_4(self) -> bool:
        """Whether it is a group of four that reaches what was said of it."""
        return self.group_size == GROUP and self.measured >= CLOSE


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both ways to compare.

    Attributes:
        weights: format of the weights.
        kv_bytes_per_token: by variant, all layers.
        equal_batch, equal_memory: for every variant and context, multi-head attention included.
    """

    weights: str
    kv_cache_bytes: int
    kv_bytes_per_token: dict[str, int]
    equal_batch: tuple[Gain, ...]
    equal_memory: tuple[Gain, ...]


def compare_decode(
    variants: Sequence[Variant],
    size: DecodeSize,
    *,
    kept: Kept,
    on_step: OnStep = lambda: None,
) -> Comparison:
    """Time every variant over the contexts: with one batch for all, and with its own largest.

    The batch for all is what multi-head attention fits in at the longest context.
    """
    same: list[StepTime] = []
    largest: list[StepTime] = []
    per_token: dict[str, int] = {}
    needs: dict[str, Needs] = {}
    for variant in variants:
        common = same[0].batch if same else None
        result = kept.part(
            f"decode-{variant.name}", partial(_timed, variant, size, common, on_step),
            n_steps=len(size.contexts), on_step=on_step,
        )  # fmt: skip
        same += [StepTime(**time) for time in result["same"]]
        largest += [StepTime(**time) for time in result["largest"]]
        weights, kv_format = result["weights"], KV_FORMATS[result["kv_format"]]
        per_token[variant.name] = result["kv_bytes_per_token"]
        needs[variant.name] = Needs(variant.shape, weights, kv_format)
    return Comparison(
        weights, size.kv_cache_bytes, per_token, _gains(same, needs), _gains(largest, needs)
    )


def _timed(variant: Variant, size: DecodeSize, common: int | None, on_step: OnStep) -> Result:
    """Time one variant; the first, multi-head attention, sets the batch that all have in common."""
    bench = DecodeBench(variant, kv_cache_bytes=size.kv_cache_bytes, n_runs=size.n_runs)
    common_batch = common or bench.largest_batch(max(size.contexts))
    same, largest = [], []
    for context in size.contexts:
        batch = bench.largest_batch(context)
        same.append(bench.measure(context, common_batch))
        is_same = batch == common_batch
        largest.append(same[-1] if is_same else bench.measure(context, batch))
        on_step()
    return {
        "weights": bench.weights,
        "kv_format": bench.engine.runner.kv_format.name,
        "kv_bytes_per_token": int(bench.kv_bytes_per_token),
        "same": [asdict(time) for time in same],
        "largest": [asdict(time) for time in largest],
    }


def _gains(times: Sequence[StepTime], needs: dict[str, Needs]) -> tuple[Gain, ...]:
    """Compare each with multi-head attention, which comes first, in the same context."""
    base = {time.context: time for time in times if time.variant == times[0].variant}
    return tuple(_gain(time, base[time.context], needs) for time in times)


def _gain(time: StepTime, base: StepTime, needs: dict[str, Needs]) -> Gain:
    ours, theirs = needs[time.variant], needs[base.variant]
    if time.batch == base.batch:
        by_bytes = equal_batch_gain(theirs, ours, batch=time.batch, context=time.context)
    else:
        by_bytes = equal_memory_gain(
            theirs, ours, base_batch=base.batch, other_batch=time.batch, context=time.context
        )
    return Gain(time, ours.shape.group_size, time.tokens_per_s / base.tokens_per_s, by_bytes)
