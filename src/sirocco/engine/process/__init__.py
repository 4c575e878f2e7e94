"""An engine in a process of its own, and its other end, which imports no torch.

`python -m sirocco.engine.process FD` hosts an engine (`hosting`) behind a socket (`channel`), over
which `messages` go. `launch` starts it; `client` asks it, lets requests in by `admission`, and
hands each its `generation`.
"""
