"""The whole study, from texts to figures."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sirocco.lab.comparison import Comparison, compare_decode
from sirocco.lab.conversion import ConversionStudy, study_conversion, up_training
from sirocco.lab.decode import StepTime
from sirocco.lab.kept import Kept, Result
from sirocco.lab.machine import Machine, this_machine
from sirocco.lab.quality import Trained, excess, lesson_of, steps_that_fit, train_variants
from sirocco.lab.size import LabSize
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
        wall_s, cpu_s: what the study's parts took together.
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


class Work:
    """A study while it is made, in two halves; what is done of either is not done again.

    Args:
        folder: keeps the finished parts, the models and the vocabulary.
        data: a folder of texts; None reads the text in the package.
        steps: of each training; None takes those that the size's time allows for here.

    Raises: ConfigError if the folder has parts of a study with other settings.
    """

    def __init__(
        self, size: LabSize, folder: Path, *, data: Path | None = None, steps: int | None = None,
        tell: Tell,
    ) -> None:  # fmt: skip
        settings = {
            "size": size.name,
            "quality": asdict(size.quality),
            "contexts": size.decode.contexts,
            "data": None if data is None else str(data.resolve()),
            "steps": steps,
        }
        self._kept = Kept(folder, settings)
        self._size, self._data, self._asked_steps, self._tell = size, data, steps, tell

    def train(self) -> "Learnt":
        """Train everything. Raises: ConfigError if the texts cannot be read or are too short."""
        size, kept, tell = self._size.quality, self._kept, self._tell
        texts = read_texts(self._data, vocab_size=size.shape.vocab_size, work=kept.folder)
        variants = variants_of(size.shape)

        def count_steps() -> Result:
            return {"steps": self._asked_steps or steps_that_fit(size, texts, variants[0])}

        steps: int = kept.part("steps", count_steps)["steps"]
        n_steps = len(variants) * size.n_seeds * steps
        trained = train_variants(
            variants, size, texts, steps=steps, kept=kept, on_step=tell("training", n_steps)
        )
        n_steps = len(variants) * up_training(size, steps).steps
        conversion = study_conversion(
            trained, size, texts, steps=steps, kept=kept, on_step=tell("converting", n_steps)
        )
        by_position = losses_by_position(
            _grouped(variants), size, texts, steps=steps, kept=kept,
            on_step=tell("training with a window", size.n_seeds * steps),
        )  # fmt: skip
        return Learnt(texts, steps, tuple(trained), conversion, tuple(by_position))

    def measure(self) -> "Measured":
        """Time decode of all variants, and of one with and without a window."""
        # The free memory is another one when a study goes on, and its cache is to be the same.
        kv_cache_bytes = self._size.decode.kv_cache_bytes
        found = self._kept.part("memory", lambda: {"kv_cache_bytes": kv_cache_bytes})
        size = replace(self._size.decode, **found)
        machine = Machine(**self._kept.part("machine", lambda: asdict(this_machine())))
        # Rows of w2 are hidden_dim long, and 8-bit weights are rounded in groups.
        variants = variants_of(size.shape, multiple_of=GROUP)
        n_contexts = len(size.contexts)
        comparison = compare_decode(
            variants, size, kept=self._kept,
            on_step=self._tell("timing decode", len(variants) * n_contexts),
        )  # fmt: skip
        window = time_window(
            _grouped(variants), size, kept=self._kept,
            on_step=self._tell("timing a window", 2 * n_contexts),
        )  # fmt: skip
        return Measured(machine, comparison, tuple(window))

    def study(self) -> Study:
        """Do what is left of both halves, and put them together."""
        measured, learnt = self.measure(), self.train()
        wall_s, cpu_s = self._kept.seconds()
        quality = self._size.quality
        return Study(
            name=self._size.name,
            machine=measured.machine,
            texts=learnt.texts.name,
            n_learnt_tokens=learnt.texts.n_tokens,
            steps=learnt.steps,
            n_tokens=lesson_of(quality, learnt.steps).n_tokens,
            trained=learnt.trained,
            comparison=measured.comparison,
            conversion=learnt.conversion,
            window=WindowStudy(measured.window, quality.seq_len, learnt.by_position),
            wall_s=wall_s,
            cpu_s=cpu_s,
        )


@dataclass(frozen=True, slots=True)
class Learnt:
    """The half that is trained."""

    texts: Texts
    steps: int
    trained: tuple[Trained, ...]
    conversion: ConversionStudy
    by_position: tuple[LossByPosition, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """The half that is timed."""

    machine: Machine
    comparison: Comparison
    window: tuple[StepTime, ...]


def write_json(study: Study, file: Path) -> None:
    """Write all figures."""
    file.write_text(json.dumps(study.to_json(), indent=1) + "\n", encoding="utf-8")


def _grouped(variants: Sequence[Variant]) -> Variant:
    """Choose the one with Mistral 7B's group of four, or the nearest to it."""
    return min(variants, key=lambda variant: abs(variant.shape.group_size - 4))
