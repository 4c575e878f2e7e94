"""Many sequences, one model. It knows no HTTP, no accounts and no catalogue.

`scheduling` decides with integers who runs; `runner` computes; `sampling` chooses tokens;
`output` turns them into text; `engine` joins the four into a step. `process` runs steps behind a
socket, in a process of their own. `llm` runs an engine for a script.
"""
