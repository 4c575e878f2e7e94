"""`sirocco train`: a small model from a folder of texts."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from sirocco.training.recipe import Recipe
    from sirocco.training.run import Listener
    from sirocco.training.state import RunLog


def train(
    data: Annotated[Path, typer.Option(help="Folder of texts that the recipe's sources lie in.")],
    out: Annotated[
        Path, typer.Option(file_okay=False, help="Folder for the run and the finished checkpoint.")
    ],
    recipe: Annotated[
        str,
        typer.Option(
            help="A recipe in the package (breeze, breeze-tune, plain), or the path of a TOML file."
        ),
    ] = "breeze",
    start: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Checkpoint to begin with, its shape and tokenizer included (default: random "
            "weights). Give the same one with --resume.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with the run in the folder.")] = False,
    device: Annotated[str, typer.Option(help="Where to train: cpu or cuda.")] = "cpu",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON line, no bar.")
    ] = False,
) -> None:
    """Train a small model of the Mistral architecture on a folder of texts.

    The recipe says on which texts, for how many steps, how fast, and from which seed. A run that
    is stopped goes on from its last saved step with --resume, and ends with the same weights.
    The folder holds the checkpoint, a picture of the losses (loss.svg), and the run's state.
    """
    from sirocco.training.recipe import load_recipe  # noqa: PLC0415 - torch is slow to import
    from sirocco.training.run import check_device, run_recipe  # noqa: PLC0415

    plan = load_recipe(recipe)
    check_device(device)
    console = Console(stderr=True, quiet=as_json)
    bar = _bar(console)
    with nullcontext() if as_json else bar:
        log = run_recipe(
            plan, data, out, resume=resume, device=device, start=start,
            listener=_listener(plan, console, bar),
        )  # fmt: skip
    _report(plan, log, out, as_json=as_json)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} · loss {task.fields[loss]:.3f}"),
        TextColumn("· {task.fields[tokens_per_s]:,.0f} tokens/s"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


def _listener(plan: "Recipe", console: Console, bar: Progress) -> "Listener":
    from sirocco.training.run import Listener  # noqa: PLC0415
    from sirocco.training.trainer import Progress as Step  # noqa: PLC0415

    task = bar.add_task(plan.name, total=plan.total_steps, loss=float("nan"), tokens_per_s=0.0)

    def stepped(step: Step) -> None:
        bar.update(
            task, completed=step.step, description=step.phase, loss=step.loss,
            tokens_per_s=step.tokens_per_s,
        )  # fmt: skip

    return Listener(said=console.print, stepped=stepped)


def _report(plan: "Recipe", log: "RunLog", out: Path, *, as_json: bool) -> None:
    held_out = {phase: loss for _, phase, loss in log.held_out}
    if as_json:
        result = {
            "recipe": plan.name, "steps": log.step, "train_s": round(log.train_s, 1),
            "tokens": log.step * plan.tokens_per_step, "held_out_loss": held_out,
            "checkpoint": str(out),
        }  # fmt: skip
        print(json.dumps(result))
        return
    losses = ", ".join(f"{phase} {loss:.3f}" for phase, loss in held_out.items()) or "not measured"
    print(f"{log.step} steps in {log.train_s / 60:.1f} minutes; held-out loss: {losses}")
    print(f"The checkpoint is in {out}, its losses are drawn in {out / 'loss.svg'}")
