"""What is to be run: a script alone, or a project with wrangler's configuration."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sirocco.errors import ConfigError
from sirocco.worker import jsonc
from sirocco.worker.environments import chosen, not_inherited

COMPATIBILITY_DATE = "2026-06-01"
"""For a script that names none: behaviour of the runtime as of that day."""

_CONFIG_NAMES = ("wrangler.jsonc", "wrangler.json", "wrangler.toml")
_READ = {
    "$schema", "name", "main", "ai", "vars", "compatibility_date", "compatibility_flags",
    "account_id", "workers_dev", "observability", "dev", "send_metrics", "minify", "keep_vars",
    "upload_source_maps", "preview_urls", "route", "routes", "triggers", "placement", "limits",
    "env",
}  # fmt: skip
"""What is read, and what has no meaning on one machine."""


@dataclass(frozen=True, slots=True)
class Project:
    """A Worker.

    Attributes:
        script: its entry.
        ai: name of the binding that answers questions; None is none.
        variables: texts, and values of JSON, by name.
        config: the file that this was read from, if there is one.
        unused: names in it that have no effect here.
        name: as it would be deployed, with its environment's; None if the file names none.
        environment: the section `env.…` of the file that this was read from; None is none.
        not_inherited: names at the top of the file that this environment would have to repeat.
    """

    script: Path
    ai: str | None = "AI"
    variables: Mapping[str, Any] = field(default_factory=dict)
    compatibility_date: str = COMPATIBILITY_DATE
    compatibility_flags: tuple[str, ...] = ()
    config: Path | None = None
    unused: tuple[str, ...] = ()
    name: str | None = None
    environment: str | None = None
    not_inherited: tuple[str, ...] = ()

    @property
    def sources(self) -> set[Path]:
        """Files other than the script that this depends on, there or not."""
        if self.config is None:
            return set()
        return {self.config, *_secrets_files(self.config.parent, self.environment)}


def read_project(path: Path, environment: str | None = None) -> Project:
    """Read a project from its folder or its configuration, or take a script as it is.

    Args:
        environment: the section `env.…` to read; None reads what stands outside of them.

    Raises: ConfigError.
    """
    if path.is_dir():
        found = next((path / name for name in _CONFIG_NAMES if (path / name).is_file()), None)
        if found is None:
            raise ConfigError(f"{path} has none of {', '.join(_CONFIG_NAMES)}: name a script")
        path = found
    if not path.is_file():
        raise ConfigError(f"there is no script {path}")
    if path.name in _CONFIG_NAMES:
        return _from_config(path, _members(path), environment)
    if environment is not None:
        raise ConfigError(f"environment {environment!r} needs a wrangler file; {path} is a script")
    return Project(path)


def _members(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        members = tomllib.loads(text) if path.suffix == ".toml" else jsonc.parse(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not isinstance(members, dict):
        raise ConfigError(f"{path} must hold an object")
    return members


def _from_config(path: Path, file: Mapping[str, Any], environment: str | None) -> Project:
    members = chosen(path, file, environment)
    main = _taken(path, members, "main", str, None)
    if main is None:
        raise ConfigError(f"{path} names no script: 'main' is missing")
    script = path.parent / main
    if not script.is_file():
        raise ConfigError(f"{path}: there is no script {main!r}")
    flags = _taken(path, members, "compatibility_flags", list, [])
    secrets = _secrets(path.parent, environment)
    return Project(
        script,
        _taken(path, _taken(path, members, "ai", dict, {}), "binding", str, None),
        {**_taken(path, members, "vars", dict, {}), **secrets},
        _taken(path, members, "compatibility_date", str, COMPATIBILITY_DATE),
        tuple(map(str, flags)),
        path,
        tuple(name for name in members if name not in _READ),
        _taken(path, members, "name", str, None),
        environment,
        not_inherited(file, environment),
    )


def _secrets_files(folder: Path, environment: str | None) -> list[Path]:
    """Name the files that may hold secrets; the first that is there is taken, alone."""
    own = [] if environment is None else [folder / f".dev.vars.{environment}"]
    return [*own, folder / ".dev.vars"]


def _secrets(folder: Path, environment: str | None) -> dict[str, str]:
    """Read lines of `NAME=value`, where wrangler keeps what must not be in its configuration."""
    files = _secrets_files(folder, environment)
    file = next((file for file in files if file.exists()), files[-1])
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    pairs = (line.partition("=") for line in lines if not line.lstrip().startswith("#"))
    return {name.strip(): _unquoted(value.strip()) for name, equals, value in pairs if equals}


def _unquoted(value: str) -> str:
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'`"
    return value[1:-1] if is_quoted else value


def _taken(path: Path, members: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    value = members.get(name, default)
    if value is not default and not isinstance(value, kind):
        raise ConfigError(f"{path}: {name!r} must be a {kind.__name__}, got {value!r}")
    return value
