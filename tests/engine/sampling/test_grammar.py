"""Answers that keep to a grammar."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sirocco.engine.engine import Engine
from sirocco.engine.request import Request
from sirocco.engine.sampling.grammar import GrammarCompiler
from sirocco.engine.sampling.grammar_text import check_grammar
from sirocco.errors import InvalidInput, ModelFault
from sirocco.tokenizer.byte import ByteTokenizer
from sirocco.types import FinishReason, Grammar, SamplingParams

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "kind": {"enum": ["cat", "dog"]},
    },
    "required": ["name", "age", "kind"],
    "additionalProperties": False,
}


def schema(value):
    return Grammar("json_schema", json.dumps(value))


def text_of(engine: Engine, request: Request):
    engine.add(request)
    pieces = []
    while engine.has_work:
        pieces += engine.step()
        engine.scheduler.check_integrity()
    return "".join(piece.text for piece in pieces), pieces[-1]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("temperature", [0.0, 5.0])
def test_an_answer_fulfils_its_schema_whatever_the_model_would_like(make_engine, seed, temperature):
    """Random weights would like anything but JSON."""
    engine = make_engine()
    sampling = SamplingParams(
        max_tokens=100, seed=seed, temperature=temperature, grammar=schema(PERSON)
    )

    text, last = text_of(engine, Request("a", [5, 6, 7], sampling))

    person = json.loads(text)
    assert last.finish_reason is FinishReason.STOP
    assert person.keys() == {"name", "age", "kind"}
    assert person["kind"] in ("cat", "dog")
    assert 0 <= person["age"] <= 150


def test_penalties_and_biases_do_not_lead_out_of_a_grammar(make_engine):
    engine = make_engine()
    sampling = SamplingParams(
        max_tokens=100, repetition_penalty=10.0, presence_penalty=2.0, logprobs=2,
        logit_bias={3 + ord("x"): 100.0, 3 + ord("{"): -100.0}, grammar=schema(PERSON),
    )  # fmt: skip

    text, _ = text_of(engine, Request("a", [5, 6, 7], sampling))

    assert json.loads(text).keys() == {"name", "age", "kind"}


def test_an_answer_with_a_grammar_does_not_change_its_neighbours(make_engine, run_all):
    free = SamplingParams(temperature=0.0, max_tokens=20, ignore_eos=True)
    engine = make_engine()
    engine.add(Request("free", [5, 6, 7], free))
    alone = run_all(engine)["free"]

    engine = make_engine(max_running=4)
    engine.add(Request("bound", [5, 6, 7], SamplingParams(grammar=schema(PERSON))))
    engine.add(Request("free", [5, 6, 7], free))

    assert run_all(engine)["free"] == alone


def test_each_of_n_answers_follows_the_grammar_for_itself(make_engine):
    engine = make_engine()
    sampling = SamplingParams(max_tokens=100, n=3, seed=1, temperature=3.0, grammar=schema(PERSON))
    engine.add(Request("a", [5, 6, 7], sampling))
    texts = ["", "", ""]
    while engine.has_work:
        for piece in engine.step():
            texts[piece.index] += piece.text

    assert all(json.loads(text).keys() == {"name", "age", "kind"} for text in texts)


def test_an_answer_that_was_preempted_goes_on_in_its_grammar(make_engine):
    engine = make_engine(n_blocks=7)
    for name in "ab":
        engine.add(Request(name, [5, 6, 7], SamplingParams(
            max_tokens=80, seed=1, grammar=schema(PERSON))))  # fmt: skip
    texts = {"a": "", "b": ""}
    saw_preemption = False
    while engine.has_work:
        for piece in engine.step():
            texts[piece.request_id] += piece.text
        saw_preemption |= any(seq.n_output_tokens > 0 for seq in engine.scheduler.waiting)

    assert saw_preemption
    assert json.loads(texts["a"]) == json.loads(texts["b"])


def test_a_lark_grammar_is_followed(make_engine):
    engine = make_engine()
    grammar = Grammar("lark", 'start: "yes" | "no"')

    text, _ = text_of(engine, Request("a", [5, 6], SamplingParams(grammar=grammar)))

    assert text in ("yes", "no")


@pytest.mark.parametrize(
    ("grammar", "reason"),
    [
        (Grammar("json_schema", "{nonsense", "response_format"), "'/response_format' cannot be"),
        (Grammar("json_schema", '{"type": "nonsense"}'), "Invalid type"),
        (Grammar("json_schema", '{"not": {}}'), "not"),
        (Grammar("json_schema", '{"$ref": "http://localhost/x"}'), "cannot be used"),
        (Grammar("json_schema", '{"items":' * 500 + "{}" + "}" * 500), "cannot be used"),
        (Grammar("lark", "start: nowhere"), "cannot be used"),
        (Grammar("lark", ""), "cannot be used"),
    ],
)
def test_a_grammar_that_cannot_be_used_is_refused_with_the_reason(make_engine, grammar, reason):
    engine = make_engine()

    with pytest.raises(InvalidInput, match=reason):
        engine.add(Request("a", [5, 6], SamplingParams(grammar=grammar)))
    with pytest.raises(InvalidInput, match=reason):
        check_grammar(grammar)
    assert not engine.has_work


def test_a_grammar_that_becomes_too_complex_ends_its_answer_alone(make_engine):
    engine = make_engine()
    engine.add(Request("good", [5, 6], SamplingParams(max_tokens=10, ignore_eos=True)))
    engine.add(Request("bad", [5, 6], SamplingParams(grammar=schema(PERSON))))
    engine.step()
    (bad,) = [seq for seq in engine.scheduler.running if seq.request_id == "bad"]
    bad.grammar.accept(3 + ord("!"))  # no way on from here

    pieces = {piece.request_id: piece for piece in engine.step()}

    assert isinstance(pieces["bad"].error, ModelFault)
    assert pieces["good"].error is None


def test_ignore_eos_and_a_grammar_exclude_each_other():
    with pytest.raises(InvalidInput, match="/ignore_eos"):
        SamplingParams(ignore_eos=True, grammar=schema({}))


@settings(max_examples=50, deadline=None)
@given(st.recursive(
    st.sampled_from([{"type": "integer"}, {"type": "boolean"}, {"enum": ["a", 1, None]}]),
    lambda inner: st.builds(lambda x: {"type": "array", "items": x, "maxItems": 2}, inner)
    | st.builds(
        lambda x, y: {"type": "object", "properties": {"x": x, "y": y}, "required": ["x"],
                      "additionalProperties": False}, inner, inner),
    max_leaves=4,
))  # fmt: skip
def test_there_is_always_a_token_to_go_on_with_until_the_end(json_schema):
    compiler = GrammarCompiler(ByteTokenizer(), 259, {2})
    state = compiler.start(schema(json_schema))
    text = b""
    for _ in range(400):
        allowed = state.allowed().nonzero().flatten().tolist()
        assert allowed
        if 2 in allowed:
            break
        # The shortest way: close what is open, and write small numbers.
        token_id = next((i for i in allowed if chr(i - 3) in "]}0,"), allowed[-1])
        text += bytes([token_id - 3])
        state.accept(token_id)

    json.loads(text)
