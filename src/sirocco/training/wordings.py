"""Questions and answers written for the embedded model, put into many wordings.

What people wrote is in the folder `pairs`: facts, tables of small facts, stories, ways to ask.
Here it becomes documents, the same ones for the same seed. Wordings marked `held_out` never
become documents: they are the exam (`exam_questions`), which tells how well the model follows
wordings that it has not seen.
"""

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sirocco.training.facts import FILES, Fact, all_facts, bare, load
from sirocco.training.second_questions import SecondQuestion, second_questions
from sirocco.training.stories import Storyteller
from sirocco.types import Message

N_TALKS = 4000
HALF = 0.5
N_OF_A_SMALL_TOPIC = 10
"""Exam questions of one table."""
SAME = 0.8
"""Likeness of an answer's words to those that were written, from which on it is the same."""
SHORT_WORDS = 15


@dataclass(frozen=True, slots=True)
class ExamQuestion:
    """A wording that is never trained on, and how its answer is judged.

    Attributes:
        answer: what was written for the fact; empty where `phrases` judge.
        phrases: what an answer must hold, each one or several texts of which one is enough.
    """

    topic: str
    question: str
    answer: str = ""
    phrases: tuple[tuple[str, ...], ...] = ()

    def is_met_by(self, given: str) -> bool:
        """Tell whether an answer is right: it has all phrases, or the words that were written.

        A long answer may differ in a few words; in a short one each may be the one that counts.
        """
        if self.phrases:
            text = given.lower()
            return all(any(phrase in text for phrase in one_of) for one_of in self.phrases)
        is_short = len(self.answer.split()) <= SHORT_WORDS
        return _likeness(given, self.answer) >= (1.0 if is_short else SAME)


Conversation = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class ExamTalk:
    """A question that is asked after other turns, whose answers are those that were written."""

    before: Conversation
    question: ExamQuestion


def facts(seed: int) -> Iterator[Conversation]:
    """Every fact in several wordings, as conversations of one turn."""
    return _single_turns(seed, [f for f in all_facts() if not f.is_row])


def tables(seed: int) -> Iterator[Conversation]:
    """Every row of a table, and every sum, in several wordings."""
    return _single_turns(seed, [f for f in all_facts() if f.is_row])


def _single_turns(seed: int, chosen: Sequence[Fact]) -> Iterator[Conversation]:
    rng, askings = random.Random(seed), load("askings")  # noqa: S311 - not for secrets
    for fact in chosen:
        questions = _wordings(fact, askings, rng)
        for i in range(fact.n_wordings):
            asked = questions[i % len(questions)]
            if i >= len(questions) or rng.random() < HALF:
                asked = _dressed(asked, rng.choice(askings["dressed"]))
            yield _talk(asked, fact.answer)


def talks(seed: int) -> Iterator[Conversation]:
    """Conversations of two and three turns, of which the last answer is to be learnt."""
    rng, askings = random.Random(seed), load("askings")  # noqa: S311
    ask = _Asker(all_facts(), askings, rng)
    teller = Storyteller(rng)
    kinds = (
        ask.then_another_name, ask.then_why, ask.then_more, ask.then_thanks, ask.after_greeting,
        ask.then_something_else, ask.then_something_else, ask.then_follow_up,
        lambda: ask.then_another_story(teller),
        *[ask.then_second_question] * 4, ask.then_another_name,
    )  # fmt: skip
    for i in range(N_TALKS):
        yield kinds[i % len(kinds)]()


def stories(seed: int) -> Iterator[Conversation]:
    """Ask for stories; each answer has five sentences."""
    for question, story in Storyteller(random.Random(seed)).requests():  # noqa: S311
        yield _talk(question, story)


