"""Many sequences, one model. It knows no HTTP, no accounts and no catalogue.

`scheduler` decides with integers who runs; `runner` computes; `sampler` chooses tokens;
`output` turns them into text; `engine` joins the four into a step; `async_engine` runs steps
in a thread for an event loop; `llm` runs them for a script.
"""
