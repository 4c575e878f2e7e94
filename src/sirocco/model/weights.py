"""Weights on disk: safetensors in the Hugging Face layout, or in Mistral's own.

Files are memory-mapped and tensors are taken one at a time, or a few for a GPU (`streaming.py`),
so loading needs the memory of the network and of these. Everything is checked against the files'
headers first: one error names every tensor that is missing, unexpected or of another shape.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sirocco.errors import CheckpointError, ConfigError
from sirocco.model.config import ModelConfig
from sirocco.model.linear import (
    PLAIN,
    WeightFormat,
    float_weight,
    place,
    place_matrix,
    quantized_shapes,
    rounded_matrix,
)
from sirocco.model.parallel import WHOLE, Part, network_of
from sirocco.model.rope import half_split_from_interleaved
from sirocco.model.streaming import Copies, CudaCopies, streamed
from sirocco.model.transformer import Transformer
from sirocco.native.linear import GROUP, QuantizedMatrix, settle

INDEX = "model.safetensors.index.json"
"""Says which file holds which tensor, where there are several."""

_FLOAT_DTYPES = ("F64", "F32", "F16", "BF16")
_DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "U8": 1}
_MOST_FAULTS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Layout:
    """How a kind of checkpoint names its tensors.

    Attributes:
        top, in_layer: our names → theirs, outside the layers and inside one.
        layer_prefix: what stands before a layer's number.
        interleaved: rotary pairs are neighbours, not half-split.
        ignored: endings of tensors that carry nothing to learn from.
    """

    top: dict[str, str]
    in_layer: dict[str, str]
    layer_prefix: str
    interleaved: bool
    ignored: tuple[str, ...] = ()

    def name_of(self, ours: str) -> str:
        """Their name of one of our parameters.

        `layers.3.attention.wq.weight` is `model.layers.3.self_attn.q_proj.weight` in HF's.
        """
        if ours in self.top:
            return self.top[ours]
        _, number, inner = ours.split(".", 2)
        return f"{self.layer_prefix}{number}.{self.in_layer[inner]}"


HF_LAYOUT = Layout(
    top={
        "embedding.weight": "model.embed_tokens.weight",
        "norm.weight": "model.norm.weight",
        "head.weight": "lm_head.weight",
    },
    in_layer={
        "attention_norm.weight": "input_layernorm.weight",
        "attention.wq.weight": "self_attn.q_proj.weight",
        "attention.wk.weight": "self_attn.k_proj.weight",
        "attention.wv.weight": "self_attn.v_proj.weight",
        "attention.wo.weight": "self_attn.o_proj.weight",
        "feed_forward_norm.weight": "post_attention_layernorm.weight",
        "feed_forward.w1.weight": "mlp.gate_proj.weight",
        "feed_forward.w2.weight": "mlp.down_proj.weight",
        "feed_forward.w3.weight": "mlp.up_proj.weight",
    },
    layer_prefix="model.layers.",
    interleaved=False,
    ignored=("rotary_emb.inv_freq",),
)

MISTRAL_LAYOUT = Layout(
    top={
        "embedding.weight": "tok_embeddings.weight",
        "norm.weight": "norm.weight",
        "head.weight": "output.weight",
    },
    in_layer={name: name.replace("feed_forward_norm", "ffn_norm") for name in HF_LAYOUT.in_layer},
    layer_prefix="layers.",
    interleaved=True,
    ignored=("rope.freqs",),
)


def layout_of(folder: Path) -> Layout:
    """Tell a checkpoint's layout by its config, as `ModelConfig.from_folder` does."""
    return HF_LAYOUT if (folder / "config.json").exists() else MISTRAL_LAYOUT