def exam_questions(seed: int = 0) -> list[ExamQuestion]:
    """Make the exam: `pairs/exam.toml`, and of each topic some wordings that are held out."""
    rng, askings = random.Random(seed), load("askings")  # noqa: S311
    asked = {bare(question) for fact in all_facts() for question in fact.questions}
    by_topic: dict[str, list[ExamQuestion]] = {}
    for fact in all_facts(with_held_out_rows=True):
        questions = list(fact.held_out)
        if fact.names:
            wordings = rng.sample(askings["held_out"], 2)
            questions += [w.format(x=rng.choice(fact.names)) for w in wordings]
        by_topic.setdefault(fact.topic, []).extend(
            ExamQuestion(fact.topic, q, fact.answer) for q in questions if bare(q) not in asked
        )
    exam = [
        ExamQuestion("by hand", question, phrases=tuple(tuple(p.split("|")) for p in phrases))
        for question, *phrases in load("exam")["questions"]
    ]
    for topic, of_topic in by_topic.items():
        rng.shuffle(of_topic)
        exam += of_topic if topic in FILES else of_topic[:N_OF_A_SMALL_TOPIC]
    return exam


def exam_talks(seed: int = 0) -> list[ExamTalk]:
    """Make the exam of later turns, in wordings that are never trained on.

    Topics: "second questions" (pairs/talks.toml), "another name" ("How about MQA?"), "why", "more".
    """
    rng = random.Random(seed)  # noqa: S311
    ask = _Asker(all_facts(), load("askings"), rng)
    return [*ask.exam_of_second_questions(), *ask.exam_of_other_turns()]


class _Asker:
    """Builds conversations of several turns from facts."""

    def __init__(self, facts: Sequence[Fact], askings: dict[str, Any], rng: random.Random) -> None:
        self._askings, self._rng = askings, rng
        self._facts = facts
        self._named = [f for f in facts if f.names]
        self._of_tables = [f for f in facts if f.follow_ups]
        self._greetings = [f for f in facts if f.topic == "breeze"][:1]
        self._second = second_questions(facts)

    def then_another_name(self) -> Conversation:
        """Ask for another name of the same topic: "What is GQA?", then "And MQA?"."""
        first = self._rng.choice(self._named)
        second = self._rng.choice([f for f in self._named if f.topic == first.topic])
        wording = self._rng.choice(self._askings["follow_ups"])
        asked = wording.format(x=self._rng.choice(second.names))
        return _talk(self._question(first), first.answer, asked, second.answer)

    def then_follow_up(self) -> Conversation:
        """Ask for another row: "What is the capital of France?", then "And of Italy?"."""
        second = self._rng.choice(self._of_tables)
        first = self._rng.choice([f for f in self._of_tables if f.topic == second.topic])
        asked = self._rng.choice(second.follow_ups)
        return _talk(self._question(first), first.answer, asked, second.answer)

    def then_second_question(self) -> Conversation:
        """Ask for one fact or two, then with a word like "it" about them."""
        second = self._rng.choice(self._second)
        asked = self._rng.choice(second.asked)
        return _talk(*self._turns_before(second), asked, second.answer)

    def exam_of_second_questions(self) -> Iterator[ExamTalk]:
        """Every second question in each wording that is held out."""
        for second in self._second:
            for asked in second.held_out:
                before = _talk(*self._turns_before(second))
                yield ExamTalk(before, ExamQuestion("second questions", asked, second.answer))

    def _turns_before(self, second: SecondQuestion) -> Iterator[str]:
        """Ask for the facts, in any order: "What is GQA?" and, if there are two, "And MQA?"."""
        first, *others = self._rng.sample(second.after, len(second.after))
        yield from (self._question(first), first.answer)
        for other in others:
            wording = self._rng.choice(self._askings["follow_ups"])
            yield from (wording.format(x=self._rng.choice(other.names)), other.answer)

    def then_why(self) -> Conversation:
        """Ask for a reason: "What is GQA?", then "Why?"."""
        return self._asked_further("why")

    def then_more(self) -> Conversation:
        """Ask on: "What is GQA?", then "Tell me more."."""
        return self._asked_further("more")

    def then_thanks(self) -> Conversation:
        """Ask, then give thanks."""
        fact = self._rng.choice(self._facts)
        thanks = self._rng.choice(self._askings["thanks"])
        return _talk(self._question(fact), fact.answer, thanks, self._askings["welcome"])

    def after_greeting(self) -> Conversation:
        """Greet, then ask."""
        hello, fact = self._rng.choice(self._greetings), self._rng.choice(self._facts)
        return _talk(self._question(hello), hello.answer, self._question(fact), fact.answer)

    def then_something_else(self) -> Conversation:
        """Ask two or three questions that have nothing to do with each other."""
        chosen = [self._rng.choice(self._facts) for _ in range(self._rng.choice((2, 2, 3)))]
        return _talk(*(text for f in chosen for text in (self._question(f), f.answer)))

    def then_another_story(self, teller: Storyteller) -> Conversation:
        """Ask for a story, then for another one."""
        question, story = teller.request()
        again = self._rng.choice(self._askings["another"])
        return _talk(question, story, again, teller.any_story())

    def exam_of_other_turns(self) -> Iterator[ExamTalk]:
        """Ask for other names, reasons and more, in wordings that are held out."""
        held_out = self._askings["held_out_turns"]
        for first in self._named:
            second = self._rng.choice([f for f in self._named if f.topic == first.topic])
            asked = self._rng.choice(held_out["name"]).format(x=self._rng.choice(second.names))
            yield self._exam_talk("another name", first, asked, second.answer)
            for kind in ("why", "more"):
                if answer := getattr(first, kind):
                    yield self._exam_talk(kind, first, self._rng.choice(held_out[kind]), answer)

    def _exam_talk(self, topic: str, first: Fact, asked: str, answer: str) -> ExamTalk:
        before = _talk(self._question(first), first.answer)
        return ExamTalk(before, ExamQuestion(topic, asked, answer))

    def _asked_further(self, kind: str) -> Conversation:
        known = [f for f in self._named if getattr(f, kind)]
        fact = self._rng.choice(known if self._rng.random() < 0.8 else self._named)
        answer = getattr(fact, kind) or self._askings["no_more"]
        asked = self._rng.choice(self._askings[kind])
        return _talk(self._question(fact), fact.answer, asked, answer)

    def _question(self, fact: Fact) -> str:
        return self._rng.choice(_wordings(fact, self._askings, self._rng))


