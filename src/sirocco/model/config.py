"""The shape of a network. The only place, with `weights.py`, that knows checkpoint files' names."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sirocco.errors import CheckpointError

FAMILIES = ("mistral", "llama")
"""The `model_type`s of config.json that one `Transformer` computes."""


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """How Llama 3 stretches rotary positions past the length it was trained on.

    Source: Llama 3.1 release, `rope_type: llama3`; see `rope.py` for the formula.
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_seq_len: int


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Everything that fixes the shape and arithmetic of a network.

    Attributes:
        vocab_size, dim, hidden_dim: vocabulary; residual stream; inner feed-forward width.
        n_layers, n_heads, n_kv_heads, head_dim: depth; query heads; KV heads; width of a head.
            n_kv_heads = n_heads is MHA, 1 is MQA, anything between that divides it is GQA.
        norm_eps: added to the mean square in RMSNorm.
        rope_theta, rope_scaling: rotary base; Llama 3's stretch, or None.
        window: keys a query may see, itself included; None sees all.
        max_seq_len: prompt plus output tokens the model can hold.
        tie_embeddings: the head is the transposed embedding.
        bos_token_id, eos_token_ids: what begins a sequence, and what ends an answer.

    Raises: ValueError naming the field if the numbers cannot be a network.
    """

    vocab_size: int
    dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    hidden_dim: int
    norm_eps: float = 1e-5
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    window: int | None = None
    max_seq_len: int = 4096
    tie_embeddings: bool = False
    bos_token_id: int | None = 1
    eos_token_ids: tuple[int, ...] = (2,)

    def __post_init__(self) -> None:
        for name in _COUNTS:
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ValueError(f"{name} must be a positive integer, got {getattr(self, name)!r}")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_kv_heads {self.n_kv_heads} must divide n_heads {self.n_heads}")
        if self.head_dim % 2:
            raise ValueError(f"head_dim must be even for rotary positions, got {self.head_dim}")
        if self.window is not None and self.window < 1:
            raise ValueError(f"window must be at least 1 or None, got {self.window}")

    @property
    def group_size(self) -> int:
        """Query heads that share one KV head."""
        return self.n_heads // self.n_kv_heads

    @property
    def n_parameters(self) -> int:
        """Weights of the whole network; a tied head is counted once."""
        attention = 2 * self.dim * (self.n_heads + self.n_kv_heads) * self.head_dim
        feed_forward = 3 * self.dim * self.hidden_dim
        per_layer = attention + feed_forward + 2 * self.dim
        embeddings = self.vocab_size * self.dim * (1 if self.tie_embeddings else 2)
        return self.n_layers * per_layer + embeddings + self.dim

    @classmethod
    def from_folder(cls, folder: Path) -> "ModelConfig":
        """Read a checkpoint's `config.json` (Hugging Face) or `params.json` (Mistral).

        Raises: CheckpointError in one sentence if it is absent, not JSON, or not of our family.
        """
        if not folder.is_dir():
            raise CheckpointError(f"{folder} is not a folder")
        if (folder / "config.json").exists():
            raw = _with_generation_eos(_read_json(folder / "config.json"), folder)
            return cls.from_hf(raw, source=str(folder / "config.json"))
        if (folder / "params.json").exists():
            raw = _read_json(folder / "params.json")
            return cls.from_params(raw, source=str(folder / "params.json"))
        raise CheckpointError(
            f"{folder} is not a checkpoint: it has no config.json and no params.json"
        )

    @classmethod
    def from_hf(cls, raw: Mapping[str, Any], *, source: str = "config.json") -> "ModelConfig":
        """Translate the names of a Hugging Face config.

        Raises: CheckpointError naming what is missing, wrong, or not supported.
        """
        _refuse_foreign(raw, source)
        try:
            return cls(
                vocab_size=raw["vocab_size"],
                dim=raw["hidden_size"],
                n_layers=raw["num_hidden_layers"],
                n_heads=raw["num_attention_heads"],
                n_kv_heads=raw.get("num_key_value_heads") or raw["num_attention_heads"],
                head_dim=raw.get("head_dim") or raw["hidden_size"] // raw["num_attention_heads"],
                hidden_dim=raw["intermediate_size"],
                norm_eps=raw.get("rms_norm_eps", 1e-6),
                rope_theta=_rope(raw).get("rope_theta") or raw.get("rope_theta") or 10_000.0,
                rope_scaling=_rope_scaling(raw, source),
                window=raw.get("sliding_window"),
                max_seq_len=raw.get("max_position_embeddings", 4096),
                tie_embeddings=bool(raw.get("tie_word_embeddings", False)),
                bos_token_id=raw.get("bos_token_id", 1),
                eos_token_ids=_as_ids(raw.get("eos_token_id", 2)),
            )
        except KeyError as missing:
            raise CheckpointError(f"{source} has no {missing.args[0]!r}") from missing
        except (TypeError, ValueError, ZeroDivisionError) as error:
            raise CheckpointError(f"{source}: {error}") from error

    @classmethod
    def from_params(cls, raw: Mapping[str, Any], *, source: str = "params.json") -> "ModelConfig":
        """Translate the names of a Mistral `params.json`, which are ours but for the window.

        Raises: CheckpointError naming what is missing or wrong.
        """
        if raw.get("moe") or raw.get("vision_encoder"):
            raise CheckpointError(f"{source}: mixtures of experts and vision are not supported")
        try:
            return cls(
                vocab_size=raw["vocab_size"],
                dim=raw["dim"],
                n_layers=raw["n_layers"],
                n_heads=raw["n_heads"],
                n_kv_heads=raw.get("n_kv_heads") or raw["n_heads"],
                head_dim=raw.get("head_dim") or raw["dim"] // raw["n_heads"],
                hidden_dim=raw["hidden_dim"],
                norm_eps=raw.get("norm_eps", 1e-5),
                rope_theta=raw.get("rope_theta") or 10_000.0,
                window=raw.get("sliding_window"),
                max_seq_len=raw.get("max_seq_len") or 32_768,
            )
        except KeyError as missing:
            raise CheckpointError(f"{source} has no {missing.args[0]!r}") from missing
        except (TypeError, ValueError, ZeroDivisionError) as error:
            raise CheckpointError(f"{source}: {error}") from error

    def to_hf(self) -> dict[str, Any]:
        """Write down the `config.json` that this config would be read from."""
        raw: dict[str, Any] = {
            "architectures": ["MistralForCausalLM" if self.window else "LlamaForCausalLM"],
            "model_type": "mistral" if self.window else "llama",
            "vocab_size": self.vocab_size,
            "hidden_size": self.dim,
            "num_hidden_layers": self.n_layers,
            "num_attention_heads": self.n_heads,
            "num_key_value_heads": self.n_kv_heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.hidden_dim,
            "rms_norm_eps": self.norm_eps,
            "rope_theta": self.rope_theta,
            "sliding_window": self.window,
            "max_position_embeddings": self.max_seq_len,
            "tie_word_embeddings": self.tie_embeddings,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": list(self.eos_token_ids),
            "hidden_act": "silu",
        }
        if self.rope_scaling is not None:
            raw["rope_scaling"] = {
                "rope_type": "llama3",
                "factor": self.rope_scaling.factor,
                "low_freq_factor": self.rope_scaling.low_freq_factor,
                "high_freq_factor": self.rope_scaling.high_freq_factor,
                "original_max_position_embeddings": self.rope_scaling.original_max_seq_len,
            }
        return raw


def write_config_with_kv_heads(folder: Path, out: Path, n_kv_heads: int) -> None:
    """Write a checkpoint's config into `out` with another number of KV heads, all else the same.

    Raises: CheckpointError if it is absent or not JSON.
    """
    is_hf = (folder / "config.json").exists()
    file, key = ("config.json", "num_key_value_heads") if is_hf else ("params.json", "n_kv_heads")
    raw = _read_json(folder / file) | {key: n_kv_heads}
    (out / file).write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")


_COUNTS = (
    "vocab_size", "dim", "n_layers", "n_heads", "n_kv_heads", "head_dim", "hidden_dim",
    "max_seq_len",
)  # fmt: skip


def _read_json(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(raw, dict):
        raise CheckpointError(f"{path} must hold an object, not {type(raw).__name__}")
    return raw


def _with_generation_eos(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Llama 3.1 names all of its end tokens in generation_config.json alone."""
    try:
        generation = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
        return raw | {"eos_token_id": generation["eos_token_id"]}
    except (OSError, ValueError, KeyError, TypeError):
        return raw


