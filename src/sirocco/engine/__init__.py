"""Many sequences, one model. It knows no HTTP, no accounts and no catalogue.

`scheduler` decides with integers who runs; `runner` computes; `sampler` chooses tokens;
`output` turns them into text; `engine` joins the four into a step. `process` and
`hosting` run steps behind a socket, in a process of their own; `client` is its other end, and
imports no torch. `llm` runs an engine for a script.
"""
