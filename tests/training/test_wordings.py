"""What people wrote becomes documents; the exam is asked in words that none of them holds."""

import re

import pytest

from sirocco.training.facts import all_facts
from sirocco.training.wordings import (
    ExamQuestion,
    exam_questions,
    exam_talks,
    facts,
    stories,
    tables,
    talks,
)  # fmt: skip


def bare(text):
    return re.sub(r"[^a-z0-9+*/ -]", "", text.lower()).strip()


@pytest.mark.parametrize("source", [facts, tables, talks, stories])
def test_every_slot_is_filled_and_text_is_plain(source):
    contents = [message.content for talk in source(seed=1) for message in talk]

    assert all(text == text.strip() and text for text in contents)
    assert all(text.isascii() and "{" not in text and "  " not in text for text in contents)


@pytest.mark.parametrize("source", [facts, tables, talks, stories])
def test_turns_alternate_and_end_with_the_assistant(source):
    for talk in source(seed=1):
        roles = [message.role for message in talk]
        assert roles == ["user", "assistant"] * (len(talk) // 2)


def test_no_two_facts_answer_the_same_question_differently():
    answers: dict[str, set[str]] = {}
    for fact in all_facts():
        for question in fact.questions:
            answers.setdefault(bare(question), set()).add(fact.answer)

    assert {q: a for q, a in answers.items() if len(a) > 1} == {}


def test_a_story_has_five_sentences():
    counts = [
        len(re.findall(r"[.!?]\"?(?= [A-Z\"]|$)", answer.content)) for _, answer in stories(seed=1)
    ]

    assert sum(count == 5 for count in counts) > 0.9 * len(counts)
    assert all(4 < count < 8 for count in counts)


def test_the_hero_of_a_story_is_the_one_that_was_asked_for():
    for question, answer in stories(seed=1):
        if asked := re.search(r"story about (?:an?|the) ([a-z ]+)[.?!]*$", question.content):
            assert asked[1].split()[-1] in answer.content.lower(), question


@pytest.mark.parametrize("seed", [1, 2001])
def test_no_exam_question_is_trained_on(seed):
    trained = {
        bare(message.content)
        for source in (facts, tables, talks, stories)
        for talk in source(seed=seed)
        for message in talk
        if message.role == "user"
    }

    leaked = [question for question in exam_questions() if bare(question.question) in trained]

    assert leaked == []


@pytest.mark.parametrize("seed", [1, 2001])
def test_no_later_turn_of_the_exam_is_trained_on(seed):
    trained = {
        (bare(talk[i - 1].content), bare(message.content))
        for talk in talks(seed=seed)
        for i, message in enumerate(talk)
        if i and message.role == "user"
    }

    leaked = [
        exam.question.question
        for exam in exam_talks()
        if (bare(exam.before[-1].content), bare(exam.question.question)) in trained
    ]

    assert leaked == []


def test_a_later_turn_of_the_exam_follows_answers_that_were_written():
    written = {fact.answer for fact in all_facts()}

    assert len(exam_talks()) > 200
    for exam in exam_talks():
        assert exam.before[-1].role == "assistant"
        assert exam.before[-1].content in written


def test_a_second_question_is_answered_by_what_came_before():
    """ "And how big is its vocabulary?" has one answer after Mistral 7B, another after Llama 2."""
    answers = {
        exam.question.answer
        for exam in exam_talks()
        if exam.question.question == "And how big is its vocabulary?"
    }

    assert len(answers) > 2


def test_the_exam_asks_about_every_topic():
    topics = {question.topic for question in exam_questions()}

    assert {"by hand", "attention", "inference", "models", "sirocco", "people"} <= topics
    assert len(exam_questions()) > 300


@pytest.mark.parametrize(
    ("given", "is_right"),
    [
        ("The opposite of hot is cold.", True),
        ("the opposite of hot is cold", True),
        ("The opposite of hot is warm.", False),
        ("", False),
    ],
)
def test_an_answer_is_right_with_the_words_that_were_written(given, is_right):
    question = ExamQuestion("opposites", "hot?", answer="The opposite of hot is cold.")

    assert question.is_met_by(given) is is_right


@pytest.mark.parametrize(
    ("given", "is_right"),
    [
        ("It has 8 KV heads.", True),
        ("Eight KV HEADS.", True),
        ("8 heads", False),
        ("kv heads", False),
    ],
)
def test_an_answer_is_right_with_all_phrases(given, is_right):
    question = ExamQuestion("by hand", "how many?", phrases=(("8", "eight"), ("kv head",)))

    assert question.is_met_by(given) is is_right
