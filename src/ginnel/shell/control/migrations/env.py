"""Alembic's way in: the store gives the connection, nothing is read from a file.

Room: shell.
"""

from alembic import context

from ginnel.shell.control.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
