"""Who was served how much, and how a budget is shared. Numbers alone; it knows no sequences."""

from collections.abc import Sequence

PROMPT_COST, OUTPUT_COST = 1.0, 2.0
"""What a token counts. An output token takes a step of its own, a prompt token shares one.

Source: Sheng 2024 §5.1, whose weights these are.
"""


class ServiceCounters:
    """What each account was served, over its weight; who has least comes next.

    An account that was away does not save up: when it comes back, its counter is lifted to the
    least of those that are there. One that leaves in debt comes back in debt.

    Source: Sheng 2024, "Fairness in Serving Large Language Models", Algorithm 2 (VTC).
    """

    def __init__(self) -> None:
        self._served: dict[str, float] = {}
        self._n_live: dict[str, int] = {}
        self._left_at = 0.0  # counter of the account that left last

    def served(self, account: str) -> float:
        """Tokens served so far, by their cost, over the account's weight."""
        return self._served.get(account, 0.0)

    def enter(self, account: str) -> None:
        """One more sequence of the account is there."""
        if account not in self._n_live:
            self._served[account] = max(self.served(account), self._least())
        self._n_live[account] = self._n_live.get(account, 0) + 1

    def leave(self, account: str) -> None:
        """One of its sequences is finished."""
        self._n_live[account] -= 1
        if self._n_live[account]:
            return
        del self._n_live[account]
        self._left_at = self._served[account]
        least = self._least()
        # Who is away and has less would be lifted anyway: nothing need be remembered.
        self._served = {
            name: served
            for name, served in self._served.items()
            if name in self._n_live or served > least
        }

    def charge(self, account: str, cost: float, weight: float) -> None:
        """Count what the account was served."""
        self._served[account] += cost / weight

    def _least(self) -> float:
        return min((self._served[name] for name in self._n_live), default=self._left_at)


def split_fairly(
    total: int, needs: Sequence[int], weights: Sequence[float] | None = None
) -> list[int]:
    """Share a whole number: who needs little gets it, the others the same (or by weight).

    Of 100, needs of 10, 70 and 200 get 10, 45 and 45. With the weights 1, 1 and 2: 10, 30 and 60.
    """
    weights = weights or [1.0] * len(needs)
    shares = [0] * len(needs)
    weight_left = sum(weights)
    for index in sorted(range(len(needs)), key=lambda i: needs[i] / weights[i]):
        shares[index] = min(needs[index], int(total * min(1.0, weights[index] / weight_left)))
        total -= shares[index]
        weight_left -= weights[index]
    return shares


def split_shortest_first(total: int, needs: Sequence[int]) -> list[int]:
    """Give who needs least all of it, then the next; but the first in line a quarter at least.

    So the mean wait is short, and the first in line, who may need much, is not passed for ever.
    Of 100, needs of 200, 70 and 10 get 25, 65 and 10.
    """
    shares = [0] * len(needs)
    if needs:
        shares[0] = min(needs[0], total // 4)
        total -= shares[0]
    for index in sorted(range(len(needs)), key=lambda i: (needs[i], i)):
        more = min(needs[index] - shares[index], total)
        shares[index] += more
        total -= more
    return shares
