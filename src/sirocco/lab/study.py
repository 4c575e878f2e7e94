"""The whole study, from texts to figures."""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from sirocco.lab.comparison import Comparison, compare_decode
from sirocco.lab.conversion import ConversionStudy, study_conversion, up_training
from sirocco.lab.decode import StepTime
from sirocco.lab.machine import Machine, this_machine
from sirocco.lab.quality import Trained, excess, lesson_of, steps_that_fit, train_variants
from sirocco.lab.size import LabSize, QualitySize
from sirocco.lab.texts import Texts, read_texts
from sirocco.lab.variants import Variant, variants_of
from sirocco.lab.window import LossByPosition, WindowStudy, losses_by_position, time_window
from sirocco.native.linear import GROUP

Tell = Callable[[str, int], Callable[[], None]]
"""Is told what begins and how many steps it has; what it returns is called after each."""


@dataclass(frozen=True, slots=True)
class Study:
    """Everything that was trained and timed.

    Attributes:
        name: of the size.
        texts, n_learnt_tokens: what was read, and how many different tokens it has.
        n_tokens: that each model learnt from, some of them several times.
        steps: of each training.
        wall_s, cpu_s: what the study took.
    """

    name: str
    machine: Machine
    texts: str
    n_learnt_tokens: int
    steps: int
    n_tokens: int
    trained: tuple[Trained, ...]
    comparison: Comparison
    conversion: ConversionStudy
    window: WindowStudy
    wall_s: float
    cpu_s: float

    def to_json(self) -> dict[str, Any]:
        """Give all figures as JSON objects, with the post's table in front."""
        return {"table": [asdict(row) for row in self.table()], **asdict(self)}

    def table(self) -> list["TableRow"]:
        """Sum up: KV heads, memory, quality and speed of each variant."""
        longest = {g.time.variant: g for g in self.comparison.equal_memory}
        per_token = self.comparison.kv_bytes_per_token
        return [
            TableRow(
                t.variant, t.n_kv_heads, per_token[t.variant], round(t.loss, 4),
                round(t.spread, 4), round(excess(t, self.trained[0])[0], 4),
                round(longest[t.variant].time.tokens_per_s, 1),
                round(longest[t.variant].measured, 2),
            )
            for t in self.trained
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class TableRow:
    """A line of the post's table, with numbers.

    Attributes:
        kv_bytes_per_token: of the network that is timed.
        loss, loss_spread, loss_over_mha: of the one that is trained; mean over the seeds,
            largest minus smallest, mean difference seed by seed.
        tokens_per_s, gain: decode at the longest context, in equal memory.
    """

    variant: str
    n_kv_heads: int
    kv_bytes_per_token: int
    loss: float
    loss_spread: float
    loss_over_mha: float
    tokens_per_s: float
    gain: float


def run_study(
    size: LabSize, *, data: Path | None = None, steps: int | None = None, tell: Tell
) -> Study:
    """Run everything; models and vocabulary lie in a folder that is gone afterwards.

    Args:
        data: a folder of texts; None reads the text in the package.
        steps: of each training; None takes those that the size's time allows for here.

    Raises: ConfigError if the texts cannot be read or are too short.
    """
    started, cpu_started = perf_counter(), process_time()
    with tempfile.TemporaryDirectory(prefix="sirocco-lab-") as folder:
        texts = read_texts(data, vocab_size=size.quality.shape.vocab_size, work=Path(folder))
        machine = this_machine()
        comparison, window_times = _time(size, tell)
        school = _School.open(size.quality, texts, Path(folder), steps, tell)
        trained = school.train()
        conversion = school.convert(trained)
        by_position = school.look_back()
    return Study(
        name=size.name,
        machine=machine,
        texts=texts.name,
        n_learnt_tokens=texts.n_tokens,
        steps=school.steps,
        n_tokens=lesson_of(size.quality, school.steps).n_tokens,
        trained=tuple(trained),
        comparison=comparison,
        conversion=conversion,
        window=WindowStudy(tuple(window_times), size.quality.seq_len, tuple(by_position)),
        wall_s=perf_counter() - started,
        cpu_s=process_time() - cpu_started,
    )


def write_json(study: Study, file: Path) -> None:
    """Write all figures."""
    file.write_text(json.dumps(study.to_json(), indent=1) + "\n", encoding="utf-8")


def _time(size: LabSize, tell: Tell) -> tuple[Comparison, list[StepTime]]:
    """Time decode of all variants, and of one with and without a window."""
    # Rows of w2 are hidden_dim long, and 8-bit weights are rounded in groups.
    variants = variants_of(size.decode.shape, multiple_of=GROUP)
    n_contexts = len(size.decode.contexts)
    comparison = compare_decode(
        variants, size.decode, on_step=tell("timing decode", len(variants) * n_contexts)
    )
    on_step = tell("timing a window", 2 * n_contexts)
    return comparison, time_window(_grouped(variants), size.decode, on_step=on_step)


def _grouped(variants: Sequence[Variant]) -> Variant:
    """Choose the one with Mistral 7B's group of four, or the nearest to it."""
    return min(variants, key=lambda variant: abs(variant.shape.group_size - 4))


@dataclass(frozen=True, slots=True)
class _School:
    """Everything that learns, with what all of it shares."""

    size: QualitySize
    texts: Texts
    work: Path
    steps: int
    tell: Tell
    variants: Sequence[Variant]

    @classmethod
    def open(
        cls, size: QualitySize, texts: Texts, work: Path, steps: int | None, tell: Tell
    ) -> "_School":
        """Count the steps that fit into the time, if none are given."""
        variants = variants_of(size.shape)
        steps = steps or steps_that_fit(size, texts, variants[0])
        return cls(size, texts, work, steps, tell, variants)

    def train(self) -> list[Trained]:
        """Train all variants with all seeds."""
        n_steps = len(self.variants) * self.size.n_seeds * self.steps
        return train_variants(
            self.variants, self.size, self.texts, steps=self.steps, work=self.work,
            on_step=self.tell("training", n_steps),
        )  # fmt: skip

    def convert(self, trained: Sequence[Trained]) -> ConversionStudy:
        """Pool the heads of the first, and train on."""
        n_steps = len(trained) * up_training(self.size, self.steps).steps
        return study_conversion(
            trained, self.size, self.texts, steps=self.steps, work=self.work,
            on_step=self.tell("converting", n_steps),
        )  # fmt: skip

    def look_back(self) -> list[LossByPosition]:
        """Train one more with a window, and see how far models remember."""
        return losses_by_position(
            _grouped(self.variants), self.size, self.texts, steps=self.steps, work=self.work,
            on_step=self.tell("training with a window", self.steps),
        )  # fmt: skip