def _refuse_foreign(raw: Mapping[str, Any], source: str) -> None:
    """Say no to what our arithmetic would silently get wrong."""
    if raw.get("model_type") not in FAMILIES:
        raise CheckpointError(
            f"{source}: model_type {raw.get('model_type')!r} is not one of {', '.join(FAMILIES)}"
        )
    if raw.get("hidden_act", "silu") != "silu":
        raise CheckpointError(f"{source}: hidden_act {raw['hidden_act']!r} is not 'silu'")
    for bias in ("attention_bias", "mlp_bias"):
        if raw.get(bias):
            raise CheckpointError(f"{source}: {bias} is not supported")
    quantization = raw.get("quantization_config")
    is_ours = isinstance(quantization, dict) and quantization.get("quant_method") == "sirocco"
    if quantization and not is_ours:
        raise CheckpointError(f"{source}: foreign quantised checkpoints are not supported")


def _rope(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Rotary settings: `rope_parameters` since transformers 5, `rope_scaling` before."""
    return raw.get("rope_parameters") or raw.get("rope_scaling") or {}


def _rope_scaling(raw: Mapping[str, Any], source: str) -> RopeScaling | None:
    rope = _rope(raw)
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return None
    if kind != "llama3":
        raise CheckpointError(f"{source}: rope_type {kind!r} is not 'default' or 'llama3'")
    return RopeScaling(
        factor=rope["factor"],
        low_freq_factor=rope["low_freq_factor"],
        high_freq_factor=rope["high_freq_factor"],
        original_max_seq_len=rope["original_max_position_embeddings"],
    )


def _as_ids(value: int | list[int] | None) -> tuple[int, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, int) else tuple(value)