def _wordings(fact: Fact, askings: dict[str, Any], rng: random.Random) -> list[str]:
    """Give the questions of a fact in random order, those by its names among them."""
    questions = list(fact.questions)
    if fact.names:
        # Each name is asked for; a fact with questions of its own gets half of them from names.
        n_named = max(fact.n_wordings - len(questions), fact.n_wordings // 2)
        known = rng.sample(askings["known"], min(n_named, len(askings["known"])))
        names = [fact.names[i % len(fact.names)] for i in range(len(known))]
        questions += [w.format(x=n) for w, n in zip(known, names, strict=True)]
    rng.shuffle(questions)
    return questions


def _dressed(question: str, wording: str) -> str:
    return wording.format(
        q=question, l=question[0].lower() + question[1:] if question[1:2].islower() else question,
        plain=question.lower().rstrip("?.!"), shout=question.upper(),
    )  # fmt: skip


def _likeness(one: str, other: str) -> float:
    """Compare the words of two texts: the F1 of how many they share."""
    a, b = (Counter(re.findall(r"[a-z0-9]+", text.lower())) for text in (one, other))
    shared = (a & b).total()
    return 2 * shared / max(1, a.total() + b.total())


def _talk(*texts: str) -> Conversation:
    """Messages of the user and the assistant in turn."""
    return tuple(
        Message("assistant" if i % 2 else "user", text.strip()) for i, text in enumerate(texts)
    )
