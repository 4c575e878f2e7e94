"""Who may have an answer in the making, and who has to make room. It counts, and knows no engine.

The house has places for as many answers as can run, and as may wait beside them. When it is
full, one account cannot keep the others out: a newcomer takes the place of the youngest answer
that has not begun, of the account with the most places, if that leaves the two more alike.
Where answers take so long that whoever waits behind the others would be refused in the end, the
house has fewer places to wait.

A request that is still being read has no place. It is *expected*, and whoever of its account
comes after it is told at once if there will be no place left: so a crowd that comes for the one
place which has become free is not read as a whole.
"""

import math
from collections import Counter, deque

from sirocco.errors import OutOfCapacity

_LONGEST_RETRY_S = 60
_REMEMBERED_ENDS = 64


class Admission:
    """The places of one engine.

    Args:
        n_places: answers that may be live at once.
    """

    def __init__(self, n_places: int) -> None:
        self._n_places = n_places
        self._account_of: dict[str, str] = {}
        self._n_live: Counter[str] = Counter()
        self._unstarted: dict[str, dict[str, None]] = {}  # account → its answers, oldest first
        self._expected: dict[str, str] = {}  # request → its account
        self._n_expected: Counter[str] = Counter()

    @property
    def n_live(self) -> int:
        """Places that are taken."""
        return len(self._account_of)

    @property
    def n_unstarted(self) -> int:
        """Answers of which nothing was made yet."""
        return sum(map(len, self._unstarted.values()))

    def account_of(self, request_id: str) -> str | None:
        """Whose an answer is; None if it has no place."""
        return self._account_of.get(request_id)

    def resize(self, n_places: int) -> None:
        """Have more places, or fewer: whoever has one keeps it."""
        self._n_places = n_places

    def check_room(self, account: str) -> None:
        """Raise what `admit` would, and change nothing."""
        self._check_room(account, n_ahead=0)

    def expect(self, request_id: str, account: str) -> None:
        """Note that a request is being read, which will ask for a place; end it with `forget`.

        Raises: OutOfCapacity if there will be none for it, once all that are expected of its
            account have theirs. Those of other accounts do not count: whose turn it is then is
            told by `admit` alone.
        """
        self._check_room(account, n_ahead=self._n_expected[account])
        self._expected[request_id] = account
        self._n_expected[account] += 1

    def forget(self, request_id: str) -> None:
        """Expect a request no more; again does nothing."""
        account = self._expected.pop(request_id, None)
        if account is not None:
            _count_down(self._n_expected, account)

    def admit(self, request_id: str, account: str) -> str | None:
        """Give a place to an answer.

        Returns: the id of the answer that has to make room, whose place is gone; else None.
        Raises: OutOfCapacity if all places are taken and the account has its share of them.
        """
        self.forget(request_id)
        pushed_out = None
        if self.n_live >= self._n_places:
            pushed_out = self._who_makes_room(account)
            if pushed_out is None:
                raise OutOfCapacity(f"all {self._n_places} places are taken")
            self.ended(pushed_out)
        self._account_of[request_id] = account
        self._n_live[account] += 1
        self._unstarted.setdefault(account, {})[request_id] = None
        return pushed_out

    def began(self, request_id: str) -> None:
        """Note that an answer has begun: its place is its own until it ends."""
        account = self._account_of.get(request_id)
        if account is not None:
            self._forget_unstarted(request_id, account)

    def ended(self, request_id: str) -> None:
        """Take a place back; an answer without one is no fault."""
        account = self._account_of.pop(request_id, None)
        if account is None:
            return
        self._forget_unstarted(request_id, account)
        _count_down(self._n_live, account)

    def _check_room(self, account: str, *, n_ahead: int) -> None:
        is_full = self.n_live + n_ahead >= self._n_places
        if is_full and self._who_makes_room(account, n_ahead=n_ahead) is None:
            raise OutOfCapacity(f"all {self._n_places} places are taken")

    def _who_makes_room(self, account: str, *, n_ahead: int = 0) -> str | None:
        """Find the youngest unstarted answer of the account that has the most places.

        The newcomer's account has `n_ahead` places more by then.

        Only if that account keeps at least as many as the newcomer's then has: else two accounts
        could push each other out in turns, and nothing would be gained by it.
        """
        if not self._unstarted:
            return None
        largest = max(self._unstarted, key=lambda name: self._n_live[name])
        if self._n_live[account] + n_ahead + 1 > self._n_live[largest] - 1:
            return None
        return next(reversed(self._unstarted[largest]))

    def _forget_unstarted(self, request_id: str, account: str) -> None:
        mine = self._unstarted.get(account, {})
        mine.pop(request_id, None)
        if not mine:
            self._unstarted.pop(account, None)


def _count_down(counter: Counter[str], account: str) -> None:
    """Take one away; accounts without any are not kept."""
    counter[account] -= 1
    if not counter[account]:
        del counter[account]


class Pace:
    """How fast answers end when all that can run do, and so how long those that wait will take.

    Times between two ends count if something waited at the first of them: an engine that has
    little to do ends few answers, and could end many. All times are seconds of the caller's clock.
    """

    def __init__(self) -> None:
        self._gaps: deque[tuple[float, float]] = deque()  # when it was over, how long it was
        self._sum_s = 0.0
        self._last_s: float | None = None  # end after which something waited

    def ended(self, now_s: float, *, is_full: bool) -> None:
        """Note that an answer has ended; `is_full` if another one waited for its place."""
        if self._last_s is not None:
            self._gaps.append((now_s, now_s - self._last_s))
            self._sum_s += now_s - self._last_s
        if len(self._gaps) > _REMEMBERED_ENDS:
            self._forget_oldest()
        self._last_s = now_s if is_full else None

    def per_answer_s(self, now_s: float) -> float | None:
        """Seconds from one end to the next in the last minute; None if nothing is known."""
        while self._gaps and now_s - self._gaps[0][0] > _LONGEST_RETRY_S:
            self._forget_oldest()
        return max(0.0, self._sum_s) / len(self._gaps) if self._gaps else None

    def n_within(self, wait_s: float, now_s: float) -> float:
        """Guess how many answers will end within a time; infinitely many if nothing is known."""
        per_answer_s = self.per_answer_s(now_s)
        return wait_s / per_answer_s if per_answer_s else math.inf

    def retry_after_s(self, n_ahead: int, now_s: float) -> int:
        """Guess after how many seconds `n_ahead` answers will have ended; 1 … 60.

        If nothing is known of the last minute the guess is 1.
        """
        wait_s = (self.per_answer_s(now_s) or 0.0) * n_ahead
        return max(1, min(_LONGEST_RETRY_S, math.ceil(wait_s)))

    def _forget_oldest(self) -> None:
        self._sum_s -= self._gaps.popleft()[1]
