"""The bytes of the public API: schemas, envelopes, error codes, server-sent events.

The room knows no I/O, no web framework and no engine: it turns values into the public
form, and back.
"""