def load_model(
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    weights: WeightFormat = PLAIN,
    part: Part = WHOLE,
    make_copies: Callable[[], Copies] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Transformer:
    """Load a checkpoint folder into a network.

    Args:
        weights: the format to keep them in; a quantised checkpoint can only be kept as it is.
        part: the share of one device of several; nothing else is read.
        make_copies: how bytes go to the device; None is by pinned buffers to a GPU, and on a CPU
            straight from the mapped file.
        on_progress: told (bytes loaded, bytes in all) after each parameter.

    Raises: CheckpointError in one sentence; faults of single tensors are all named; ConfigError.
    """
    place_of = torch.device(device)
    if make_copies is None and place_of.type == "cuda":
        make_copies = partial(CudaCopies, place_of)
    with ExitStack() as files:
        whole, layout, tensors = _opened(folder, files)
        stored_bits = bits_of_checkpoint(folder)
        _check_format(folder, stored_bits, weights, part)
        model = network_of(whole.config, part)
        names = [name for name, _ in model.named_parameters()]
        as_floats = [name for name in names if layout.name_of(name) in tensors]
        wanted = _wanted(whole, names, layout, stored_bits)
        progress = _Progress(sum(tensors[name].n_bytes for name in wanted), on_progress)
        read = ((name, part.of(name, tensors[layout.name_of(name)].read())) for name in as_floats)
        for name, stored in read if make_copies is None else streamed(read, make_copies):
            tensor = _half_split(name, stored, model.config) if layout.interleaved else stored
            place(model, name, tensor.to(place_of).contiguous(), weights)
            progress.add(tensors[layout.name_of(name)])
        for name in (name for name in names if name not in set(as_floats)):
            n_rows = model.get_parameter(name).shape[0]
            both = [tensors[layout.name_of(name) + end] for end in _QUANTIZED_PARTS]
            tiles, scales = (settle(one.read()) for one in both)
            place_matrix(model, name, QuantizedMatrix(tiles, scales, n_rows))
            progress.add(*both)
    part.join(model)
    return model.eval()


@dataclass(slots=True)
class _Progress:
    """Bytes so far, of all, and who wants to know."""

    n_in_all: int
    tell: Callable[[int, int], None] | None
    n_done: int = 0

    def add(self, *stored: "_Stored") -> None:
        self.n_done += sum(one.n_bytes for one in stored)
        if self.tell is not None:
            self.tell(self.n_done, self.n_in_all)


def _check_format(folder: Path, stored_bits: int | None, weights: WeightFormat, part: Part) -> None:
    if stored_bits is not None and stored_bits != weights.bits:
        raise ConfigError(
            f"weights must be q{stored_bits}, as {folder} has them, not {weights.name}"
        )
    if stored_bits is not None and part.n_ranks > 1:
        raise ConfigError(f"the weights in {folder} are rounded and cannot be cut for several GPUs")


def check_checkpoint(folder: Path) -> None:
    """Look at a checkpoint's config and at the headers of its files; no weights are read.

    Raises: CheckpointError in one sentence; faults of single tensors are all named.
    """
    with ExitStack() as files:
        _opened(folder, files)


def _opened(folder: Path, files: ExitStack) -> tuple[Transformer, Layout, dict[str, "_Stored"]]:
    """Give a network without weights, and the tensors of a checkpoint that belong into it."""
    config = ModelConfig.from_folder(folder)
    layout = layout_of(folder)
    with torch.device("meta"):
        model = Transformer(config)
    tensors = _open_tensors(folder, files)
    names = [name for name, _ in model.named_parameters()]
    wanted = _wanted(model, names, layout, bits_of_checkpoint(folder))
    _check(tensors, wanted, layout=layout, config=config, folder=folder)
    return model, layout, tensors


def bits_of_checkpoint(folder: Path) -> int | None:
    """Tell whether a checkpoint was written by `save_quantized`, and with how many bits.

    Raises: CheckpointError if its config names another way to quantise.
    """
    try:
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        quantization = raw.get("quantization_config")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None  # what is wrong with it is told by whoever needs it
    if not quantization:
        return None
    if quantization == _quantization(4) or quantization == _quantization(8):
        return int(quantization["bits"])
    raise CheckpointError(f"{folder / 'config.json'}: {quantization!r} is not a way to quantise "
                          f"that is supported; Sirocco's own is {_quantization(4)!r}")  # fmt: skip


def save_quantized(model: Transformer, folder: Path) -> None:
    """Write a network of q4 or q8 weights as a checkpoint that loads by mapping it into memory.

    Names are those of the Hugging Face layout; a rounded matrix is two tensors, `….tiles` and
    `….scales`, as `native/linear.h` draws them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    bits = 0
    for name in _parameter_names(model.config):
        stored_name = HF_LAYOUT.name_of(name)
        matrix = rounded_matrix(model, name)
        if matrix is not None:
            bits = matrix.bits
            tensors[stored_name + ".tiles"] = matrix.tiles
            tensors[stored_name + ".scales"] = matrix.scales
        else:
            tensors[stored_name] = float_weight(model, name)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # the library leaves it to its owner alone
    raw = model.config.to_hf() | {"quantization_config": _quantization(bits)}
    (folder / "config.json").write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")


def _parameter_names(config: ModelConfig) -> list[str]:
    """Names of a network's weights, those that native layers hold included."""
    with torch.device("meta"):
        return [name for name, _ in Transformer(config).named_parameters()]


_QUANTIZED_PARTS = (".tiles", ".scales")


def _quantization(bits: int) -> dict[str, object]:
    return {"quant_method": "sirocco", "bits": bits, "group_size": GROUP, "version": 1}


def save_model(model: Transformer, folder: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write `config.json` and `model.safetensors` in the Hugging Face layout."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        HF_LAYOUT.name_of(name): float_weight(model, name).to("cpu", dtype).contiguous()
        for name in _parameter_names(model.config)
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # the library leaves it to its owner alone
    raw = model.config.to_hf() | {"dtype": str(dtype).removeprefix("torch.")}
    (folder / "config.json").write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class _Stored:
    """A tensor in a file that is mapped, but not read."""

    file: Any
    name: str
    shape: list[int]
    dtype: str

    @property
    def n_bytes(self) -> int:
        return prod(self.shape) * _DTYPE_BYTES[self.dtype]

    def read(self) -> Tensor:
        tensor: Tensor = self.file.get_tensor(self.name)
        return tensor


def _open_tensors(folder: Path, files: ExitStack) -> dict[str, _Stored]:
    """Map every file of a checkpoint and list the tensors that their headers name."""
    stored: dict[str, _Stored] = {}
    for path in weight_files(folder):
        try:
            file = files.enter_context(safe_open(path, framework="pt"))
            for name in file.keys():  # noqa: SIM118 - not a mapping
                piece = file.get_slice(name)
                stored[name] = _Stored(file, name, piece.get_shape(), str(piece.get_dtype()))
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is not a whole safetensors file: {error}") from error
    return stored


def weight_files(folder: Path) -> list[Path]:
    """List the files that hold a checkpoint's tensors. Raises: CheckpointError if there is none."""
    index = folder / INDEX
    if index.exists():
        return sorted(_indexed_files(folder, index))
    for name in ("model.safetensors", "consolidated.safetensors"):
        if (folder / name).exists():
            return [folder / name]
    raise CheckpointError(
        f"{folder} has no weights: model.safetensors, its index, or consolidated.safetensors"
    )


def _indexed_files(folder: Path, index: Path) -> Iterator[Path]:
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{index} is not an index of safetensors: {error!r}") from error
    for name in names:
        # The index is data from outside: it may not lead out of the folder.
        if not isinstance(name, str) or Path(name).name != name or "\\" in name:
            raise CheckpointError(f"{index} names {name!r}, which is not a file of the folder")
        if not (folder / name).is_file():
            raise CheckpointError(f"{index} names {name}, which is not there")
        yield folder / name


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a tensor in a file must be."""

    shape: list[int]
    dtypes: tuple[str, ...] = _FLOAT_DTYPES


def _wanted(
    model: Transformer, names: list[str], layout: Layout, stored_bits: int | None
) -> dict[str, _Wanted]:
    """Every tensor that the files must hold, by its name there."""
    wanted: dict[str, _Wanted] = {}
    for name in names:
        stored_name = layout.name_of(name)
        shapes = quantized_shapes(model, name, stored_bits) if stored_bits is not None else None
        if shapes is None:
            wanted[stored_name] = _Wanted(list(model.get_parameter(name).shape))
        else:
            wanted[stored_name + ".tiles"] = _Wanted(list(shapes[0]), ("U8",))
            wanted[stored_name + ".scales"] = _Wanted(list(shapes[1]), ("F16",))
    return wanted


def _check(
    stored: dict[str, _Stored],
    wanted: dict[str, _Wanted],
    *,
    layout: Layout,
    config: ModelConfig,
    folder: Path,
) -> None:
    faults = [f"missing {name}" for name in wanted if name not in stored]
    for name, tensor in stored.items():
        if name not in wanted:
            tied_head = config.tie_embeddings and name == layout.top["head.weight"]
            if not tied_head and not name.endswith(layout.ignored):
                faults.append(f"unexpected {name}")
        elif tensor.shape != wanted[name].shape:
            faults.append(f"{name} is {tensor.shape}, expected {wanted[name].shape}")
        elif tensor.dtype not in wanted[name].dtypes:
            allowed = "/".join(wanted[name].dtypes)
            faults.append(f"{name} has dtype {tensor.dtype}, expected {allowed}")
    if faults:
        shown = "; ".join(faults[:_MOST_FAULTS_SHOWN])
        more = f"; and {len(faults) - _MOST_FAULTS_SHOWN} more" * (len(faults) > _MOST_FAULTS_SHOWN)
        raise CheckpointError(
            f"the weights in {folder} do not match its config ({len(faults)} faults): {shown}{more}"
        )


def _half_split(name: str, tensor: Tensor, config: ModelConfig) -> Tensor:
    if name.endswith("attention.wq.weight"):
        return half_split_from_interleaved(tensor, config.n_heads)
    if name.endswith("attention.wk.weight"):
        return half_split_from_interleaved(tensor, config.n_kv_heads)
    return tensor
