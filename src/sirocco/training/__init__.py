"""Training of small models of our own `Transformer`: text in, a checkpoint that serves out.

The room knows texts, tokens, batches and the optimiser. It knows nothing of serving.
"""
