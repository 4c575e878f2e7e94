"""The runtime's configuration: the script, its `env`, and the door before and behind it.

Source: workerd.capnp, the schema that comes with workerd.
"""

import json
from pathlib import Path
from urllib.parse import urlsplit

from sirocco.errors import ConfigError
from sirocco.worker.project import COMPATIBILITY_DATE, Project

_DOOR = Path(__file__).parent / "door.js"

_TEMPLATE = """using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "door", worker = (
      modules = [(name = "door.js", esModule = embed "door.js")],
      compatibilityDate = {door_date},
      bindings = [
        (name = "SCRIPT", service = "script"),
        (name = "SIROCCO", service = "sirocco"),
        (name = "ADDRESS", text = {address_url}),
      ])),
    (name = "script", worker = (
      modules = [(name = "worker.js", esModule = embed "worker.js")],
      compatibilityDate = {date},
      compatibilityFlags = [{flags}],
      bindings = [{bindings}])),
    (name = "sirocco", external = (address = {address}, {protocol})),
    (name = "internet", network = (
      allow = ["public", "private", "local"], tlsOptions = (trustBrowserCas = true))),
  ],
  sockets = [(name = "http", http = (), service = "door")],
);
"""
_AI = """(name = {name}, wrapped = (
        moduleName = "cloudflare-internal:ai-api",
        innerBindings = [(name = "fetcher", service = (name = "door", entrypoint = "Answers"))]))"""
_HTTP = 'http = (injectRequestHeaders = [(name = "Authorization", value = {credentials})])'
_HTTPS = (
    "https = (options = (injectRequestHeaders = [(name = \"Authorization\", "
    "value = {credentials})]), tlsOptions = (trustBrowserCas = true), certificateHost = {host})"
)  # fmt: skip


def write_config(project: Project, code: bytes, url: str, api_token: str, work: Path) -> Path:
    """Write the configuration and what it embeds; `work` must be readable for us alone.

    Args:
        url: of the server; http or https, without a path.

    Raises: ConfigError for a URL of another kind.
    """
    (work / "worker.js").write_bytes(code)
    (work / "door.js").write_bytes(_DOOR.read_bytes())
    file = work / "config.capnp"
    file.write_text(_text(project, url, api_token), encoding="utf-8")
    return file


def _text(project: Project, url: str, api_token: str) -> str:
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname or address.path.strip("/"):
        raise ConfigError(f"the server must be http://HOST:PORT or https://HOST:PORT, got {url!r}")
    host = f"[{address.hostname}]" if ":" in address.hostname else address.hostname
    port = address.port or {"http": 80, "https": 443}[address.scheme]
    protocol = _HTTP if address.scheme == "http" else _HTTPS
    return _TEMPLATE.format(
        door_date=quoted(COMPATIBILITY_DATE),
        address_url=quoted(f"{address.scheme}://{address.netloc}"),
        date=quoted(project.compatibility_date),
        flags=", ".join(map(quoted, project.compatibility_flags)),
        bindings=", ".join(_bindings(project)),
        address=quoted(f"{host}:{port}"),
        protocol=protocol.format(
            credentials=quoted(f"Bearer {api_token}"), host=quoted(address.hostname)
        ),
    )


def _bindings(project: Project) -> list[str]:
    bindings = [
        f"(name = {quoted(name)}, text = {quoted(value)})"
        if isinstance(value, str)
        else f"(name = {quoted(name)}, json = {quoted(json.dumps(value, default=str))})"
        for name, value in project.variables.items()
    ]
    return bindings + ([] if project.ai is None else [_AI.format(name=quoted(project.ai))])


def quoted(text: str) -> str:
    """Write a text as the configuration's language does: escapes as in C."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    plain = (c if c.isprintable() or ord(c) > 0x7F else f"\\x{ord(c):02x}" for c in escaped)
    return f'"{"".join(plain)}"'
