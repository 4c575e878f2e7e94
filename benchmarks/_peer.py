"""llama.cpp in a process of its own, through the low-level bindings of llama-cpp-python.

Runs in the peer's environment, where Sirocco is not. A context is opened by name, so that one
with flash attention and one without stand side by side. Tokens are chosen greedily.
"""

import ctypes
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import llama_cpp.llama_cpp as api
import numpy as np
from _child import answer, timed

_PADDING = 256  # llama.cpp rounds the positions of a sequence up to this
_CHUNK = 2048  # tokens in one call at most; llama.cpp cuts them to its n_ubatch of 512


@dataclass(slots=True)
class Open:
    """A context, and where its sequences stand."""

    context: Any
    n_sequences: int
    n_done: int
    next_ids: list[int]


class Peer:
    """One loaded model and its open contexts."""

    def __init__(self) -> None:
        self.model: Any = None
        self.n_threads = 0
        self.open_ones: dict[str, Open] = {}
        self.batch = api.llama_batch_init(_CHUNK, 0, 1)

    def load(self, model: str, n_threads: int, is_mapped: bool) -> dict[str, Any]:
        """Load the GGUF file and repack it for this CPU; mapped is llama.cpp's default."""
        api.llama_backend_init()
        params = api.llama_model_default_params()
        params.load_mode = api.LLAMA_LOAD_MODE_AUTO if is_mapped else api.LLAMA_LOAD_MODE_NONE
        self.model = api.llama_model_load_from_file(model.encode(), params)
        self.n_threads = n_threads
        assert self.model, f"llama.cpp did not load {model}"
        return {
            "version": version("llama_cpp_python"),
            "system_info": api.llama_print_system_info().decode().strip(),
        }

    def open(self, name: str, n_sequences: int, context: int, capacity: int, flash: bool) -> dict:
        """Read `context` tokens into each of the sequences, which may grow to `capacity`."""
        params = api.llama_context_default_params()
        params.n_ctx = n_sequences * -(-capacity // _PADDING) * _PADDING
        params.n_batch, params.n_ubatch = _CHUNK, 512
        params.n_seq_max = n_sequences
        params.n_threads = params.n_threads_batch = self.n_threads
        params.type_k = params.type_v = 1  # GGML_TYPE_F16
        params.flash_attn_type = int(flash)
        params.kv_unified = False  # each sequence sees its own cells alone: faster for many
        handle = api.llama_init_from_model(self.model, params)
        assert handle, "llama.cpp made no context"
        opened = Open(handle, n_sequences, 0, [])
        self.open_ones[name] = opened
        return timed(lambda: self._read(opened, context))

    def advance(self, name: str, n_tokens: int) -> dict[str, Any]:
        """Write `n_tokens` more to each sequence."""
        opened = self.open_ones[name]
        taken = timed(lambda: [self._step(opened) for _ in range(n_tokens)])
        return {**taken, "n_tokens": n_tokens * opened.n_sequences}

    def read_again(self, name: str, n_tokens: int) -> dict[str, Any]:
        """Forget what the context holds and read a prompt of `n_tokens`."""
        opened = self.open_ones[name]
        api.llama_memory_clear(api.llama_get_memory(opened.context), True)
        return {**timed(lambda: self._read(opened, n_tokens)), "n_tokens": n_tokens}

    def close(self, name: str) -> dict[str, Any]:
        """Give a context's memory back."""
        api.llama_free(self.open_ones.pop(name).context)
        return {}

    def _read(self, opened: Open, n_tokens: int) -> None:
        opened.next_ids = []
        for seq_id in range(opened.n_sequences):
            token_ids = [3 + (7 * i + seq_id) % 1000 for i in range(n_tokens)]
            for at in range(0, n_tokens, _CHUNK):
                chunk = token_ids[at : at + _CHUNK]
                for i, token_id in enumerate(chunk):
                    is_last = at + i == n_tokens - 1
                    self._put(i, token_id, at + i, seq_id, is_last)
                self._decode(opened, len(chunk))
            opened.next_ids.append(self._greedy(opened, len(chunk) - 1))
        opened.n_done = n_tokens

    def _step(self, opened: Open) -> None:
        for seq_id, token_id in enumerate(opened.next_ids):
            self._put(seq_id, token_id, opened.n_done, seq_id, True)
        self._decode(opened, opened.n_sequences)
        opened.next_ids = [self._greedy(opened, i) for i in range(opened.n_sequences)]
        opened.n_done += 1

    def _put(self, i: int, token_id: int, position: int, seq_id: int, wants_logits: bool) -> None:
        batch = self.batch
        batch.token[i], batch.pos[i] = token_id, position
        batch.n_seq_id[i], batch.seq_id[i][0] = 1, seq_id
        batch.logits[i] = wants_logits

    def _decode(self, opened: Open, n_tokens: int) -> None:
        self.batch.n_tokens = n_tokens
        status = api.llama_decode(opened.context, self.batch)
        assert status == 0, f"llama_decode returned {status}"

    def _greedy(self, opened: Open, i: int) -> int:
        n_vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.model))
        pointer = api.llama_get_logits_ith(opened.context, i)
        logits = np.ctypeslib.as_array(pointer, shape=(n_vocab,))
        assert np.isfinite(logits[0]), "the peer's logits are not finite"
        return int(logits.argmax())


@api.llama_log_callback
def _only_errors(level: int, text: bytes, _: ctypes.c_void_p) -> None:
    if level >= 3:  # GGML_LOG_LEVEL_WARN
        print(text.decode(errors="replace"), end="")


if __name__ == "__main__":
    api.llama_log_set(_only_errors, None)
    peer = Peer()
    names = ("load", "open", "advance", "read_again", "close")
    answer({name: getattr(peer, name) for name in names})
