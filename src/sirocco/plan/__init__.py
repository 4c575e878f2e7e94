"""What fits on which hardware, how fast it can be, and what a million tokens cost.

`needs` is the arithmetic of a network, `hardware` what machines offer, `local` this one, measured;
`planning` puts them together. Nothing here loads a model.
"""
