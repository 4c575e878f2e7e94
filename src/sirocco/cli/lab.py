"""`sirocco lab`: what attention costs on this machine, measured."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from sirocco.cli.output import AsJson, print_table
from sirocco.errors import ConfigError

if TYPE_CHECKING:
    from sirocco.lab.study import Study

lab = typer.Typer(
    name="lab",
    help="Measure what MHA, GQA, MQA and the sliding window cost and bring on this machine.",
    no_args_is_help=True,
)


UNFINISHED = "unfinished"
"""Folder beside the report with the finished parts of a study; gone when the report is there."""


class Half(StrEnum):
    """What can be done alone: hours when the machine is free, minutes when it is quiet."""

    train = "train"
    measure = "measure"


@lab.callback()
def options() -> None:
    """Keep `attention` a command of its own."""


@lab.command()
def attention(
    quick: Annotated[bool, typer.Option(help="Some minutes on two cores, not an hour.")] = False,
    as_json: AsJson = False,
    out: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            help="Folder for report.html, pictures and results.json; lab-attention if not given. "
            "With --json nothing is written unless a folder is named.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            exists=True, help="Folder of .txt and .jsonl texts to learn from; else Shakespeare."
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps of each training; else as many as the time allows."),
    ] = None,
    only: Annotated[
        Half | None,
        typer.Option(help="Do one half now; the command without --only does the rest."),
    ] = None,
) -> None:
    """Train and time the same network with MHA, GQA-8, GQA-4, GQA-2 and MQA.

    Prints a table: KV heads, memory, held-out loss, decode speed. The report has the pictures.
    A study that is broken off goes on where it was when the same command is given again.
    """
    from sirocco.lab.pictures import check_pictures, draw  # noqa: PLC0415 - torch is slow to import
    from sirocco.lab.report import headline, verdict, write_report  # noqa: PLC0415
    from sirocco.lab.size import full  # noqa: PLC0415
    from sirocco.lab.size import quick as quick_size  # noqa: PLC0415
    from sirocco.lab.study import Work, write_json  # noqa: PLC0415

    folder = _folder(out, as_json=as_json)
    if only and folder is None:
        raise ConfigError("--only with --json needs --out, the folder that keeps what is done")
    if folder is not None:
        check_pictures()  # before an hour of work, not after it
    size = quick_size() if quick else full()
    bar = _bar(Console(stderr=True))
    with nullcontext() if as_json else bar, _work_folder(folder) as place:
        work = Work(size, place, data=data, steps=steps, tell=_teller(bar))
        if only:
            work.train() if only is Half.train else work.measure()
            return
        study = work.study()
    if folder is not None:
        write_json(study, folder / "results.json")
        report = write_report(study, draw(study), folder)
        shutil.rmtree(folder / UNFINISHED)
    if as_json:
        print(json.dumps(study.to_json()))
        return
    print_table(_rows(study), as_json=False, nothing="")
    print(f"\n{headline(study)}\n{verdict(study)}\n\nThe report is {report}")


@contextmanager
def _work_folder(out: Path | None) -> Iterator[Path]:
    """Where finished parts are kept until all are: beside the report, if there will be one."""
    if out is not None:
        yield out / UNFINISHED
        return
    with tempfile.TemporaryDirectory(prefix="sirocco-lab-") as folder:
        yield Path(folder)


def _folder(out: Path | None, *, as_json: bool) -> Path | None:
    if out is None:
        return None if as_json else Path("lab-attention")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out must be a folder, and {out} is a file")
    return out


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<24}"), BarColumn(),
        TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn(), console=console,
    )  # fmt: skip


def _teller(bar: Progress) -> Callable[[str, int], Callable[[], None]]:
    def tell(what: str, n_steps: int) -> Callable[[], None]:
        task = bar.add_task(what, total=n_steps)
        return lambda: bar.advance(task)

    return tell


def _rows(study: "Study") -> list[dict[str, object]]:
    return [
        {
            "attention": row.variant,
            "KV heads": row.n_kv_heads,
            "KiB a token": f"{row.kv_bytes_per_token / 1024:g}",
            "held-out loss": f"{row.loss:.3f} ± {row.loss_spread / 2:.3f}",
            "over MHA": f"{row.loss_over_mha:+.3f}",
            "tokens/s": f"{row.tokens_per_s:,.1f}",
            "times MHA": f"{row.gain:.2f}",
        }
        for row in study.table()
    ]
