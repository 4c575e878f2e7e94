"""What tokens of a model cost, in neurons: the unit that Workers AI counts in."""

from dataclasses import dataclass

MICRO = 1_000_000
"""A neuron has a million micro-neurons. Prices are whole neurons for a million tokens, so what a
request costs is a whole number of micro-neurons, and sums are exact."""

USD_PER_NEURON = 0.011 / 1000
"""Source: the public service's price list."""


@dataclass(frozen=True, slots=True)
class Price:
    """Neurons for a million tokens of each kind; models of one's own cost nothing."""

    prompt: int = 0
    output: int = 0

    def micro_neurons(self, prompt_tokens: int, output_tokens: int) -> int:
        """Return what a request costs, in millionths of a neuron, exactly."""
        return prompt_tokens * self.prompt + output_tokens * self.output

    def neurons(self, prompt_tokens: int, output_tokens: int) -> float:
        """Return what a request costs. Mistral 7B, 100 tokens in and 200 out: 4.46."""
        return self.micro_neurons(prompt_tokens, output_tokens) / MICRO

    @property
    def prompt_usd(self) -> float:
        """US dollars for a million prompt tokens."""
        return self.prompt * USD_PER_NEURON

    @property
    def output_usd(self) -> float:
        """US dollars for a million output tokens."""
        return self.output * USD_PER_NEURON


FREE = Price()
