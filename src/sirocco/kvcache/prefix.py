"""Names of what blocks hold, so that keys and values are computed once for a common beginning.

A name is a hash of a block's tokens and of the name before it, down to a root. So a name stands
for everything from the first token on, and two accounts with different roots share no name.
"""

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b

_NAME_BYTES = 16
"""Two different beginnings share a name with a probability of 2⁻⁶⁴ among 2³² of them."""


def root_name(kind: str, owner: str) -> bytes:
    """Name of the empty beginning, for the blocks of one owner of one kind (an account, say)."""
    tag = kind.encode()
    return _hash(len(tag).to_bytes(4, "little") + tag + owner.encode(errors="surrogatepass"))


def next_name(name: bytes, token_ids: Sequence[int]) -> bytes:
    """Name of the block of `token_ids` that follows the block called `name`."""
    return _hash(name + array("q", token_ids).tobytes())


def _hash(data: bytes) -> bytes:
    return blake2b(data, digest_size=_NAME_BYTES).digest()


class NamedBlocks:
    """Which block holds what has a name, and which of these nobody holds, longest idle first."""

    def __init__(self) -> None:
        self._block_ids: dict[bytes, int] = {}
        self._names: dict[int, bytes] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()

    @property
    def n_idle(self) -> int:
        """Named blocks that no table holds."""
        return len(self._idle)

    @property
    def idle(self) -> frozenset[int]:
        """The named blocks that no table holds."""
        return frozenset(self._idle)

    @property
    def names(self) -> dict[int, bytes]:
        """A copy: the name of each named block."""
        return dict(self._names)

    def find(self, name: bytes) -> int | None:
        """Return the block of this name, if there is one."""
        return self._block_ids.get(name)

    def is_named(self, block_id: int) -> bool:
        """Tell whether what the block holds can be found."""
        return block_id in self._names

    def is_idle(self, block_id: int) -> bool:
        """Tell whether the block is named and no table holds it."""
        return block_id in self._idle

    def name(self, block_id: int, name: bytes) -> None:
        """Name a block that a table holds; where another block has the name, it keeps it."""
        if name not in self._block_ids and block_id not in self._names:
            self._block_ids[name] = block_id
            self._names[block_id] = name

    def put_to_rest(self, block_id: int) -> None:
        """Take note that no table holds a named block any more."""
        self._idle[block_id] = None

    def wake(self, block_id: int) -> None:
        """Take note that a table holds an idle block again."""
        del self._idle[block_id]

    def evict(self) -> int:
        """Forget the block that was idle longest, and return it."""
        block_id, _ = self._idle.popitem(last=False)
        del self._block_ids[self._names.pop(block_id)]
        return block_id

    def check_integrity(self) -> None:
        """Compare names with blocks. Raises: AssertionError naming the first disagreement."""
        for block_id, name in self._names.items():
            if self._block_ids.get(name) != block_id:
                raise AssertionError(f"block {block_id} has a name that leads elsewhere")
        if len(self._block_ids) != len(self._names):
            raise AssertionError(f"{len(self._block_ids)} names for {len(self._names)} blocks")
        if not self._idle.keys() <= self._names.keys():
            raise AssertionError("an idle block has no name")
