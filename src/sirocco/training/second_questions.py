"""Questions that name no subject, since an answer before them does: "Who invented it?"."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sirocco.training.facts import Fact, load


@dataclass(frozen=True, slots=True)
class SecondQuestion:
    """What is asked after one fact, or about two.

    Attributes:
        after: the facts that were asked for, one or two of them.
        asked: wordings that are trained on.
        held_out: wordings that never are.
        answer: what is right after these facts, and perhaps not after others.
    """

    after: tuple[Fact, ...]
    asked: tuple[str, ...]
    held_out: tuple[str, ...]
    answer: str


def second_questions(facts: Sequence[Fact]) -> list[SecondQuestion]:
    """Read `pairs/talks.toml`, subjects and answers looked up among the facts.

    Raises: KeyError naming a subject, a question or a kind that nothing stands for.
    """
    raw = load("talks")
    by_words = {words: fact for fact in facts for words in (*fact.names, *fact.questions)}
    return [
        *_of(raw["after"], raw["wording"], by_words),
        *_of(raw["pair"], raw["compared"], by_words),
    ]


def _of(
    entries: Sequence[dict[str, Any]],
    wordings: Sequence[dict[str, Any]],
    by_words: dict[str, Fact],
) -> Iterator[SecondQuestion]:
    by_kind = {wording["kind"]: wording for wording in wordings}
    for entry in entries:
        subjects = [entry["of"]] if isinstance(entry["of"], str) else entry["of"]
        after = tuple(by_words[subject] for subject in subjects)
        for kind, stands_for in entry.items():
            if kind == "of":
                continue
            answer = by_words[stands_for].answer if stands_for.endswith("?") else stands_for
            wording = by_kind[kind]
            yield SecondQuestion(after, tuple(wording["asked"]), tuple(wording["held_out"]), answer)
