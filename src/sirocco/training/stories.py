"""Short stories of five sentences, filled in from the patterns of pairs/stories.toml."""

import random
import tomllib
from collections.abc import Iterator
from importlib import resources

WORDINGS_PER_SUBJECT = 10
OPEN_SHARE = 0.1
DESCRIBED_SHARE = 0.3
HALF = 0.5
_KINDS = ("heroes", "things", "large_things", "people")
_HE = {"he": "he", "his": "his", "him": "him", "himself": "himself"}
_SHE = {"he": "she", "his": "her", "him": "her", "himself": "herself"}
_WOMEN = ("girl", "little girl", "princess", "queen", "old woman", "hen", "fairy", "mermaid")


class Storyteller:
    """Answers requests for stories; all choices are the given random numbers'."""

    def __init__(self, rng: random.Random) -> None:
        file = resources.files("sirocco.training") / "pairs" / "stories.toml"
        self._told: dict[str, list[str]] = tomllib.loads(file.read_text("utf-8"))
        self._rng = rng

    def requests(self) -> Iterator[tuple[str, str]]:
        """Every hero and thing in several wordings, and open requests in between."""
        for subject in self.subjects():
            for wording in self._rng.sample(self._told["questions"], WORDINGS_PER_SUBJECT):
                asked = self._described(subject)
                yield wording.format(x=asked), self.story_about(asked)
                if self._rng.random() < OPEN_SHARE:
                    yield self._rng.choice(self._told["open_questions"]), self.any_story()

    def request(self) -> tuple[str, str]:
        """One request and its story."""
        subject = self._described(self._rng.choice(self.subjects()))
        return self._rng.choice(self._told["questions"]).format(x=subject), self.story_about(
            subject
        )

    def _described(self, subject: str) -> str:
        """Put an adjective to some of those that can have one: a fox → a clever fox."""
        if self._rng.random() > DESCRIBED_SHARE or not subject.startswith(("a ", "an ")):
            return subject
        adjective = self._rng.choice(self._told["adjectives"])
        article = "an" if adjective[0] in "aeiou" else "a"
        return f"{article} {adjective} {subject.split(' ', 1)[1]}"

    def subjects(self) -> list[str]:
        """List what stories are about."""
        return [subject for kind in _KINDS for subject in self._told[kind]]

    def held_out_questions(self) -> list[str]:
        """Make requests in wordings, or about subjects, that never become documents."""
        told = self._told
        unseen = [*told["held_out_heroes"], *told["held_out_things"]]
        known = [self._rng.choice(self.subjects()) for _ in told["held_out"]]
        return [
            *(wording.format(x=x) for wording, x in zip(told["held_out"], known, strict=True)),
            *(told["questions"][0].format(x=x) for x in unseen),
        ]

    def any_story(self) -> str:
        """Tell a story about anything."""
        return self.story_about(self._rng.choice(self.subjects()))

    def story_about(self, subject: str) -> str:
        """Five sentences with this hero or thing, an adjective before it or not."""
        told, rng = self._told, self._rng
        kind, noun = self._kind_of(subject)
        as_she = noun in _WOMEN or (kind != "people" and rng.random() < HALF)
        name, friend = rng.choice(told["girls" if as_she else "boys"]), rng.choice(told["friends"])
        other = rng.choice([n for n in told["boys"] + told["girls"] if n != name])
        of_friend, of_subject = friend.split(" ", 1)[1], subject.split(" ", 1)[1]
        words = (_SHE if as_she else _HE) | {
            "name": name, "friend": other, "hero": subject, "thing": subject,
            "thing_the": f"the {of_subject}", "a_friend": friend, "the_friend": f"the {of_friend}",
            "place": rng.choice(told["places"]), "food": rng.choice(told["foods"]),
        }  # fmt: skip
        capital = {
            "He": _capital(words["he"]), "His": _capital(words["his"]), "Hero": _capital(subject),
            "a_Friend": _capital(friend), "the_Friend": f"The {of_friend}",
        }  # fmt: skip
        return rng.choice(told[f"{kind}_stories"]).format(**words, **capital)

    def _kind_of(self, subject: str) -> tuple[str, str]:
        """Find the list that a subject is from, and its noun; whoever is unknown is a hero."""
        noun = subject.split(" ", 1)[1]
        for kind in _KINDS:
            for known in self._told[kind]:
                known_noun = known.split(" ", 1)[1]
                if noun == known_noun or noun.endswith(f" {known_noun}"):
                    return kind, known_noun
        return "heroes", noun


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
