"""`sirocco quantize`: a checkpoint in 4 or 8 bits, that starts without any arithmetic."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from sirocco.cli.checkpoints import check_new, copy_beside_weights
from sirocco.cli.output import AsJson
from sirocco.errors import ConfigError


def quantize(
    checkpoint: Annotated[
        Path, typer.Argument(file_okay=False, help="Folder in the Hugging Face layout.")
    ],
    out: Annotated[Path, typer.Argument(file_okay=False, help="Folder to write; must be new.")],
    weights: Annotated[str, typer.Option(help="q4 or q8.")] = "q4",
    as_json: AsJson = False,
) -> None:
    """Round a checkpoint's weights to 4 or 8 bits, in groups of 32 with a scale each.

    The result is served like any checkpoint: sirocco serve --model ID=OUT.
    """
    from sirocco.model.linear import FORMATS  # noqa: PLC0415 - torch is slow to import
    from sirocco.model.weights import load_model, save_quantized  # noqa: PLC0415

    if weights not in ("q4", "q8"):
        raise ConfigError(f"--weights must be q4 or q8, got {weights!r}")
    check_new(out)
    with Progress(disable=as_json) as bar:
        task = bar.add_task("rounding", total=None)
        model = load_model(
            checkpoint,
            weights=FORMATS[weights],
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    save_quantized(model, out)
    copy_beside_weights(checkpoint, out)
    n_bytes = (out / "model.safetensors").stat().st_size
    result = {"checkpoint": str(out), "weights": weights, "bytes": n_bytes}
    print(json.dumps(result) if as_json else f"{out}: {n_bytes / 1e6:,.1f} MB of {weights} weights")
