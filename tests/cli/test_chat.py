"""`sirocco chat`: what is kept of a conversation, what commands do, and what Ctrl-C stops."""

import io
import os
import re
import signal

import pytest

from sirocco import LLM, SamplingParams
from sirocco.catalog import EMBEDDED_MODEL_ID
from sirocco.cli.chat import Chat
from sirocco.cli.conversation import Conversation
from sirocco.errors import ModelFault, PromptTooLong
from sirocco.types import Message

SAMPLING = SamplingParams(max_tokens=8, temperature=0.0)


@pytest.fixture(scope="module")
def llm():
    return LLM(EMBEDDED_MODEL_ID, max_seq_len=128)


@pytest.fixture
def talk(sirocco, monkeypatch):
    """Type lines into `sirocco chat`; give what it left."""

    def run(*lines, args=()):
        monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
        done = sirocco("chat", "--temperature", "0", "--max-tokens", "8", *args)
        assert done.status == 0, done.err
        return done

    return run


def prompt_tokens(done):
    """Read from the line after each answer how long its prompt was."""
    return [
        int(n)
        for n in re.findall(r"^(\d+)(?: \(\d+ cached\))? \+ \d+ tokens", done.err, re.MULTILINE)
    ]


def test_answers_go_to_standard_output_and_figures_to_the_other(talk, llm):
    done = talk("What is a KV cache?", "", "/exit", "never asked")

    (expected,) = llm.generate(
        [llm.encode_chat([Message("user", "What is a KV cache?")])], SAMPLING
    )
    assert done.out == f"{expected.text}\n"
    assert re.search(r"^\d+ \+ 8 tokens, \d\.\d\d s to the first, [\d,]+ tokens/s, cut off",
                     done.err, re.MULTILINE)  # fmt: skip
    assert done.err.startswith(EMBEDDED_MODEL_ID)


def test_what_was_said_is_known_until_it_is_reset(talk):
    first, second, fresh = prompt_tokens(talk("Hello", "Hello", "/reset", "Hello"))

    assert second > 2 * first
    assert fresh == first


def test_a_system_message_is_set_shown_and_kept(talk):
    done = talk("Hello", "/reset", "/system Be brief.", "/system", "Hello", args=("--stop", "xyz"))

    plain, told = prompt_tokens(done)
    assert done.err.count("The model is told: Be brief.") == 2
    assert told > plain
    assert "The model is told: At once." in talk("/system", args=("--system", "At once.")).err


def test_commands_are_listed_and_others_are_told(talk):
    done = talk("/help", "/sing aloud", "//exit")

    assert "/reset" in done.err
    assert "There is no /sing; /help tells what there is." in done.err
    assert len(prompt_tokens(done)) == 1  # the line that was a message
    assert done.out.count("\n") >= 1


def test_a_model_that_cannot_chat_is_refused(refused, tmp_path):
    LLM.random("breeze")  # the preset is there; a checkpoint without a template is not ours
    (tmp_path / "model").mkdir()

    assert "config.json" in refused("chat", str(tmp_path / "model"))


def chat(llm, lines, monkeypatch, *, on_piece=lambda: None, turns=(), sampling=SAMPLING):
    """Let a conversation run over lines in this process; give it, its answers and its notes."""
    waiting = list(lines)
    shown: list[str] = []
    notes: list[str] = []

    def read(_prompt):
        if not waiting:
            raise EOFError
        line = waiting.pop(0)
        if isinstance(line, BaseException):
            raise line
        return line

    def show(text):
        shown.append(text)
        on_piece()

    monkeypatch.setattr("builtins.input", read)
    conversation = Conversation(llm, turns=list(turns))
    Chat(conversation, sampling, show, notes.append).run()
    return conversation, "".join(shown), notes


def test_ctrl_c_stops_the_answer_and_not_the_program(llm, monkeypatch):
    presses = iter([False, False, True])
    before = signal.getsignal(signal.SIGINT)

    def press():
        if next(presses, False):
            os.kill(os.getpid(), signal.SIGINT)

    conversation, shown, notes = chat(
        llm, ["Tell me a story.", "And then?"], monkeypatch, on_piece=press,
        sampling=SamplingParams(max_tokens=30, temperature=1.5, seed=1, ignore_eos=True),
    )  # fmt: skip

    asked, stopped, _, whole = conversation.turns
    assert notes[0].endswith("stopped")
    assert "+ 3 tokens" in notes[0]
    assert "+ 30 tokens" in notes[1]
    assert shown == f"{stopped.content}\n{whole.content}\n"
    assert [t.role for t in (asked, stopped)] == ["user", "assistant"]
    assert signal.getsignal(signal.SIGINT) is before
    assert not llm.engine.has_work


def test_a_second_ctrl_c_ends_the_program(llm, monkeypatch):
    def press():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        chat(llm, ["Hello"], monkeypatch, on_piece=press)

    assert not llm.engine.has_work


def test_ctrl_c_at_the_prompt_tells_how_to_leave(llm, monkeypatch):
    conversation, shown, notes = chat(llm, [KeyboardInterrupt(), ""], monkeypatch)

    assert notes == ["\n/exit or Ctrl-D ends."]
    assert (conversation.turns, shown) == ([], "")


def test_a_failed_answer_is_told_and_its_question_taken_back(llm, monkeypatch):
    def fail(*_args, **_more):
        raise ModelFault("the numbers are of no use")

    monkeypatch.setattr(llm, "stream", fail)

    conversation, _, notes = chat(llm, ["Hello"], monkeypatch)

    assert notes == ["\nsirocco: the numbers are of no use"]
    assert conversation.turns == []


def test_the_oldest_messages_go_when_not_all_fit(llm, monkeypatch):
    turns = [Message("user", "word " * 60), Message("assistant", "yes")] * 2

    conversation, _, notes = chat(llm, ["Hello"], monkeypatch, turns=turns)

    found = re.match(r"The oldest (\d) messages", notes[0])
    assert found is not None
    n_left_out = int(found[1])
    assert n_left_out in (2, 4)
    assert conversation.turns[0].role == "user"
    assert len(conversation.turns) == 6 - n_left_out


def test_a_message_that_never_fits_changes_nothing(llm):
    turns = [Message("user", "Hello"), Message("assistant", "Hi")]
    conversation = Conversation(llm, turns=list(turns))

    with pytest.raises(PromptTooLong):
        conversation.ask("word " * 500, max_tokens=8)

    assert conversation.turns == turns
