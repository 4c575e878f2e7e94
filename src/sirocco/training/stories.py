"""Short stories of five sentences, filled in from the patterns of pairs/stories.toml."""

import random
import tomllib
from collections.abc import Iterator
from importlib import resources

_KINDS = ("heroes", "things", "large_things", "people")
_HE = {"he": "he", "his": "his", "him": "him", "himself": "himself"}
_SHE = {"he": "she", "his": "her", "him": "her", "himself": "herself"}
_WOMEN = ("girl", "princess", "queen", "old woman", "hen")


class Storyteller:
    """Answers requests for stories; all choices are the given random numbers'."""

    def __init__(self, rng: random.Random) -> None:
        file = resources.files("sirocco.training") / "pairs" / "stories.toml"
        self._told: dict[str, list[str]] = tomllib.loads(file.read_text("utf-8"))
        self._rng = rng

    def requests(self) -> Iterator[tuple[str, str]]:
        """Every hero and thing with every wording once, and open requests in between."""
        for subject in self.subjects():
            for wording in self._told["questions"]:
                yield wording.format(x=subject), self.story_about(subject)
                if self._rng.random() < 0.2:
                    yield self._rng.choice(self._told["open_questions"]), self.any_story()

    def request(self) -> tuple[str, str]:
        """One request and its story."""
        subject = self._rng.choice(self.subjects())
        return self._rng.choice(self._told["questions"]).format(x=subject), self.story_about(
            subject
        )

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
        """Five sentences with this hero or thing."""
        told, rng = self._told, self._rng
        kind = next((kind for kind in _KINDS if subject in told[kind]), "heroes")
        pattern = rng.choice(told[f"{kind}_stories"])
        is_woman = subject.split(" ", 1)[1].removeprefix("little ") in _WOMEN
        is_man = subject in told["people"] and not is_woman
        as_she = is_woman or (not is_man and rng.random() < 0.5)
        name, friend = rng.choice(told["girls" if as_she else "boys"]), rng.choice(told["friends"])
        other = rng.choice([n for n in told["boys"] + told["girls"] if n != name])
        words = _SHE if as_she else _HE
        of_friend = friend.split(" ", 1)[1]
        small = words | {
            "name": name, "friend": other, "hero": subject, "thing": subject,
            "thing_the": "the " + subject.split(" ", 1)[1], "a_friend": friend,
            "the_friend": f"the {of_friend}", "the_Friend": f"The {of_friend}",
            "place": rng.choice(told["places"]), "food": rng.choice(told["foods"]),
        }  # fmt: skip
        capital = {
            k.capitalize(): _capital(v) for k, v in small.items() if k in ("he", "his", "hero")
        }
        return pattern.format(**small, **capital, a_Friend=_capital(friend))


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
