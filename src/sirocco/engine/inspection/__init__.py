"""Looking inside a model while it serves: what every head of a layer looks at, for one text.

`request` is what is asked and `shape` what the engine says of itself, both without torch; `run`
computes, `desk` decides when, so that answers hardly notice.
"""
