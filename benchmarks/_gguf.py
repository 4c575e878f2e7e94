"""Write a GGUF file of a model's shape with random blocks: the peer's food.

Runs in the peer's environment: `python _gguf.py SHAPE_JSON q4|q8 FILE`. One tensor at a time is
in memory. Every matrix is Q4_0 or Q8_0, the embedding and the head among them, so that both
engines read the same number of bits.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType

GROUP = 32
FORMATS = {
    "q4": (GGMLQuantizationType.Q4_0, LlamaFileType.MOSTLY_Q4_0, GROUP // 2, 4.6),
    "q8": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0, GROUP, 73.9),
}
"""Type of a tensor, type of a file, bytes of a group's integers, their standard deviation."""

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6  # kinds of token in a SentencePiece vocabulary


def main() -> None:
    """Write beside the file and rename, so that a file that is there is whole."""
    shape, name, target = json.loads(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    part = target.with_suffix(".part")
    tensor_type, file_type, _, _ = FORMATS[name]
    writer = GGUFWriter(part, "llama")
    add_shape(writer, shape)
    writer.add_file_type(file_type)
    add_vocabulary(writer, shape["vocab_size"])
    tensors = list(matrices_and_norms(shape))
    for tensor, n_rows, n_columns in tensors:
        if n_rows is None:
            writer.add_tensor_info(tensor, (n_columns,), np.dtype("float32"), 4 * n_columns)
            continue
        row_bytes = n_columns // GROUP * group_bytes(name)
        writer.add_tensor_info(
            tensor, (n_rows, row_bytes), np.dtype("uint8"), n_rows * row_bytes, tensor_type
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = np.random.default_rng(0)
    for _, n_rows, n_columns in tensors:
        if n_rows is None:
            writer.write_tensor_data(np.ones(n_columns, np.float32))
        else:
            writer.write_tensor_data(random_matrix(rng, name, n_rows, n_columns))
    writer.close()
    part.rename(target)


def group_bytes(name: str) -> int:
    """Bytes of 32 weights: a float16 scale and their integers."""
    return 2 + FORMATS[name][2]


def matrices_and_norms(shape: dict[str, int]) -> Iterator[tuple[str, int | None, int]]:
    """Name, rows (None for a norm's vector) and columns of each tensor."""
    dim, hidden_dim, vocab_size = shape["dim"], shape["hidden_dim"], shape["vocab_size"]
    q_dim = shape["n_heads"] * shape["head_dim"]
    kv_dim = shape["n_kv_heads"] * shape["head_dim"]
    yield "token_embd.weight", vocab_size, dim
    for layer in range(shape["n_layers"]):
        yield f"blk.{layer}.attn_norm.weight", None, dim
        yield f"blk.{layer}.attn_q.weight", q_dim, dim
        yield f"blk.{layer}.attn_k.weight", kv_dim, dim
        yield f"blk.{layer}.attn_v.weight", kv_dim, dim
        yield f"blk.{layer}.attn_output.weight", dim, q_dim
        yield f"blk.{layer}.ffn_norm.weight", None, dim
        yield f"blk.{layer}.ffn_gate.weight", hidden_dim, dim
        yield f"blk.{layer}.ffn_up.weight", hidden_dim, dim
        yield f"blk.{layer}.ffn_down.weight", dim, hidden_dim
    yield "output_norm.weight", None, dim
    if not shape["tie_embeddings"]:
        yield "output.weight", vocab_size, dim


def random_matrix(
    rng: np.random.Generator, name: str, n_rows: int, n_columns: int
) -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]]":
    """Blocks of the format as bytes; the weights have variance 1 / columns."""
    _, _, n_bytes, deviation = FORMATS[name]
    n_groups = n_rows * n_columns // GROUP
    blocks = np.empty((n_groups, 2 + n_bytes), np.uint8)
    scale = np.float16(n_columns**-0.5 / deviation)
    blocks[:, :2] = np.frombuffer(scale.tobytes(), np.uint8)
    blocks[:, 2:] = rng.integers(0, 256, (n_groups, n_bytes), np.uint8)
    return blocks.reshape(n_rows, -1)


def add_shape(writer: GGUFWriter, shape: dict[str, float]) -> None:
    """Write the keys of the `llama` architecture."""
    writer.add_context_length(int(shape["max_seq_len"]))
    writer.add_embedding_length(int(shape["dim"]))
    writer.add_block_count(int(shape["n_layers"]))
    writer.add_feed_forward_length(int(shape["hidden_dim"]))
    writer.add_head_count(int(shape["n_heads"]))
    writer.add_head_count_kv(int(shape["n_kv_heads"]))
    writer.add_key_length(int(shape["head_dim"]))
    writer.add_value_length(int(shape["head_dim"]))
    writer.add_rope_dimension_count(int(shape["head_dim"]))
    writer.add_rope_freq_base(shape["rope_theta"])
    writer.add_layer_norm_rms_eps(shape["norm_eps"])
    writer.add_vocab_size(int(shape["vocab_size"]))


def add_vocabulary(writer: GGUFWriter, vocab_size: int) -> None:
    """Write the smallest vocabulary that loads: special tokens, bytes, numbered words."""
    special = ["<unk>", "<s>", "</s>"]
    of_bytes = [f"<0x{byte:02X}>" for byte in range(256)]
    n_words = vocab_size - len(special) - len(of_bytes)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([*special, *of_bytes, *(f"w{i}" for i in range(n_words))])
    writer.add_token_scores([0.0] * vocab_size)
    writer.add_token_types([UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * n_words])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


if __name__ == "__main__":
    main()
