"""How much an account may use; and which numbers we take for that."""

from dataclasses import dataclass, fields

from sirocco.errors import InvalidInput

_MOST = {
    "daily_neurons": 10**12,  # so that micro-neurons fit 64 bits
    "daily_tokens": 10**12,
    "per_minute": 100_000,  # each of them is remembered for a minute
}


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of an account: 0 is no limit, None is what the server's settings say.

    Attributes:
        daily_neurons: from 00:00 UTC to the next.
        daily_tokens: prompt and output tokens, from 00:00 UTC to the next.
        per_minute: requests in any 60 seconds, counted by each server by itself.

    Raises: InvalidInput naming the limit and its range.
    """

    daily_neurons: float | None = None
    daily_tokens: int | None = None
    per_minute: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            most, value = _MOST[field.name], getattr(self, field.name)
            if value is not None and not 0 <= value <= most:  # nor is NaN
                raise InvalidInput(f"'/{field.name}' must be in 0 … {most}, got {value!r}")

    def over(self, defaults: "Limits") -> "Limits":
        """Fill with the settings' limits what the account does not have."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return Limits(**{
            name: getattr(defaults, name) if value is None else value
            for name, value in own.items()
        })  # fmt: skip

    @property
    def has_budget(self) -> bool:
        """A day's use is limited, by neurons or by tokens."""
        return bool(self.daily_neurons or self.daily_tokens)


NO_OWN_LIMITS = Limits()
