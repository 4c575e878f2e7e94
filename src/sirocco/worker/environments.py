"""wrangler's environments: one project with several configurations.

Source: developers.cloudflare.com/workers/wrangler/configuration, "Environments".
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sirocco.errors import ConfigError

_NOT_INHERITED = {
    "vars", "define", "secrets", "ai", "ai_search", "ai_search_namespaces",
    "analytics_engine_datasets", "browser", "cloudchamber", "constellation", "containers",
    "d1_databases", "dispatch_namespaces", "durable_objects", "email", "hyperdrive", "images",
    "kv_namespaces", "media", "mtls_certificates", "pipelines", "queues", "r2_buckets",
    "ratelimits", "secrets_store_secrets", "send_email", "services", "stream",
    "streaming_tail_consumers", "tail_consumers", "unsafe", "unsafe_hello_world", "vectorize",
    "version_metadata", "vpc_services", "worker_loaders", "workflows",
}  # fmt: skip
"""Variables and bindings: an environment has those that it names itself."""

_ONLY_AT_TOP = {"env", "$schema", "dev", "keep_vars", "send_metrics"}
"""What concerns the file or the tool, not a Worker."""


def chosen(path: Path, members: Mapping[str, Any], environment: str | None) -> Mapping[str, Any]:
    """Give the members of a configuration as they are in one environment.

    A member of the environment takes the place of the one at the top, whole. What it does not
    have it inherits, but for variables and bindings; its name is the Worker's, a hyphen, its own.

    Args:
        path: of the file, for errors to name.
        environment: None is what stands outside of all of them.

    Raises: ConfigError if there is none of this name.
    """
    if environment is None:
        return members
    section = _section(path, members, environment)
    inherited = {
        name: value
        for name, value in members.items()
        if name not in _NOT_INHERITED and name not in _ONLY_AT_TOP
    }
    if isinstance(members.get("name"), str):
        inherited["name"] = f"{members['name']}-{environment}"
    return inherited | section


def not_inherited(members: Mapping[str, Any], environment: str | None) -> tuple[str, ...]:
    """Name what stands at the top, and would have to be repeated in the environment to be there."""
    if environment is None:
        return ()
    section = members["env"][environment]
    return tuple(name for name in members if name in _NOT_INHERITED and name not in section)


def _section(path: Path, members: Mapping[str, Any], environment: str) -> dict[str, Any]:
    sections = members.get("env", {})
    if not isinstance(sections, dict) or not isinstance(sections.get(environment, {}), dict):
        raise ConfigError(f"{path}: 'env' must hold an object for each environment")
    if environment not in sections:
        names = ", ".join(sections) or "none"
        raise ConfigError(f"{path} has no environment {environment!r}; it has {names}")
    section: dict[str, Any] = sections[environment]
    return section
