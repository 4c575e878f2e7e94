import numpy as np
from numpy.typing import NDArray
from torch import Tensor

def cpu_features() -> list[str]: ...
def isas() -> list[str]: ...
def rms_norm(
    x: int, weight: int, eps: float, out: int, n_rows: int, dim: int, isa: str
) -> None: ...
def n_threads() -> int: ...
def set_n_threads(n: int) -> None: ...
def quantize(weights: Tensor, bits: int, tiles: Tensor, scales: Tensor) -> None: ...

class Matrix:
    n_rows: int
    n_columns: int

def matrix(tiles: Tensor, scales: Tensor, n_rows: int) -> Matrix: ...
def settle(mapped: Tensor, out: Tensor) -> None: ...
def pack(weights: Tensor, panels: Tensor) -> None: ...
def float_matrix(panels: Tensor, n_rows: int) -> Matrix: ...
def float_rows(matrix: Matrix, rows: Tensor, out: Tensor) -> None: ...
def linear(
    x: int,
    n_rows: int,
    n_columns: int,
    matrices: list[Matrix],
    outs: list[int],
    adds: bool,
    isa: str,
) -> None: ...
def swiglu(gate: int, value: int, out: int, n_rows: int, dim: int, isa: str) -> None: ...
def rotate(x: int, cosine: int, sine: int, n_rows: int, n_heads: int, d: int, isa: str) -> None: ...

class KvLayer:
    def __init__(
        self, k: Tensor, v: Tensor, k_scales: Tensor | None, v_scales: Tensor | None
    ) -> None: ...

class AttentionPlan:
    def __init__(
        self,
        spans: NDArray[np.int64],
        block_ids: NDArray[np.int32],
        n_blocks: int,
        block_size: int,
        window: int | None,
    ) -> None: ...

def paged_attention(
    layer: KvLayer,
    plan: AttentionPlan,
    q: NDArray[np.float32],
    k: NDArray[np.float32],
    v: NDArray[np.float32],
    out: NDArray[np.float32],
    isa: str,
) -> None: ...

class LayerWeights:
    def __init__(
        self,
        attention_norm: Tensor,
        feed_forward_norm: Tensor,
        eps: float,
        n_heads: int,
        wq: Matrix,
        wk: Matrix,
        wv: Matrix,
        wo: Matrix,
        w1: Matrix,
        w2: Matrix,
        w3: Matrix,
        owned: object,
    ) -> None: ...

def run_layers(
    layers: list[LayerWeights],
    x: int,
    n_rows: int,
    cosine: int,
    sine: int,
    kv: list[KvLayer],
    plan: AttentionPlan,
    isa: str,
) -> None: ...
