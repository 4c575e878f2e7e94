"""Questions and answers written for the embedded model, put into many wordings.

What people wrote is in the folder `pairs`: facts, tables of small facts, stories, ways to ask.
Here it becomes documents, the same ones for the same seed. Wordings marked `held_out` never
become documents: they are the exam (`exam_questions`), which tells how well the model follows
wordings that it has not seen.
"""

import random
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from sirocco.training.stories import Storyteller
from sirocco.types import Message

FILES = (
    "facts", "attention", "inference", "models", "sirocco", "breeze", "everyday", "unknown",
)  # fmt: skip
WORDINGS_PER_FACT = 20
WORDINGS_PER_ROW = 6
N_TALKS = 3000
HALF = 0.5
N_OF_A_SMALL_TOPIC = 10
"""Exam questions of one table."""
SAME = 0.8
"""Likeness of an answer's words to those that were written, from which on it is the same."""
SHORT_WORDS = 15
NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen", "twenty", "twenty-one", "twenty-two", "twenty-three", "twenty-four", "twenty-five",
)  # fmt: skip
_OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "plus": lambda a, b: a + b,
    "minus": lambda a, b: a - b,
    "times": lambda a, b: a * b,
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One answer, and how it is asked for.

    Attributes:
        questions: whole ones, trained on.
        names: what it explains, for the wordings of askings.toml; may be empty.
        held_out: questions that are never trained on.
        follow_ups: short questions that make sense after another fact of the same topic.
        why, more: answers to "Why?" and "Tell me more." after it; None if there is none.
        is_row: it is one of a table's many.
    """

    topic: str
    answer: str
    questions: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    follow_ups: tuple[str, ...] = ()
    why: str | None = None
    more: str | None = None
    is_row: bool = False

    @property
    def n_wordings(self) -> int:
        """How many documents are made of it."""
        return WORDINGS_PER_ROW if self.is_row else WORDINGS_PER_FACT


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


def facts(seed: int) -> Iterator[Conversation]:
    """Every fact in several wordings, as conversations of one turn."""
    return _single_turns(seed, [f for f in all_facts() if not f.is_row])


def tables(seed: int) -> Iterator[Conversation]:
    """Every row of a table, and every sum, in several wordings."""
    return _single_turns(seed, [f for f in all_facts() if f.is_row])


def _single_turns(seed: int, chosen: Sequence[Fact]) -> Iterator[Conversation]:
    rng, askings = random.Random(seed), _load("askings")  # noqa: S311 - not for secrets
    for fact in chosen:
        questions = _wordings(fact, askings, rng)
        for i in range(fact.n_wordings):
            asked = questions[i % len(questions)]
            if i >= len(questions) or rng.random() < HALF:
                asked = _dressed(asked, rng.choice(askings["dressed"]))
            yield _talk(asked, fact.answer)


def talks(seed: int) -> Iterator[Conversation]:
    """Conversations of two and three turns, of which the last answer is to be learnt."""
    rng, askings = random.Random(seed), _load("askings")  # noqa: S311
    ask = _Asker(all_facts(), askings, rng)
    teller = Storyteller(rng)
    kinds = (
        ask.then_another_name, ask.then_why, ask.then_more, ask.then_thanks, ask.after_greeting,
        ask.then_something_else, ask.then_something_else, ask.then_follow_up,
        lambda: ask.then_another_story(teller),
    )  # fmt: skip
    for i in range(N_TALKS):
        yield kinds[i % len(kinds)]()


def stories(seed: int) -> Iterator[Conversation]:
    """Ask for stories; each answer has five sentences."""
    for question, story in Storyteller(random.Random(seed)).requests():  # noqa: S311
        yield _talk(question, story)


def exam_questions(seed: int = 0) -> list[ExamQuestion]:
    """Make the exam: `pairs/exam.toml`, and of each topic some wordings that are held out."""
    rng, askings = random.Random(seed), _load("askings")  # noqa: S311
    asked = {_bare(question) for fact in all_facts() for question in fact.questions}
    by_topic: dict[str, list[ExamQuestion]] = {}
    for fact in all_facts(with_held_out_rows=True):
        questions = list(fact.held_out)
        if fact.names:
            wordings = rng.sample(askings["held_out"], 2)
            questions += [w.format(x=rng.choice(fact.names)) for w in wordings]
        by_topic.setdefault(fact.topic, []).extend(
            ExamQuestion(fact.topic, q, fact.answer) for q in questions if _bare(q) not in asked
        )
    exam = [
        ExamQuestion("by hand", question, phrases=tuple(tuple(p.split("|")) for p in phrases))
        for question, *phrases in _load("exam")["questions"]
    ]
    for topic, of_topic in by_topic.items():
        rng.shuffle(of_topic)
        exam += of_topic if topic in FILES else of_topic[:N_OF_A_SMALL_TOPIC]
    return exam


def all_facts(*, with_held_out_rows: bool = False) -> list[Fact]:
    """Everything that was written, tables and sums filled in; `held_out_rows` only if asked."""
    found: list[Fact] = []
    for name in FILES:
        raw = _load(name)
        found += [_fact(entry, name) for entry in raw.get("fact", ())]
        for table in raw.get("table", ()):
            found += _rows(table, table["rows"])
            if with_held_out_rows:
                found += _rows(table, table.get("held_out_rows", ()), is_held_out=True)
        for sums in raw.get("sum", ()):
            found += _sums(sums)
    return found


class _Asker:
    """Builds conversations of several turns from facts."""

    def __init__(self, facts: Sequence[Fact], askings: dict[str, Any], rng: random.Random) -> None:
        self._askings, self._rng = askings, rng
        self._facts = facts
        self._named = [f for f in facts if f.names]
        self._of_tables = [f for f in facts if f.follow_ups]
        self._greetings = [f for f in facts if f.topic == "breeze"][:1]

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


def _bare(question: str) -> str:
    return re.sub(r"[^a-z0-9+*/ -]", "", question.lower()).strip()


def _fact(raw: dict[str, Any], topic: str) -> Fact:
    return Fact(
        topic=raw.get("topic", topic), answer=raw["answer"],
        questions=tuple(raw.get("questions", ())), names=tuple(raw.get("about", ())),
        held_out=tuple(raw.get("held_out", ())), why=raw.get("why"), more=raw.get("more"),
    )  # fmt: skip


def _rows(
    table: dict[str, Any], rows: Sequence[Sequence[str]], *, is_held_out: bool = False
) -> Iterator[Fact]:
    turned = {b: a for a, b in reversed(rows)} if table.get("both_ways") else {}
    known_words = {row[0] for row in rows}
    for row in [*rows, *([b, a] for b, a in turned.items() if b not in known_words)]:
        known, held_out = (
            tuple(q.format(*row) for q in table.get(kind, ())) for kind in ("questions", "held_out")
        )
        answer = table["answer"].format(*row)
        follow_ups = tuple(q.format(*row) for q in table.get("follow_ups", ()))
        yield Fact(
            table["topic"], answer[0].upper() + answer[1:], questions=() if is_held_out else known,
            held_out=held_out + (known[:1] if is_held_out else ()), follow_ups=follow_ups,
            is_row=True,
        )  # fmt: skip


def _sums(table: dict[str, Any]) -> Iterator[Fact]:
    compute = _OPERATIONS[table["operation"]]
    for a in range(table["up_to"] + 1):
        for b in range(table["up_to"] + 1):
            if (c := compute(a, b)) < 0:
                continue
            words = {"a": NUMBERS[a], "b": NUMBERS[b], "A": a, "B": b, "c": NUMBERS[c]}
            answer = table["answer"].format(**words)
            yield Fact(
                table["topic"], answer[0].upper() + answer[1:],
                questions=tuple(q.format(**words) for q in table["questions"]),
                held_out=tuple(q.format(**words) for q in table["held_out"]),
                is_row=True,
            )  # fmt: skip


def _talk(*texts: str) -> Conversation:
    """Messages of the user and the assistant in turn."""
    return tuple(
        Message("assistant" if i % 2 else "user", text.strip()) for i, text in enumerate(texts)
    )


def _load(name: str) -> dict[str, Any]:
    file = resources.files("sirocco.training") / "pairs" / f"{name}.toml"
    return tomllib.loads(file.read_text("utf-8"))
