"""The true shapes of published models."""

from dataclasses import replace

from sirocco.errors import ConfigError
from sirocco.model.config import ModelConfig, RopeScaling

_MISTRAL_7B = ModelConfig(
    vocab_size=32_000, dim=4096, n_layers=32, n_heads=32, n_kv_heads=8, head_dim=128,
    hidden_dim=14_336, window=4096, max_seq_len=32_768,
)  # fmt: skip
_LLAMA_2_7B = ModelConfig(
    vocab_size=32_000, dim=4096, n_layers=32, n_heads=32, n_kv_heads=32, head_dim=128,
    hidden_dim=11_008, max_seq_len=4096,
)  # fmt: skip
_LLAMA_2_13B = replace(
    _LLAMA_2_7B, dim=5120, n_layers=40, n_heads=40, n_kv_heads=40, hidden_dim=13_824
)

PRESETS: dict[str, ModelConfig] = {
    "mistral-7b": _MISTRAL_7B,
    # v0.2 gave up the window and raised the rotary base instead.
    "mistral-7b-v0.2": replace(_MISTRAL_7B, window=None, rope_theta=1_000_000.0),
    # Two control tokens more, by which turns begin and end.
    "openhermes-2.5-mistral-7b": replace(
        _MISTRAL_7B, vocab_size=32_002, eos_token_ids=(32_000,)
    ),
    "openchat-3.5": replace(
        _MISTRAL_7B, vocab_size=32_002, max_seq_len=8192, eos_token_ids=(32_000,)
    ),
    "llama-2-7b": _LLAMA_2_7B,
    "llama-2-13b": _LLAMA_2_13B,
    "orca-2-13b": replace(_LLAMA_2_13B, vocab_size=32_003),
    "codellama-7b": replace(
        _LLAMA_2_7B, vocab_size=32_016, rope_theta=1_000_000.0, max_seq_len=16_384
    ),
    "tinyllama-1.1b": ModelConfig(
        vocab_size=32_000, dim=2048, n_layers=22, n_heads=32, n_kv_heads=4, head_dim=64,
        hidden_dim=5632, max_seq_len=2048,
    ),
    "llama-3.1-8b": ModelConfig(
        vocab_size=128_256, dim=4096, n_layers=32, n_heads=32, n_kv_heads=8, head_dim=128,
        hidden_dim=14_336, rope_theta=500_000.0,
        rope_scaling=RopeScaling(8.0, 1.0, 4.0, 8192),
        max_seq_len=131_072, bos_token_id=128_000, eos_token_ids=(128_001, 128_008, 128_009),
    ),
    # The embedded model: small enough to train on two cores, with every feature of its family.
    "breeze": ModelConfig(
        vocab_size=4096, dim=256, n_layers=5, n_heads=8, n_kv_heads=2, head_dim=32,
        hidden_dim=640, window=256, max_seq_len=4096, tie_embeddings=True,
    ),
}  # fmt: skip


def preset(name: str) -> ModelConfig:
    """Look up the shape of a published model. Raises: ConfigError naming those there are."""
    if name not in PRESETS:
        raise ConfigError(f"preset {name!r} is not one of {', '.join(PRESETS)}")
    return PRESETS[name]
