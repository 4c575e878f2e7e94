"""What the users of the serving benchmark ask, and when; the same seed draws the same.

Arrivals are a Poisson process. Lengths are log-normal, as those of real conversations are: many
short ones, a few long ones.
"""

import math
import random
from dataclasses import dataclass
from typing import Any

Request = dict[str, Any]

_TEXT = """
the a of in to and cat dog tree river house king girl boy story bread window red small old young
happy walk sing find give take long night day sun rain friend forest garden letter query head
group cache token model layer answer question why how what where when
"""
WORDS = _TEXT.split()


@dataclass(frozen=True, slots=True)
class Lengths:
    """Log-normal lengths, cut at `most`."""

    median: float
    sigma: float
    most: int

    def draw(self, rng: random.Random) -> int:
        """Draw one, at least 1."""
        return max(1, min(self.most, round(rng.lognormvariate(math.log(self.median), self.sigma))))


OUTPUT_TOKENS = Lengths(median=40, sigma=0.7, most=160)


def arrivals(rate: float, seconds: float, rng: random.Random) -> list[float]:
    """Draw the moments of a Poisson process of `rate` per second."""
    moments = []
    at_s = rng.expovariate(rate)
    while at_s < seconds:
        moments.append(at_s)
        at_s += rng.expovariate(rate)
    return moments


def prompt(rng: random.Random, n_words: int) -> str:
    """Write a prompt that shares no beginning with another: nothing of it is cached."""
    return f"{rng.getrandbits(40):x} " + " ".join(rng.choices(WORDS, k=n_words))


def request(who: str, words: Lengths, rng: random.Random, *, at_s: float = 0.0) -> Request:
    """Draw one request of mixed lengths."""
    body = {
        "prompt": prompt(rng, words.draw(rng)), "max_tokens": OUTPUT_TOKENS.draw(rng),
        "temperature": 1.0, "seed": 1 + rng.getrandbits(32), "stream": True,
    }  # fmt: skip
    return {"who": who, "at_s": at_s, "body": body}


def poisson(
    who: str, words: Lengths, rate: float, seconds: float, rng: random.Random
) -> list[Request]:
    """Draw the requests of an open loop."""
    return [request(who, words, rng, at_s=at_s) for at_s in arrivals(rate, seconds, rng)]


def fixed(who: str, text: str, max_tokens: int) -> Request:
    """Ask for `max_tokens` likeliest tokens, now."""
    body = {"prompt": text, "max_tokens": max_tokens, "temperature": 0, "stream": True}
    return {"who": who, "at_s": 0.0, "body": body}
