"""How near does the engine come to what a GPU can do? Everything in one visit of eight minutes.

Each part asks one question and writes its rows beside the limit that holds for them: the bytes a
step must read at the rate at which this card copies, or its multiplications at the rate of a
large product of bfloat16 matrices, both measured in the same run. A part that fails says so in
its row, and the others go on. A part that would begin too late is left out, and named.

    python benchmarks/gpu.py --save          # on a card: Mistral 7B's shape, random weights
    python benchmarks/gpu.py --rehearse      # on a CPU: a tiny shape through Triton's interpreter

A rehearsal shows that all of it runs. Its numbers mean nothing, and are not kept.
"""

import os
import sys

if "--rehearse" in sys.argv:
    os.environ["TRITON_INTERPRET"] = "1"  # read when the kernels are imported

import gc
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import tokenizers
import torch
from _report import arguments, finish

from sirocco.attention.base import Span
from sirocco.attention.dense import dense_attention
from sirocco.attention.flashinfer_paged import FlashInferBackend, has_flashinfer
from sirocco.attention.triton_paged import TritonPagedBackend
from sirocco.engine.config import EngineConfig
from sirocco.engine.engine import Engine
from sirocco.engine.gpu.ahead import AheadDecoder
from sirocco.engine.loading import load_engine
from sirocco.engine.request import Request
from sirocco.engine.runner import ModelRunner
from sirocco.engine.scheduling.scheduler import Chunk, StepPlan
from sirocco.engine.sequence import Sequence, SequenceState
from sirocco.kvcache.block_manager import BlockManager
from sirocco.kvcache.format import BFLOAT16, FLOAT32
from sirocco.kvcache.pool import KVCache
from sirocco.model.config import ModelConfig
from sirocco.model.linear import FORMATS, PLAIN
from sirocco.model.presets import preset
from sirocco.model.random_model import random_model
from sirocco.model.transformer import Transformer
from sirocco.model.weights import save_model
from sirocco.tokenizer.byte import ByteTokenizer
from sirocco.types import SamplingParams

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much each part does."""

    shape: ModelConfig
    contexts: tuple[int, ...] = (128, 4096)
    weights: tuple[str, ...] = ("bfloat16", "fp8", "int4")
    n_decoded: int = 64
    kernel_batch: int = 32
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    n_in: int = 1024
    n_out: int = 128
    prefill: tuple[int, ...] = (512, 2048, 4096)
    equal_batches: tuple[int, ...] = (1, 8, 32, 55)
    memory_contexts: tuple[int, ...] = (1024, 2048, 4096)
    groups: tuple[tuple[str, int], ...] = (("MHA", 32), ("GQA", 8), ("MQA", 1))
    most_rows: int = 512
    max_seq_len: int = 8192
    copied_bytes: int = 2**32
    product: int = 8192


TINY = Sizes(
    ModelConfig(vocab_size=259, dim=32, n_layers=1, n_heads=4, n_kv_heads=2, head_dim=16,
                hidden_dim=64, window=24, max_seq_len=64),
    contexts=(8, 40), n_decoded=3, kernel_batch=2, batches=(1, 2), n_in=6, n_out=3, prefill=(20,),
    equal_batches=(1, 2), memory_contexts=(20,), groups=(("MHA", 4), ("GQA", 2), ("MQA", 1)),
    most_rows=2, max_seq_len=64, copied_bytes=2**20, product=64,
)  # fmt: skip


@dataclass(slots=True)
class Visit:
    """What all parts share: the device, the sizes, the ceilings, and the rows so far."""

    device: torch.device
    sizes: Sizes
    end_by_s: float
    copy_bytes_per_s: float = 1.0
    flops_per_s: float = 1.0
    rows: list[Row] = field(default_factory=list)

    @property
    def is_rehearsal(self) -> bool:
        """It runs on a CPU, to be tried out."""
        return self.device.type == "cpu"

    def wait(self) -> None:
        """Wait for the device."""
        if not self.is_rehearsal:
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], object], n_runs: int = 20) -> float:
        """Median wall time of a call, after two to warm up."""
        for _ in range(2):
            work()
        times = []
        for _ in range(1 if self.is_rehearsal else n_runs):
            self.wait()
            started = perf_counter()
            work()
            self.wait()
            times.append(perf_counter() - started)
        return sorted(times)[len(times) // 2]


def main() -> None:
    """Run every part, print its rows as they come, and one JSON line."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--rehearse", action="store_true", help="a tiny shape on the CPU")
    parser.add_argument("--preset", default="mistral-7b")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=8.0, help="no part begins after that")
    options = parser.parse_args()
    if not options.rehearse and not torch.cuda.is_available():
        print("gpu: torch finds no GPU here; --rehearse tries everything out on the CPU")
        return  # `make bench` goes on
    device = torch.device("cpu" if options.rehearse else "cuda")
    sizes = TINY if options.rehearse else Sizes(preset(options.preset))
    visit = Visit(device, sizes, perf_counter() + 60 * options.minutes)
    print(f"gpu: {_card(device)}, torch {torch.__version__}")
    for name in options.parts:
        run_part(name, visit)
    visit.rows.insert(0, {"part": "card", "card": _card(device), "cuda": torch.version.cuda})
    is_kept = options.save and not visit.is_rehearsal
    finish("gpu-rehearsal" if visit.is_rehearsal else "gpu", visit.rows, save=is_kept)
    if any("error" in row for row in visit.rows):
        sys.exit("gpu: some parts failed; see their rows")


