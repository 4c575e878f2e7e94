"""`sirocco run`: one answer of a model in this process."""

import io
import json

import pytest

from sirocco import LLM, SamplingParams
from sirocco.catalog import EMBEDDED_MODEL_ID, Catalog
from sirocco.cli.answering import writer

PROMPT = "What is grouped query attention?"
GREEDY = ["--temperature", "0", "--max-tokens", "12"]


@pytest.fixture
def told(sirocco):
    """Run a command line with --json; give what it printed."""

    def run(*args):
        done = sirocco("run", *args, "--json")
        assert (done.status, done.err) == (0, "")
        return json.loads(done.out)

    return run


@pytest.fixture
def folder(tmp_path):
    return str(Catalog(tmp_path).find(EMBEDDED_MODEL_ID).folder)


def test_an_answer_is_streamed_and_is_that_of_the_engine(sirocco):
    done = sirocco("run", EMBEDDED_MODEL_ID, PROMPT, *GREEDY)

    llm = LLM(EMBEDDED_MODEL_ID)
    expected = llm.chat([{"role": "user", "content": PROMPT}],
                        SamplingParams(temperature=0, max_tokens=12))  # fmt: skip
    assert (done.status, done.out, done.err) == (0, f"{expected.text}\n", "")


def test_programs_get_the_answer_with_its_figures(told):
    body = told(EMBEDDED_MODEL_ID, PROMPT, *GREEDY)

    usage = body["usage"]
    assert body["model"] == EMBEDDED_MODEL_ID
    assert body["response"]
    assert (body["finish_reason"], usage["completion_tokens"]) == ("length", 12)
    assert usage["total_tokens"] == usage["prompt_tokens"] + 12
    assert 0 < body["ttft_s"] <= body["duration_s"]
    assert body["tokens_per_s"] > 0


def test_a_folder_answers_as_the_catalogues_model_does(told, folder):
    by_id, by_folder = (told(model, PROMPT, *GREEDY) for model in (EMBEDDED_MODEL_ID, folder))

    assert by_folder["model"] == folder
    assert by_folder["response"] == by_id["response"]


def test_a_prompt_is_read_from_standard_input(told, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PROMPT}\n"))

    assert told(EMBEDDED_MODEL_ID, *GREEDY)["response"] == told(
        EMBEDDED_MODEL_ID, PROMPT, *GREEDY
    )["response"]  # fmt: skip


def test_a_raw_prompt_has_no_template_and_a_system_message_stands_before(told):
    plain, raw, system = (
        told(EMBEDDED_MODEL_ID, PROMPT, *GREEDY, *more)["usage"]["prompt_tokens"]
        for more in ([], ["--raw"], ["--system", "Be brief."])
    )

    assert raw < plain < system


def test_the_same_seed_gives_the_same_answer_and_others_differ(told):
    answers = [
        told(EMBEDDED_MODEL_ID, PROMPT, "--temperature", "2", "--seed", seed)["response"]
        for seed in ("1", "1", "2")
    ]

    assert answers[0] == answers[1] != answers[2]


def test_an_answer_ends_before_a_stop_string(told):
    whole = told(EMBEDDED_MODEL_ID, PROMPT, *GREEDY)["response"]
    word = whole.split()[2]

    cut = told(EMBEDDED_MODEL_ID, PROMPT, *GREEDY, "--stop", word)

    assert cut["response"] == whole[: whole.index(word)]
    assert cut["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["nowhere", "x"], "MODEL must be a checkpoint's folder or an id that `sirocco models` "
         "lists, got 'nowhere'"),
        (["@cf/mistral/mistral-7b-instruct-v0.1", "x"], "the weights of @cf/mistral/mistral-7b-"),
        ([EMBEDDED_MODEL_ID, ""], "PROMPT must have at least 1 character, got 0"),
        ([EMBEDDED_MODEL_ID, "x", "--temperature", "9"], "'/temperature' must be <= 5, got 9"),
        ([EMBEDDED_MODEL_ID, "x", "--raw", "--system", "y"], "--system needs the chat template"),
        ([EMBEDDED_MODEL_ID, "x", "--weights", "q5"], "weights: "),
        ([EMBEDDED_MODEL_ID, "x" * 99, "--max-seq-len", "20"], "The estimated number of input"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_refused_in_one_sentence(refused, args, sentence):
    assert refused("run", *args).startswith(sentence)


class Terminal(io.StringIO):
    """Where a person looks."""

    def isatty(self):
        return True


def test_a_terminal_is_not_given_orders_by_a_model():
    terminal, pipe = Terminal(), io.StringIO()

    for stream in (terminal, pipe):
        writer(stream)("a\x1b[2J\tb\r\n\x7f\x9bü")

    assert terminal.getvalue() == "a␛[2J\tb␍\n␡\ufffdü"
    assert pipe.getvalue() == "a\x1b[2J\tb\r\n\x7f\x9bü"
