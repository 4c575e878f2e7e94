"""`sirocco plan`: what fits on a machine, how fast it is, what a million tokens cost."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sirocco.cli.output import AsJson, print_table, size
from sirocco.plan.hardware import LOCAL, Hardware, hardware, known_hardware

if TYPE_CHECKING:
    from sirocco.model.config import ModelConfig


def plan(
    model: Annotated[
        str, typer.Argument(help="A preset (mistral-7b, …), a catalogue id, or a folder.")
    ] = "mistral-7b",
    on: Annotated[
        str, typer.Option(help="A machine of --list, or `local`: this one, measured.")
    ] = LOCAL,
    weights: Annotated[
        str,
        typer.Option(
            help="float32, bfloat16, fp8, int4, q8 or q4; auto: bfloat16 on a GPU, else q4."
        ),
    ] = "auto",
    kv_format: Annotated[
        str, typer.Option(help="Of keys and values: float32, float16 or int8.")
    ] = "float16",
    context: Annotated[int, typer.Option(help="Tokens of each sequence.")] = 4096,
    batch: Annotated[
        int | None, typer.Option(help="Sequences at once; as many as fit, if not given.")
    ] = None,
    usd_per_hour: Annotated[
        float | None, typer.Option(help="What the machine costs, in place of the table's price.")
    ] = None,
    measure: Annotated[bool, typer.Option(help="Measure this machine again.")] = False,
    list_them: Annotated[bool, typer.Option("--list", help="List the machines.")] = False,
    as_json: AsJson = False,
) -> None:
    """Plan a model on a machine: memory, largest batch, tokens per second, cost.

    The network is planned as it is and as MHA, GQA and MQA, side by side. Nothing is loaded.
    """
    from sirocco.plan.planning import Question  # noqa: PLC0415 - not needed for --help
    from sirocco.plan.report import compared  # noqa: PLC0415 - the same
    from sirocco.plan.subject import weights_on  # noqa: PLC0415 - the same

    if list_them:
        _print_machines(as_json=as_json)
        return
    machine = _machine(on, measure=measure)
    if usd_per_hour is not None:
        machine = replace(machine, usd_per_hour=usd_per_hour)
    weights = weights_on(machine) if weights == "auto" else weights
    question = Question(_shape(model), weights, kv_format, context=context, batch=batch)
    rows = compared(question, machine)
    if as_json:
        about = {"model": model, "hardware": machine.id, "weights": question.weights}
        print(json.dumps({**about, "kv_format": kv_format, "context": context, "plans": rows}))
        return
    share = f", {machine.share:.0%} of its data sheet" if machine.share < 1 else ""
    print(f"{model}, {question.weights} weights, {kv_format} keys and values, context {context}")
    print(f"on {machine.name}: {size(round(machine.memory_bytes))}, ", end="")
    print(f"{machine.read_bytes_per_s / 1e9:,.1f} GB/s{share}\n")
    print_table([_for_people(row) for row in rows], as_json=False, nothing="")
    print("\n* this model")


def _machine(name: str, *, measure: bool) -> Hardware:
    if name != LOCAL:
        return hardware(name)
    from sirocco.plan.local import measure_local, read_local  # noqa: PLC0415
    from sirocco.settings import load_settings  # noqa: PLC0415

    home = load_settings().home
    known = None if measure else read_local(home)
    if known is None:
        typer.echo("measuring this machine, about 20 seconds …", err=True)
        known = measure_local(home)
    return known


def _shape(model: str) -> "ModelConfig":
    """Read a folder's config, or look up what has a name."""
    from sirocco.catalog import Catalog  # noqa: PLC0415 - not needed for --help
    from sirocco.model.config import ModelConfig  # noqa: PLC0415 - the same
    from sirocco.plan.subject import shape_of  # noqa: PLC0415 - the same
    from sirocco.settings import load_settings  # noqa: PLC0415 - the same

    if Path(model).is_dir():
        return ModelConfig.from_folder(Path(model))
    settings = load_settings()
    return shape_of(model, Catalog(settings.models_folder, settings.models, settings.catalog_file))


def _print_machines(*, as_json: bool) -> None:
    rows = [
        {
            "id": machine.id, "name": machine.name, "memory": size(round(machine.memory_bytes)),
            "GB/s": round(machine.read_bytes_per_s / 1e9), "USD/h": machine.usd_per_hour,
        }
        for machine in known_hardware().values()
    ]  # fmt: skip
    print_table(rows, as_json=as_json, nothing="")


def _for_people(row: Mapping[str, object]) -> dict[str, object]:
    fits = row["tokens_per_s"] is not None
    return {
        "attention": f"{row['attention']} *" if row["is_this_model"] else row["attention"],
        "KV heads": row["kv_heads"],
        "weights": size(row["weights_bytes"]),
        "KV a token": size(row["kv_bytes_per_token"]),
        "KV a sequence": size(row["kv_bytes_per_sequence"]),
        "largest batch": row["largest_batch"],
        "tokens/s alone": _number(row["single_tokens_per_s"]),
        "batch": row["batch"],
        "tokens/s": _number(row["tokens_per_s"]) if fits else "does not fit",
        "ms weights": _number(row["weights_ms"]),
        "ms attention": _number(row["attention_ms"]),
        **({"ms rest": _number(row["rest_ms"])} if row["rest_ms"] else {}),
        "prompt tokens/s": _number(row["prompt_tokens_per_s"]),
        "USD per 1M": _number(row["usd_per_million_tokens"]),
    }


def _number(value: object) -> str:
    """Three digits that count."""
    if not isinstance(value, float):
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
