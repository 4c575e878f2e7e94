"""The REST surface: a request in, the service asked, an answer out.

The room knows HTTP; it holds no tensors and no SQL.
"""
