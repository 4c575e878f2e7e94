"""`sirocco convert`: a checkpoint with fewer KV heads."""

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from sirocco.cli.checkpoints import check_new, copy_beside_weights
from sirocco.cli.output import AsJson
from sirocco.errors import ConfigError

if TYPE_CHECKING:
    from sirocco.lab.up_training import UpTrained


def convert(
    checkpoint: Annotated[
        Path, typer.Argument(file_okay=False, help="Folder of safetensors, not quantised.")
    ],
    out: Annotated[Path, typer.Argument(file_okay=False, help="Folder to write; must be new.")],
    n_kv_heads: Annotated[
        int, typer.Option(help="KV heads it shall have: a divisor of those it has; 1 is MQA.")
    ],
    up_train: Annotated[
        Path | None,
        typer.Option(exists=True, help="Folder of .txt and .jsonl texts to train on afterwards."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps of that: about a twentieth of the first training's."),
    ] = None,
    peak_lr: Annotated[
        float, typer.Option(min=0.0, help="Highest learning rate: half of the first training's.")
    ] = 1e-3,
    as_json: AsJson = False,
) -> None:
    """Give a checkpoint fewer KV heads, each the mean of its neighbours (arXiv 2305.13245).

    MHA becomes GQA or MQA: less memory for each token, and faster decode of long texts. Without
    up-training the model gets worse; a few per cent of its first steps make up for most of that.
    """
    from sirocco.model.pooling import pool_checkpoint  # noqa: PLC0415 - torch is slow to import

    if (up_train is None) != (steps is None):
        raise ConfigError("--up-train and --steps belong together: name both, or neither")
    check_new(out)
    result: dict[str, Any] = {"checkpoint": str(out), "n_kv_heads": n_kv_heads}
    if up_train is None or steps is None:
        pool_checkpoint(checkpoint, out, n_kv_heads)
        copy_beside_weights(checkpoint, out)
    else:
        with tempfile.TemporaryDirectory(prefix="sirocco-convert-") as folder:
            pool_checkpoint(checkpoint, Path(folder), n_kv_heads)
            copy_beside_weights(checkpoint, Path(folder))
            losses = _train_on(Path(folder), out, up_train, steps, peak_lr, quiet=as_json)
            copy_beside_weights(checkpoint, out)
        result |= {"steps": steps, "loss_before": losses.before, "loss_after": losses.after}
    print(json.dumps(result) if as_json else _sentence(result))


def _train_on(
    folder: Path, out: Path, data: Path, steps: int, peak_lr: float, *, quiet: bool
) -> "UpTrained":
    from sirocco.lab.learning import Lesson  # noqa: PLC0415
    from sirocco.lab.up_training import up_train  # noqa: PLC0415

    lesson = Lesson(steps, seq_len=256, batch_size=8, peak_lr=peak_lr)
    with Progress(disable=quiet) as bar:
        task = bar.add_task("up-training", total=steps)
        return up_train(folder, out, data, lesson, on_step=lambda: bar.advance(task))


def _sentence(result: dict[str, Any]) -> str:
    said = f"{result['checkpoint']}: {result['n_kv_heads']} KV heads"
    if "steps" not in result:
        return said
    return (
        f"{said}; held-out loss {result['loss_before']:.3f} after pooling, "
        f"{result['loss_after']:.3f} after {result['steps']} steps"
    )
