"""How many registers do the Triton kernels take on each GPU, and do any spill?

No GPU and no driver is needed: Triton carries NVIDIA's assembler, which says what it gave each
kernel. Registers that spill go through memory in the innermost loop, so one that does fails the
check, and the exit status is 1. `programs` is how many fit on a multiprocessor at once, by
registers, shared memory and threads, of which each hides the others' waiting.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
except ImportError:
    print("gpu_kernels: triton is not installed; pip install 'sirocco[gpu]'")
    sys.exit(0)

from sirocco.attention import triton_kernels as kernels
from sirocco.attention.triton_paged import Tiling, append_sizes

SHARED_BYTES = {80: 164 * 1024, 90: 228 * 1024, 100: 228 * 1024}
"""Shared memory of a multiprocessor by compute capability, from the CUDA programming guide."""


@dataclass(frozen=True, slots=True)
class Case:
    """A shape of attention: the preset's heads, or the same network as MHA or MQA."""

    name: str
    n_heads: int
    n_kv_heads: int
    window: int
    has_scales: bool = False
    head_dim: int = 128
    dtype: str = "bf16"

    @property
    def group(self) -> int:
        """Query heads that share a KV head."""
        return self.n_heads // self.n_kv_heads


CASES = (
    Case("mistral-7b", 32, 8, 4096),
    Case("mistral-7b, fp16", 32, 8, 4096, dtype="fp16"),
    Case("mistral-7b, no window", 32, 8, 0),
    Case("mistral-7b, fp8 cache", 32, 8, 4096, has_scales=True),
    Case("as MHA", 32, 32, 4096),
    Case("as MQA", 32, 1, 4096),
    Case("tinyllama-1.1b", 32, 4, 0, head_dim=64),
)


def main() -> None:
    """Compile everything, print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--capabilities", nargs="+", type=int, default=[80, 90, 100])
    parser.add_argument("--cases", nargs="+", default=[case.name for case in CASES])
    options = parser.parse_args()
    rows = []
    for capability in options.capabilities:
        for case in CASES:
            if case.name not in options.cases or (case.has_scales and capability < 89):
                continue
            for row in compiled(case, capability):
                rows.append(row)
                show(row)
    print(json.dumps({"benchmark": "gpu_kernels", "triton": triton.__version__, "rows": rows}))
    if any(row["spills"] or not row["programs"] for row in rows):
        sys.exit("gpu_kernels: some registers spill, or a program does not fit")


def compiled(case: Case, capability: int) -> Iterator[dict[str, Any]]:
    """Compile the kernels for one shape, and read what the assembler gave them."""
    tiling = Tiling.of(case.group, capability)
    padded_group = triton.next_power_of_2(case.group)
    common = {
        "GROUP": case.group, "N_KV_HEADS": case.n_kv_heads, "HEAD_DIM": case.head_dim,
        "HAS_SCALES": case.has_scales,
    }  # fmt: skip
    seen = {"PADDED_DIM": case.head_dim, "WINDOW": case.window, "SPLIT": tiling.split}
    tokens, warps = append_sizes(4096, padded_group, case.head_dim // 2)
    q_stride = case.n_heads * case.head_dim
    row_stride = q_stride + 2 * case.n_kv_heads * case.head_dim
    for decodes in (True, False):
        attends = {
            "Q_STRIDE": q_stride, "BLOCK_SIZE": 16, "ROWS": tiling.rows, "KEYS": tiling.keys,
            "DECODES": decodes, "UPCAST": False,
        }  # fmt: skip
        row = measured(
            kernels.attend_kernel, case, capability, warps=tiling.warps, stages=tiling.stages,
            constants=common | seen | attends,
        )  # fmt: skip
        yield row | {"kernel": "attend, decode" if decodes else "attend, any"}
    yield measured(
        kernels.merge_kernel, case, capability, warps=4, stages=3,
        constants=common | seen | {"PADDED_GROUP": padded_group, "AT_ONCE": 8},
    )  # fmt: skip
    yield measured(
        kernels.append_kernel, case, capability, warps=warps, stages=3,
        constants=common | {"Q_STRIDE": row_stride, "K_STRIDE": row_stride, "TOKENS": tokens,
                            "V_STRIDE": row_stride, "PADDED_GROUP": padded_group,
                            "PADDED_HALF": case.head_dim // 2, "ROTATES": True, "ROUNDS": False},
    )  # fmt: skip


def measured(
    kernel: Any, case: Case, capability: int, *, warps: int, stages: int, constants: dict[str, Any]
) -> dict[str, Any]:
    """Compile one kernel as the launcher would, all pointers at multiples of 16 bytes."""
    names = kernel.arg_names
    signature = {name: "constexpr" if name in constants else _type(name, case) for name in names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, n in enumerate(names) if n.endswith("_ptr")}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    target = GPUTarget("cuda", capability, 32)
    binary = triton.compile(
        source, target=target, options={"num_warps": warps, "num_stages": stages}
    )
    registers, stack, local = _resources(binary.asm["cubin"])
    shared = binary.metadata.shared
    n_programs = min(
        65_536 // (registers * 32 * warps), 2048 // (32 * warps),
        SHARED_BYTES[capability] // (shared + 1024),
    )  # fmt: skip
    return {
        "sm": capability, "case": case.name, "kernel": kernel.__name__, "registers": registers,
        "spills": stack + local, "shared_bytes": shared, "programs": n_programs,
    }  # fmt: skip


def _type(name: str, case: Case) -> str:
    special = {
        "scale": "fp32", "table_ptr": "*i32", "blocks_ptr": "*i32", "slots_ptr": "*i32",
    }  # fmt: skip
    if name in special:
        return special[name]
    if name.startswith(("partial", "cos", "sin")) and name.endswith("_ptr"):
        return "*fp32"
    cached = ("k_cache_ptr", "v_cache_ptr")
    if case.has_scales and "scale" in name:
        return "*fp32"
    if case.has_scales and name in cached:
        return "*fp8e4nv"
    return f"*{case.dtype}" if name.endswith("_ptr") else "i32"


def _resources(cubin: bytes) -> tuple[int, int, int]:
    """Read the registers of a thread, and bytes of its stack and local memory, which are spills."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run(
            [str(tool), "--dump-resource-usage", file.name],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", text)
    assert found is not None, text
    registers, stack, local = (int(number) for number in found.groups())
    return registers, stack, local


def show(row: dict[str, Any]) -> None:
    """Print a line of the table for people."""
    print(
        f"  sm_{row['sm']:<5}{row['case']:<24}{row['kernel']:<16}{row['registers']:>4} registers"
        f"{row['spills']:>5} B spilled{row['shared_bytes']:>8} B shared"
        f"{row['programs']:>4} programs",
        flush=True,
    )


if __name__ == "__main__":
    main()
