"""Messages survive the road between two processes, and garbage ends the road and nothing else."""

import asyncio
import socket
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.inprocess import EngineThread

from sirocco.engine.block_view import BlockView, PoolView, SequenceView
from sirocco.engine.config import EngineConfig
from sirocco.engine.inspection.request import InspectionRequest
from sirocco.engine.inspection.shape import EngineShape
from sirocco.engine.process.channel import (
    FRAME_LIMIT_BYTES,
    ChannelError,
    Connection,
    FrameSplitter,
    frame,
)
from sirocco.engine.process.client import EngineClient
from sirocco.engine.process.messages import (
    Abort,
    BlocksSeen,
    ErrorText,
    Failed,
    Heartbeat,
    Inspect,
    Inspected,
    Load,
    LookAtBlocks,
    Piece,
    Pieces,
    Ready,
    Start,
    Stop,
    Submit,
    decode_from_engine,
    decode_to_engine,
    encode,
    error_of,
    error_text,
)
from sirocco.engine.request import EngineLimits, Request
from sirocco.errors import (
    EngineFault,
    InputError,
    OutOfCapacity,
    PromptTooLong,
    SiroccoError,
    UnknownModel,
)
from sirocco.kvcache.format import INT8
from sirocco.types import FinishReason, SamplingParams, TokenLogprob

SAMPLING = SamplingParams(
    max_tokens=7, temperature=0.5, top_k=3, top_p=0.9, min_p=0.1, seed=2**63 - 1, stop=("a", "ü"),
    logit_bias={3: -1.5, 70_000: 100.0}, logprobs=2, ignore_eos=True,
)  # fmt: skip
REQUEST = Request("r", [1, 2, 70_000], SAMPLING, "account", 2.0, 1.5, None)
TO_ENGINE = [
    Start("/srv/x", EngineConfig(max_seq_len=9), threads=3),
    Submit(REQUEST),
    Abort("r"),
    Inspect(InspectionRequest("r", [1, 2], (0,), (1, 3), 5, "float16", "account", 1.5, None)),
    LookAtBlocks("r"),
    Stop(),
]
PIECE = Piece(
    "r", "naïve", (1, 2), FinishReason.STOP, 5, 1, True, (TokenLogprob(1, -0.5, ((1, -0.5),)),),
    ErrorText("ModelFault", "no numbers"),
)  # fmt: skip
SHAPE = EngineShape(2, 8, 2, 32, None, 9, 8, 16, 5, "q8", INT8)
VIEW = BlockView(
    (SequenceView(1, True, 5, 7, 6, 1, 2, (9, 4), (1, 3)), SequenceView(2, False, 5, 5, 0)),
    PoolView(8, 4, 3, 1, 4),
)
FROM_ENGINE = [
    Ready(EngineLimits(9, 8, 1), 4, 8, SHAPE),
    Failed(ErrorText("CheckpointError", "no weights")),
    Pieces([PIECE, Piece("s")], Load(1, 2, 3, 4, 5)),
    Inspected("r", b"\x00\xff", (TokenLogprob(1, -0.5, ((1, -0.5),)),), is_last=True),
    BlocksSeen("r", VIEW),
    Heartbeat(5, has_work=True, load=Load()),
]
GARBAGE = {
    "length": b"\xff\xff\xff\xff",
    "empty": b"\0\0\0\0",
    "no msgpack": struct.pack("<I", 3) + b"\xc1\xc1\xc1",
    "no message": struct.pack("<I", 1) + b"\x05",
    "unknown name": frame(Stop()).replace(b"Stop", b"Exec"),
}


@pytest.mark.parametrize("message", TO_ENGINE, ids=lambda m: type(m).__name__)
def test_what_goes_to_the_engine_arrives_as_it_was(message):
    assert decode_to_engine(encode(message)) == message


@pytest.mark.parametrize("message", FROM_ENGINE, ids=lambda m: type(m).__name__)
def test_what_comes_from_the_engine_arrives_as_it_was(message):
    assert decode_from_engine(encode(message)) == message


@given(st.lists(st.sampled_from(TO_ENGINE), max_size=6), st.lists(st.integers(0), max_size=9))
def test_frames_are_found_however_the_bytes_are_cut(messages, cuts):
    stream = b"".join(map(frame, messages))
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    splitter = FrameSplitter()

    bodies = [body for begin, end in pairwise(edges) for body in splitter.feed(stream[begin:end])]

    assert [decode_to_engine(body) for body in bodies] == messages


def test_a_length_beyond_the_limit_is_refused_before_anything_is_held():
    with pytest.raises(ChannelError, match="at most"):
        FrameSplitter().feed(struct.pack("<I", FRAME_LIMIT_BYTES + 1))


def test_a_message_beyond_the_limit_is_not_sent():
    with pytest.raises(ChannelError, match="at most"):
        frame(Abort("x" * FRAME_LIMIT_BYTES))


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_no_message_to_the_engine(garbage):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(garbage)

        with pytest.raises(ChannelError):
            Connection(theirs).receive()


def test_a_message_that_is_cut_off_is_the_end():
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            ours.sendall(frame(Stop())[:-1])

        assert Connection(theirs).receive() is None


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_from_an_engine_ends_its_connection_and_no_other(make_engine, garbage):
    async def scenario():
        good = EngineThread(make_engine)
        bad = EngineThread(make_engine)
        clients = [await EngineClient.connected(thread.socket) for thread in (good, bad)]
        generations = [
            client.submit(Request(f"r{i}", [5, 6], SamplingParams(max_tokens=3, ignore_eos=True)))
            for i, client in enumerate(clients)
        ]
        bad.connection._socket.sendall(garbage)
        reason = await asyncio.wait_for(clients[1].lost, 30)
        answer = [piece async for piece in generations[0]]
        clients[0].stop()
        await asyncio.wait_for(clients[0].lost, 30)
        for thread in (good, bad):
            await asyncio.to_thread(thread.wait)
        return reason, len(answer), generations[1].finish_reason

    reason, n_pieces, ended = asyncio.run(scenario())
    assert "no message" in reason
    assert n_pieces == 3
    assert ended is not None


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_to_an_engine_ends_that_engine(make_engine, garbage):
    thread = EngineThread(make_engine)

    thread.socket.sendall(garbage)

    thread.wait()
    thread.socket.close()
    assert thread.fault is None


@pytest.mark.parametrize(
    ("error", "arrives"),
    [
        (EngineFault("it failed"), EngineFault),
        (OutOfCapacity("full", retry_after_s=9), OutOfCapacity),
        (PromptTooLong(5, 6, 7), InputError),
        (UnknownModel("@x/y"), InputError),
        (SiroccoError("?"), SiroccoError),
    ],
)
def test_an_error_arrives_as_itself_or_as_its_nearest_parent(error, arrives):
    copy = error_of(error_text(error))

    assert (type(copy), str(copy)) == (arrives, str(error))


@pytest.mark.parametrize("name", ["", "SystemExit", "os.system", "PromptTooLong", "__class__"])
def test_a_name_outside_the_table_makes_nothing_else(name):
    assert type(error_of(ErrorText(name, "text"))) is SiroccoError
