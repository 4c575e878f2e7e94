"""From a step's logits to the tokens that were chosen, each by its own request alone.

`choosing` is the way in; `sampler` chooses for a batch, by `penalties`, `grammar`, `ranking` and
`drawing`.
"""
