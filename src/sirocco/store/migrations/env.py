"""What Alembic runs for every command; `sirocco.store.migrate` hands it the connection.

It sets no logging up and reads no file, since it runs inside a program that did both.
"""

from alembic import context

from sirocco.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
