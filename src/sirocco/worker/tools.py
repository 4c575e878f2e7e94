"""The runtime and the bundler: npm packages with binaries in them, installed on first use.

Their versions are pinned in `package.json` and its lock file, which are part of this package.
They lie in a folder of Sirocco's own; nothing of a person's project is touched. No script of a
package is run, and the binaries run without Node.
"""

import hashlib
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sirocco.errors import SetupError

_PINS = Path(__file__).parent
_FILES = ("package.json", "package-lock.json")
_WORKERD_NAMES = {
    ("Linux", "x86_64"): "linux-64", ("Linux", "aarch64"): "linux-arm64",
    ("Darwin", "x86_64"): "darwin-64", ("Darwin", "arm64"): "darwin-arm64",
}  # fmt: skip
_ESBUILD_NAMES = {
    ("Linux", "x86_64"): "linux-x64", ("Linux", "aarch64"): "linux-arm64",
    ("Darwin", "x86_64"): "darwin-x64", ("Darwin", "arm64"): "darwin-arm64",
}  # fmt: skip
_NO_NPM = (
    "Worker scripts need npm once, to install the Workers runtime: install Node.js with npm "
    "(Debian and Ubuntu: apt install nodejs npm)"
)
_INSTALL_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class Tools:
    """Where the tools are.

    Attributes:
        packages: their `node_modules`, in which a script's imports are looked for last.
    """

    workerd: Path
    esbuild: Path
    packages: Path


def find_tools(packages: Path) -> Tools | None:
    """Find the tools for this machine in a `node_modules`; None if one is absent."""
    machine = (platform.system(), platform.machine())
    if machine not in _WORKERD_NAMES:
        raise SetupError(f"the Workers runtime is not published for {' on '.join(machine)}")
    tools = Tools(
        packages / f"@cloudflare/workerd-{_WORKERD_NAMES[machine]}" / "bin" / "workerd",
        packages / "@esbuild" / _ESBUILD_NAMES[machine] / "bin" / "esbuild",
        packages,
    )
    return tools if tools.workerd.is_file() and tools.esbuild.is_file() else None


def installed_tools(home: Path, say: Callable[[str], None]) -> Tools:
    """Give the pinned tools; they are installed if they are not there yet.

    Args:
        home: SIROCCO_HOME.
        say: told that an install begins, since it takes a while.

    Raises: SetupError in one sentence.
    """
    folder = home / "worker-tools" / _pins_digest()
    tools = find_tools(folder / "node_modules")
    if tools is None:
        npm = shutil.which("npm")
        if npm is None:
            raise SetupError(_NO_NPM)
        say("Installing the Workers runtime (workerd and esbuild, about 180 MB, this once) ...")
        _install(npm, folder)
        tools = find_tools(folder / "node_modules")
    if tools is None:
        raise SetupError(f"npm has installed no workerd or esbuild for this machine into {folder}")
    return tools


def _pins_digest() -> str:
    """Name a set of versions, so that a new one gets a folder of its own."""
    pins = b"".join((_PINS / name).read_bytes() for name in _FILES)
    return hashlib.sha256(pins).hexdigest()[:16]


def _install(npm: str, folder: Path) -> None:
    """Install beside the folder, then give it its name: half an install has none."""
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as draft:
            _run_npm(npm, Path(draft))
            with suppress(FileExistsError):  # another command was faster
                folder.mkdir()
                (Path(draft) / "node_modules").rename(folder / "node_modules")
    except OSError as error:
        raise SetupError(f"cannot install into {folder}: {error.strerror}") from error


def _run_npm(npm: str, folder: Path) -> None:
    for name in _FILES:
        shutil.copyfile(_PINS / name, folder / name)
    try:
        done = subprocess.run(
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
            cwd=folder, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise SetupError(f"npm was not ready after {_INSTALL_TIMEOUT_S} s") from None
    if done.returncode != 0:
        raise SetupError(f"npm could not install the Workers runtime: {_reason(done.stderr)}")


def _reason(output: str) -> str:
    """Take the first line that says something."""
    lines = [line.removeprefix("npm error").strip() for line in output.splitlines()]
    return next(
        (line for line in lines if line and not line.startswith("code ")), "no reason given"
    )
