"""A script and all it imports, made one file by esbuild."""

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sirocco.worker.tools import Tools

_OPTIONS = (
    "--bundle", "--format=esm", "--platform=neutral", "--target=es2024",
    "--conditions=workerd,worker,browser,import", "--main-fields=browser,module,main",
    "--external:cloudflare:*", "--external:node:*", "--keep-names",
    "--loader:.txt=text", "--loader:.html=text", "--loader:.sql=text", "--loader:.bin=binary",
    "--define:process.env.NODE_ENV=\"development\"", "--log-level=warning",
)  # fmt: skip
_UNRESOLVED = re.compile(r'Could not resolve "([^"./][^"]*)"')


@dataclass(frozen=True, slots=True)
class Bundle:
    """What came of it.

    Attributes:
        code: the one file; None if there was a fault.
        inputs: files it was made of, as far as known.
        messages: warnings and faults, for a person.
    """

    code: bytes | None
    inputs: frozenset[Path]
    messages: str


def bundle(script: Path, tools: Tools, work: Path) -> Bundle:
    """Make one file of a script; `work` is a folder for what falls off."""
    out, meta = work / "bundle.js", work / "bundle.json"
    folder = script.resolve().parent
    meta.unlink(missing_ok=True)
    done = subprocess.run(
        [tools.esbuild, str(script.resolve()), *_OPTIONS, f"--outfile={out}",
         f"--metafile={meta}"],
        cwd=folder, env=os.environ | {"NODE_PATH": str(tools.packages)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        return Bundle(None, frozenset({script}), done.stderr.strip() + _hint(done.stderr))
    inputs = {folder / name for name in json.loads(meta.read_bytes())["inputs"]}
    return Bundle(out.read_bytes(), frozenset(inputs), done.stderr.strip())


def _hint(messages: str) -> str:
    names = sorted(set(_UNRESOLVED.findall(messages)))
    return f"\nnpm install {' '.join(names)}, in the script's folder, may help." if names else ""
