"""Reading a `catalog.toml`, ours or a user's own. What is wrong is named with field and value."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sirocco.catalog.entry import CatalogEntry
from sirocco.catalog.price import FREE, Price
from sirocco.catalog.template import TEMPLATES
from sirocco.errors import ConfigError

PACKAGE = Path(__file__).parent.parent

TASKS = ("text-generation",)

_TYPES: dict[str, type] = {
    "id": str, "description": str, "template": str, "system": str, "preset": str, "hub": str,
    "aliases": list, "weights_of": str, "embedded": str, "folder": str, "public_id": str,
    "task": str, "tags": list, "context_window": int, "public_context_window": int,
    "input_neurons": int, "output_neurons": int, "experimental": bool,
    "unsupported": str,
}  # fmt: skip
_WORDS = {str: "a text", list: "an array of texts", int: "a whole number", bool: "true or false"}
_ID = re.compile(r"@?[A-Za-z0-9][\w.\-]*(/[A-Za-z0-9][\w.\-]*)+", re.ASCII)
_REPO = re.compile(r"[A-Za-z0-9][\w.\-]*/[A-Za-z0-9][\w.\-]*", re.ASCII)
_FORMS = {"id": _ID, "weights_of": _ID, "hub": _REPO}
_CHOICES = {"template": TEMPLATES, "task": TASKS}
_POSITIVE = ("context_window", "public_context_window")
_PRICES = ("input_neurons", "output_neurons")
_MOST_NEURONS = 10**12


@dataclass(frozen=True, slots=True)
class CatalogFile:
    """The contents of a file.

    Attributes:
        systems: default system messages, by the names that models use.
    """

    entries: list[CatalogEntry] = field(default_factory=list)
    systems: Mapping[str, str] = field(default_factory=dict)


def read_catalog_file(
    path: Path, models_folder: Path, systems: Mapping[str, str] | None = None
) -> CatalogFile:
    """Read a file.

    Args:
        models_folder: holds the checkpoints of models that name no folder.
        systems: further default system messages that the file's models may name.

    Raises: ConfigError naming the file, the model, the field and its value.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    _only_known(raw, ("defaults", "model"), f"{path}")
    own = raw.get("defaults", {})
    if not _is_table_of_texts(own):
        raise ConfigError(f"{path}: defaults must be a table of texts, got {own!r}")
    models = raw.get("model", [])
    if not isinstance(models, list) or not all(isinstance(model, dict) for model in models):
        raise ConfigError(f"{path}: every model must begin with [[model]], got {models!r}")
    known = {**(systems or {}), **own}
    read: dict[str, CatalogEntry] = {}
    for number, model in enumerate(models, 1):
        where = f"{path}: model {number}, {model.get('id')!r}"
        entry = _entry(model, known, models_folder, path.parent, where)
        if entry.model_id in read:
            raise ConfigError(f"{where}: id stands twice in the file")
        read[entry.model_id] = entry
    return CatalogFile(list(read.values()), known)


def _entry(
    model: Mapping[str, Any], systems: Mapping[str, str], models_folder: Path, beside: Path,
    where: str,
) -> CatalogEntry:  # fmt: skip
    _check(model, where)
    system = model.get("system")
    if system is not None and system not in systems:
        raise ConfigError(
            f"{where}: system must be one of {', '.join(systems) or 'none'}, got {system!r}"
        )
    return CatalogEntry(
        model_id=model["id"],
        template=model.get("template"),
        folder=_folder(model, models_folder, beside),
        default_system=systems[system] if system is not None else None,
        description=model.get("description", ""),
        preset=model.get("preset"),
        hub=model.get("hub"),
        aliases=tuple(model.get("aliases", ())),
        weights_of=model.get("weights_of"),
        is_embedded="embedded" in model,
        public_id=model.get("public_id"),
        task=model.get("task", TASKS[0]),
        tags=tuple(model.get("tags", ())),
        context_window=model.get("context_window"),
        public_context_window=model.get("public_context_window"),
        price=_price(model, where),
        is_experimental=model.get("experimental", False),
        unsupported=model.get("unsupported"),
    )


def _folder(model: Mapping[str, Any], models_folder: Path, beside: Path) -> Path:
    if "embedded" in model:
        return PACKAGE / "embedded" / str(model["embedded"])
    if "folder" in model:  # a relative one is meant from where the file is
        return beside / Path(model["folder"]).expanduser()
    return models_folder / str(model.get("weights_of") or model["id"])


def _price(model: Mapping[str, Any], where: str) -> Price:
    given = [int(model[name]) for name in _PRICES if name in model]
    if not given:
        return FREE
    if len(given) < len(_PRICES):
        raise ConfigError(f"{where}: {' and '.join(_PRICES)} are given together, or neither")
    return Price(*given)


def _check(model: Mapping[str, Any], where: str) -> None:
    _only_known(model, tuple(_TYPES), where)
    if "id" not in model:
        raise ConfigError(f"{where}: id is missing")
    for name, value in model.items():
        if problem := _problem(name, value):
            raise ConfigError(f"{where}: {name} must be {problem}, got {value!r}")


def _problem(name: str, value: object) -> str | None:
    """Say what a field must be, if this value is not; None if all is well."""
    kind = _TYPES[name]
    is_right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if isinstance(value, list):
        is_right = is_right and all(isinstance(item, str) for item in value)
    if not is_right:
        return _WORDS[kind]
    if name in _FORMS and not _FORMS[name].fullmatch(str(value)):
        example = "OWNER/NAME" if name == "hub" else "like @me/name"
        return f"{example}, of letters, digits, '-', '_' and '.'"
    if name in _CHOICES and value not in _CHOICES[name]:
        return f"one of {', '.join(_CHOICES[name])}"
    if name in _POSITIVE and isinstance(value, int) and value < 1:
        return "at least 1"
    if name in _PRICES and isinstance(value, int) and not 0 <= value <= _MOST_NEURONS:
        return f"at least 0 and at most {_MOST_NEURONS}"
    return None


def _only_known(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for name in table:
        if name not in known:
            raise ConfigError(f"{where}: there is no field {name!r}")


def _is_table_of_texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
