"""Accounts, API tokens and usage; all SQL of Sirocco is in this room.

Values go in and come out as frozen dataclasses; no other room sees a table, a connection
or a database's own errors. Calls block: a server runs them in a thread.
"""
