"""What stops `sirocco serve` before it serves: one sentence, whatever is wrong."""

import asyncio
import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sirocco.cli.serve import _listen
from sirocco.errors import ConfigError

SCRIPT = Path(sys.executable).parent / "sirocco"


def serve(*args: str) -> str:
    """Start a server that must not start, in a process of its own; give its one sentence."""
    done = subprocess.run(
        [SCRIPT, "serve", *args], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("sirocco: ")
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("sirocco: ").rstrip("\n")


@pytest.mark.parametrize("text", ["@me/mine", "@me/mine=", "=/srv/mine", "="])
def test_a_model_without_id_or_folder_is_refused(refused, text):
    assert refused("serve", "--model", text) == f"--model must be ID=FOLDER, got {text!r}"


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--device", "tpu"], "device: Input should be 'auto', 'cpu' or 'cuda', got 'tpu'"),
        (["--weights", "int3"], "weights: Input should be"),
        (["--port", "65536"], "port: Input should be less than or equal to 65535, got 65536"),
        (["--port", "-1"], "port: "),
        (["--max-seq-len", "0"], "max_seq_len: "),
        (["--kv-cache-bytes", "0"], "kv_cache_bytes: "),
        (["--log-level", "loud"], "log_level: "),
        (["--log-format", "xml"], "log_format: "),
    ],
)
def test_a_bad_option_is_refused_by_name_and_value(refused, home, args, sentence):
    text = refused("serve", *args)

    assert text.startswith(sentence)
    assert args[1] in text
    assert not home.exists()


def test_a_port_that_is_no_number_is_a_wrong_command_line(sirocco):
    done = sirocco("serve", "--port", "http")

    assert done.status == 2
    assert "--port" in done.err


def test_numbers_that_do_not_go_together_are_refused(refused, monkeypatch):
    monkeypatch.setenv("SIROCCO_MAX_RUNNING", "513")

    assert refused("serve") == "max_running must be at most max_step_tokens 512, got 513"


def test_a_folder_that_is_not_there_is_refused():
    text = serve("--model", "@me/mine=/nowhere")

    assert text == "the checkpoint of @me/mine, /nowhere, is not a folder"


def test_a_port_in_use_is_refused_and_nothing_is_made(sirocco):
    """A first API token is shown only once: it must not be made for a server that fails."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        text = serve("--port", str(port))

    assert text.startswith(
        f"cannot listen on 127.0.0.1, port {port}: {os.strerror(errno.EADDRINUSE)}"
    )
    assert json.loads(sirocco("accounts", "list", "--json").out) == []


@pytest.mark.parametrize("host", ["ü" * 80, "a..b"])
def test_a_host_without_an_address_is_refused(host):
    with pytest.raises(ConfigError) as raised:
        _listen(host, 0)
    assert str(raised.value).startswith(f"cannot listen on {host}, port 0: ")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_a_free_port_is_taken_at_once(host):
    """`sirocco serve --port 0` prints the port that it really has."""
    if host == "::1" and not socket.has_ipv6:
        pytest.skip("this Python has no IPv6")

    with _listen(host, 0) as listening:
        address = listening.getsockname()[:2]

        with socket.create_connection(address, timeout=5) as connection:
            assert connection.getpeername()[:2] == address


def damaged(folder, how):
    """A copy of the embedded checkpoint with one fault."""
    import shutil

    from sirocco.catalog import EMBEDDED_MODEL_ID, Catalog

    shutil.copytree(Catalog(folder).find(EMBEDDED_MODEL_ID).folder, folder / "bad")
    weights = folder / "bad" / "model.safetensors"
    if how == "truncated":
        weights.write_bytes(weights.read_bytes()[:100_000])
    elif how == "no weights":
        weights.unlink()
    elif how == "no config":
        (folder / "bad" / "config.json").unlink()
    elif how == "no tokenizer":
        (folder / "bad" / "tokenizer.json").unlink()
    elif how == "not safetensors":
        weights.write_bytes(b"PK\x03\x04 a zip of something")
    return folder / "bad"


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("truncated", "model.safetensors is not a whole safetensors file"),
        ("not safetensors", "model.safetensors is not a whole safetensors file"),
        ("no weights", "has no weights"),
        ("no config", "is not a checkpoint"),
        ("no tokenizer", "has no tokenizer"),
    ],
)
def test_a_damaged_checkpoint_stops_the_start_in_one_sentence(refused, tmp_path, how, sentence):
    folder = damaged(tmp_path, how)

    assert sentence in refused("serve", "--port", "0", "--model", f"@me/mine={folder}")


def test_no_write_waits_for_an_acknowledgement():
    """Nagle's delay would hold each event of a stream back by up to 40 ms."""

    async def nodelay_of_a_connection():
        taken = asyncio.get_running_loop().create_future()

        async def take(_reader, writer):
            taken.set_result(writer.get_extra_info("socket").getsockopt(
                socket.IPPROTO_TCP, socket.TCP_NODELAY))  # fmt: skip
            writer.close()

        listening = _listen("127.0.0.1", 0)
        async with await asyncio.start_server(take, sock=listening):
            _, writer = await asyncio.open_connection(*listening.getsockname())
            nodelay = await taken
            writer.close()
            await writer.wait_closed()
        return nodelay

    assert asyncio.run(nodelay_of_a_connection())