def run_part(name: str, visit: Visit) -> None:
    """Run one part; whatever goes wrong with it becomes a row."""
    if perf_counter() > visit.end_by_s:
        visit.rows.append({"part": name, "left_out": "the time was over"})
        return
    started = perf_counter()
    print(f"{name}: {(PARTS[name].__doc__ or '').splitlines()[0]}", flush=True)
    try:
        with torch.inference_mode():
            for row in PARTS[name](visit):
                visit.rows.append({"part": name, **row})
                print("  " + "  ".join(f"{k} {v}" for k, v in row.items()), flush=True)
    except Exception as error:
        traceback.print_exc()
        visit.rows.append({"part": name, "error": f"{type(error).__name__}: {error}"[:500]})
    visit.rows.append({"part": name, "took_s": round(perf_counter() - started, 1)})
    gc.collect()
    if not visit.is_rehearsal:
        torch.cuda.empty_cache()


# --- what is right, and what is possible ---


def correctness(visit: Visit) -> Iterator[Row]:
    """Do the kernels compute what the definition says, and with the same bits in any company?"""
    shape, length = visit.sizes.shape, 20 if visit.is_rehearsal else 5000
    for dtype in (torch.float16, torch.bfloat16, torch.float8_e4m3fn):
        own = torch.bfloat16 if dtype == torch.float8_e4m3fn else dtype
        q, k, v = _random_qkv(shape, length, own, visit.device)
        wanted = dense_attention(q.float(), k.float(), v.float(), window=shape.window)
        whole = _attended(visit, (q, k, v), [length], dtype)
        cut = _attended(visit, (q, k, v), [length // 2, length - length // 2 - 3, 1, 1, 1], dtype)
        error = (whole.float() - wanted).abs().max().item()
        yield {"dtype": str(dtype).removeprefix("torch."), "largest_error": round(error, 5),
               "same_bits_when_cut": torch.equal(whole, cut)}  # fmt: skip
    tokens = {}
    for attention in ("sdpa", "triton"):
        model = random_model(
            replace(shape, n_layers=min(4, shape.n_layers)), weights=FORMATS["float32"],
            device=visit.device,
        )  # fmt: skip
        with _engine(visit, model, max_running=4, attention=attention) as engine:
            tokens[attention] = _generated(engine, n_in=visit.sizes.n_in, n_out=8, batch=3)
    yield {"same_tokens_as_sdpa_in_float32": tokens["sdpa"] == tokens["triton"]}
    if has_flashinfer() and not visit.is_rehearsal:
        q, k, v = _random_qkv(shape, length, torch.float16, visit.device)
        ours = _attended(visit, (q, k, v), [length - 1, 1], torch.float16)
        theirs = _attended(visit, (q, k, v), [length - 1, 1], torch.float16, FlashInferBackend)
        yield {"largest_difference_to_flashinfer":
               round((ours.float() - theirs.float()).abs().max().item(), 5)}  # fmt: skip


def ceilings(visit: Visit) -> Iterator[Row]:
    """How fast does the card copy, and how fast does it multiply bfloat16 matrices?"""
    source = torch.empty(visit.sizes.copied_bytes, dtype=torch.uint8, device=visit.device)
    target = torch.empty_like(source)
    visit.copy_bytes_per_s = 2 * source.nbytes / visit.seconds(lambda: target.copy_(source))
    n = visit.sizes.product
    a, b = torch.randn(2, n, n, device=visit.device).bfloat16()
    visit.flops_per_s = 2 * n**3 / visit.seconds(lambda: a @ b)
    yield {"copy_gb_per_s": round(visit.copy_bytes_per_s / 1e9, 1),
           "bf16_tflop_per_s": round(visit.flops_per_s / 1e12, 2)}  # fmt: skip


def kernel(visit: Visit) -> Iterator[Row]:
    """How much of the copy bandwidth does attention reach in decode, ours and FlashInfer's?"""
    sizes = visit.sizes
    batch, context = sizes.kernel_batch, sizes.contexts[-1]
    for name, dtype in (
        ("triton", torch.bfloat16), ("triton", torch.float8_e4m3fn), ("flashinfer", torch.bfloat16)
    ):  # fmt: skip
        if name == "flashinfer" and (visit.is_rehearsal or not has_flashinfer()):
            yield {"kernel": name, "left_out": "it needs a card, and to be installed"}
            continue
        cache, ours = _filled(visit, sizes.shape, batch * -(-context // 16), dtype)
        tables = torch.randperm(batch * -(-context // 16)).view(batch, -1).tolist()
        backend: Any = ours
        if name == "flashinfer":
            backend = FlashInferBackend(
                cache, group_size=sizes.shape.group_size, window=sizes.shape.window
            )
        plan = backend.plan([Span(context - 1, 1, table) for table in tables])
        q, k, v = _random_qkv(sizes.shape, batch, torch.bfloat16, visit.device)
        seconds = visit.seconds(lambda: backend.attend(q, k, v, 0, plan))  # noqa: B023 - called now
        n_read = batch * min(context, sizes.shape.window or context)
        n_bytes = n_read * 2 * sizes.shape.n_kv_heads * (
            sizes.shape.head_dim * dtype.itemsize + 4 * cache.has_scales)  # fmt: skip
        yield {"kernel": name, "cache": str(dtype).removeprefix("torch."),
               "batch": batch, "context": context, "us": round(seconds * 1e6, 1),
               "gb_per_s": round(n_bytes / seconds / 1e9, 1),
               "of_copy": round(n_bytes / seconds / visit.copy_bytes_per_s, 3)}  # fmt: skip


# --- the engine ---


def single_stream(visit: Visit) -> Iterator[Row]:
    """How many tokens a second does one answer get, with weights of each format?"""
    for weights in visit.sizes.weights:
        if weights not in FORMATS:
            yield {"weights": weights, "left_out": "this version has no such weights"}
            continue
        model = _model(visit, visit.sizes.shape, weights)
        for context in visit.sizes.contexts:
            yield {"weights": weights, **_decoded(visit, model, 1, context)}
        del model


def throughput(visit: Visit) -> Iterator[Row]:
    """How many tokens a second do many answers get together, prompts and all?"""
    sizes = visit.sizes
    model = _model(visit, sizes.shape, "bfloat16")
    with _engine(visit, model, max_running=sizes.batches[-1]) as engine:
        for batch in sizes.batches:
            _generated(engine, sizes.n_in, 2, batch)  # records what steps of this size need
            started = perf_counter()
            _generated(engine, sizes.n_in, sizes.n_out, batch)
            seconds = perf_counter() - started
            bound_s = _bound_s(visit, model, batch)
            yield {"batch": batch, "in": sizes.n_in, "out": sizes.n_out,
                   "out_tokens_per_s": round(batch * sizes.n_out / seconds, 1),
                   "of_bound": round(bound_s / seconds, 3)}  # fmt: skip


def prefill(visit: Visit) -> Iterator[Row]:
    """How many tokens of a prompt are read in a second?"""
    shape = visit.sizes.shape
    model = _model(visit, shape, "bfloat16")
    with _engine(visit, model, max_running=1) as engine:
        for length in visit.sizes.prefill:
            seconds = visit.seconds(lambda n=length: _generated(engine, n, 1, 1), n_runs=3)
            n_flops = _flops(shape, length)
            yield {"tokens": length, "tokens_per_s": round(length / seconds, 1),
                   "of_products": round(n_flops / seconds / visit.flops_per_s, 3)}  # fmt: skip


def groups(visit: Visit) -> Iterator[Row]:
    """How much do groups buy, as MHA, GQA and MQA, at equal batch and at equal memory?"""
    sizes = visit.sizes
    for name, n_kv_heads in sizes.groups:
        shape = replace(sizes.shape, n_kv_heads=n_kv_heads)
        model = _model(visit, shape, "bfloat16")
        for batch in sizes.equal_batches:
            for context in sizes.contexts if batch == 1 else sizes.contexts[-1:]:
                row = _decoded(visit, model, batch, context)
                yield {"heads": name, "compared_at": "equal batch", **row}
        for context in sizes.memory_contexts:
            batch = min(sizes.most_rows, _most_rows(visit, shape, context))
            row = _decoded(visit, model, batch, context)
            yield {"heads": name, "compared_at": "equal memory", **row}
        del model


def cold_start(visit: Visit) -> Iterator[Row]:
    """How long does it take from a folder, in the page cache, to the first token?"""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = _model(visit, visit.sizes.shape, "bfloat16")
        n_bytes = sum(parameter.nbytes for parameter in model.parameters())
        save_model(model, folder, dtype=torch.bfloat16)
        _write_vocabulary(folder, model.config.vocab_size)
        del model
        started = perf_counter()
        engine = load_engine(folder, device=visit.device.type, weights="bfloat16",
                             config=_config(visit, 1, "triton"))  # fmt: skip
        visit.wait()
        loaded = perf_counter()
        _generated(engine, 4, 1, 1)
        yield {"gb": round(n_bytes / 1e9, 2), "load_s": round(loaded - started, 2),
               "load_gb_per_s": round(n_bytes / (loaded - started) / 1e9, 2),
               "first_token_s": round(perf_counter() - started, 2)}  # fmt: skip


def peers(visit: Visit) -> Iterator[Row]:
    """How fast is transformers in the same shape, with one stream and a static cache?"""
    try:
        from transformers import MistralConfig, MistralForCausalLM  # noqa: PLC0415 - may be absent
    except ImportError:
        yield {"peer": "transformers", "left_out": "not installed"}
        return
    raw = visit.sizes.shape.to_hf()
    not_theirs = ("architectures", "model_type")
    config = MistralConfig(**{k: v for k, v in raw.items() if k not in not_theirs})
    with torch.device(visit.device):
        model = MistralForCausalLM(config).bfloat16().eval()
    for context in visit.sizes.contexts:
        prompt = torch.randint(3, raw["vocab_size"], (1, context), device=visit.device)
        times = []
        for n_tokens in (1, 1 + visit.sizes.n_decoded, 1, 1 + visit.sizes.n_decoded):
            visit.wait()
            started = perf_counter()
            model.generate(prompt, max_new_tokens=n_tokens, min_new_tokens=n_tokens,
                           do_sample=False, cache_implementation="static",
                           attention_mask=torch.ones_like(prompt), pad_token_id=0)  # fmt: skip
            visit.wait()
            times.append(perf_counter() - started)
        rate = visit.sizes.n_decoded / max(1e-9, times[3] - times[2])
        yield {"peer": "transformers", "context": context, "tokens_per_s": round(rate, 1)}


PARTS: dict[str, Callable[[Visit], Iterator[Row]]] = {
    "correctness": correctness, "ceilings": ceilings, "kernel": kernel,
    "single_stream": single_stream, "groups": groups, "throughput": throughput,
    "prefill": prefill, "cold_start": cold_start, "peers": peers,
}  # fmt: skip


# --- tools ---


def _card(device: torch.device) -> str:
    return "no card: a rehearsal" if device.type == "cpu" else torch.cuda.get_device_name(device)


def _random_qkv(
    shape: ModelConfig, n_tokens: int, dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    heads = (shape.n_heads, shape.n_kv_heads, shape.n_kv_heads)
    q, k, v = (torch.randn(n_tokens, n, shape.head_dim, device=device).to(dtype) for n in heads)
    return q, k, v


def _filled(
    visit: Visit, shape: ModelConfig, n_blocks: int, dtype: torch.dtype
) -> tuple[KVCache, TritonPagedBackend]:
    """Make a cache of one layer that holds ordinary numbers."""
    cache = KVCache(
        n_layers=1, n_blocks=n_blocks, block_size=16, n_kv_heads=shape.n_kv_heads,
        head_dim=shape.head_dim, dtype=dtype, device=visit.device,
    )  # fmt: skip
    for tensor in (*cache.k, *cache.v):
        tensor.copy_(torch.randn(tensor.shape, device=visit.device).to(dtype))
    for scales in (*cache.k_scales, *cache.v_scales):
        if scales is not None:
            scales.fill_(0.01)
    backend = TritonPagedBackend(cache, group_size=shape.group_size, window=shape.window)
    return cache, backend


def _write_vocabulary(folder: Path, n_words: int) -> None:
    """Write a vocabulary of words that nobody will read."""
    words = ["<unk>", "<s>", "</s>"] + [f"w{i}" for i in range(3, n_words)]
    vocabulary = tokenizers.Tokenizer(
        tokenizers.models.BPE({word: i for i, word in enumerate(words)}, [])
    )
    vocabulary.add_special_tokens(words[:3])
    vocabulary.save(str(folder / "tokenizer.json"))


def _attended(
    visit: Visit, qkv: tuple[torch.Tensor, ...], chunks: list[int], dtype: torch.dtype,
    make: Callable[..., Any] = TritonPagedBackend,
) -> torch.Tensor:  # fmt: skip
    """Attend over blocks, chunk by chunk."""
    length, shape = len(qkv[0]), visit.sizes.shape
    cache, _ = _filled(visit, shape, -(-length // 16), dtype)
    backend = make(cache, group_size=shape.group_size, window=shape.window)
    table = list(range(-(-length // 16)))[::-1]
    outs, done = [], 0
    for n in chunks:
        q, k, v = (x[done : done + n] for x in qkv)
        outs.append(backend.attend(q, k, v, 0, backend.plan([Span(done, n, table)])))
        done += n
    return torch.cat(outs)


def _model(visit: Visit, shape: ModelConfig, weights: str) -> Transformer:
    form = PLAIN if visit.is_rehearsal and weights == "bfloat16" else FORMATS[weights]
    model = random_model(shape, weights=form, device=visit.device)
    model.fuse()
    return model


def _config(visit: Visit, max_running: int, attention: str) -> EngineConfig:
    sizes = visit.sizes
    n_tokens = max_running * (sizes.n_in + sizes.n_out + 16) + sizes.max_seq_len
    per_token = FLOAT32.bytes_per_token(sizes.shape)  # enough for every format
    return EngineConfig(
        attention=attention, max_running=max_running, max_seq_len=sizes.max_seq_len,
        max_step_tokens=max(max_running, 4096), step_target_s=10.0, n_guesses=0,
        kv_cache_bytes=n_tokens * per_token, prefix_cache=False,
    )  # fmt: skip


@contextmanager
def _engine(
    visit: Visit, model: Transformer, *, max_running: int, attention: str = "triton"
) -> Iterator[Engine]:
    """Make an engine that decodes ahead, also on the CPU of a rehearsal."""
    decoder = AheadDecoder.of if attention == "triton" else (lambda _: None)
    engine = Engine(
        model, ByteTokenizer(vocab_size=model.config.vocab_size),
        _config(visit, max_running, attention), decoder=decoder,
    )  # fmt: skip
    yield engine


def _generated(engine: Engine, n_in: int, n_out: int, batch: int) -> list[tuple[int, ...]]:
    """Answer `batch` random prompts greedily; give the tokens."""
    generator = torch.Generator().manual_seed(n_in)
    sampling = SamplingParams(max_tokens=n_out, temperature=0.0, ignore_eos=True)
    for index in range(batch):
        prompt = torch.randint(3, 250, (n_in,), generator=generator).tolist()
        engine.add(Request(f"r{index}", prompt, sampling))
    token_ids: dict[str, tuple[int, ...]] = {}
    while engine.has_work:
        for piece in engine.step():
            before = token_ids.get(piece.request_id, ())
            token_ids[piece.request_id] = before + piece.token_ids
    return [token_ids[f"r{index}"] for index in range(batch)]


def _decoded(visit: Visit, model: Transformer, batch: int, context: int) -> Row:
    """Decode `batch` sequences whose prompts are taken for read; the cache holds zeros."""
    sizes, shape = visit.sizes, model.config
    n_decoded = sizes.n_decoded
    n_blocks = batch * -(-(context + 2 * n_decoded + 2) // 16)
    config = EngineConfig(
        attention="triton", max_running=batch, max_step_tokens=max(512, batch), n_guesses=0,
        max_seq_len=min(shape.max_seq_len, context + 2 * n_decoded + 16),
        kv_cache_bytes=n_blocks * 16 * _kv_bytes(model),
    )  # fmt: skip
    runner = ModelRunner(model, config)
    for tensor in (*runner.backend.cache.k, *runner.backend.cache.v):
        tensor.zero_()
    decoder, blocks = AheadDecoder.of(runner), BlockManager(runner.n_blocks, 16)
    seqs = []
    for index in range(batch):
        seq = Sequence(str(index), [3] * context, context, SamplingParams(temperature=0.0),
                       max_tokens=4 * n_decoded, seed=index, state=SequenceState.RUNNING,
                       n_computed=context - 1, table=blocks.open())  # fmt: skip
        blocks.grow(seq.table, context + 2 * n_decoded + 2)  # type: ignore[arg-type]
        seqs.append(seq)
    plan = StepPlan(tuple(Chunk(seq, 1, samples=True) for seq in seqs))
    _advance(decoder, plan, 3 if not visit.is_rehearsal else 1)
    visit.wait()
    started = perf_counter()
    _advance(decoder, plan, n_decoded)
    seconds = (perf_counter() - started) / n_decoded
    bound_s = _step_bytes(model, batch, context) / visit.copy_bytes_per_s
    return {"batch": batch, "context": context, "tokens_per_s": round(batch / seconds, 1),
            "ms": round(seconds * 1e3, 3), "of_bound": round(bound_s / seconds, 3)}  # fmt: skip


def _advance(decoder: AheadDecoder, plan: StepPlan, n_steps: int) -> None:
    """Take steps, each started before the one before it was read, as the engine does."""
    flight = decoder.launch(plan)
    for _ in range(n_steps - 1):
        following = decoder.launch(plan, after=flight)
        _read(flight)
        flight = following
    _read(flight)


def _read(flight: Any) -> None:
    plan, kept = flight.choices()
    for chunk, (choice,) in zip(plan.chunks, kept, strict=True):
        chunk.seq.append(choice.token_id)
        chunk.seq.n_computed += 1


def _weight_bytes(model: Transformer) -> int:
    """Count the bytes of all weights that a step reads: all but the embedding."""
    tensors = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()
               for t in (*model.parameters(), *model.buffers())}  # fmt: skip
    embedding = 0 if model.head is None else model.get_parameter("embedding.weight").nbytes
    return sum(tensors.values()) - embedding


def _kv_bytes(model: Transformer) -> int:
    """Count the bytes that a token keeps in a cache of the model's own format."""
    own = BFLOAT16 if model.dtype == torch.bfloat16 else FLOAT32
    return own.bytes_per_token(model.config)


def _step_bytes(model: Transformer, batch: int, context: int) -> int:
    shape = model.config
    seen = min(context, shape.window or context)
    return _weight_bytes(model) + batch * seen * _kv_bytes(model)


def _flops(shape: ModelConfig, n_tokens: int) -> float:
    """Multiplications and additions that read a prompt: matrices, and attention in its window."""
    n_in_matrices = shape.n_parameters - 2 * shape.vocab_size * shape.dim
    window = min(n_tokens, shape.window or n_tokens)
    pairs = n_tokens * window - window * (window - 1) // 2
    return 2.0 * n_in_matrices * n_tokens + 4.0 * shape.n_layers * shape.n_heads * (
        shape.head_dim * pairs)  # fmt: skip


def _bound_s(visit: Visit, model: Transformer, batch: int) -> float:
    """Give the least time for `batch` answers: read prompts, then step; bytes or products."""
    sizes, shape = visit.sizes, model.config
    reading = batch * _flops(shape, sizes.n_in) / visit.flops_per_s
    n_bytes = _step_bytes(model, batch, sizes.n_in + sizes.n_out // 2)
    step = max(n_bytes / visit.copy_bytes_per_s,
               2 * batch * shape.n_parameters / visit.flops_per_s)  # fmt: skip
    return reading + sizes.n_out * step


def _most_rows(visit: Visit, shape: ModelConfig, context: int) -> int:
    """Count the sequences of this length whose keys and values fit into what memory is left."""
    if visit.is_rehearsal:
        return 2
    gc.collect()
    torch.cuda.empty_cache()
    free = 0.9 * torch.cuda.mem_get_info()[0] - 2**31
    per_sequence = (context + 3 * visit.sizes.n_decoded) * BFLOAT16.bytes_per_token(shape)
    return max(1, int(free / per_sequence))


if __name__ == "__main__":
    main()
