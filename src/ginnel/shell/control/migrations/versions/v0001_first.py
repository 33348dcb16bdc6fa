"""The first tables.

Room: shell.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("tailnet", sa.String, primary_key=True),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
    )
    op.create_table(
        "nodes",
        sa.Column("tailnet", sa.String, primary_key=True),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("machine", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("user", sa.Integer, nullable=False),
        sa.Column("hostname", sa.String, nullable=False),
        sa.Column("label", sa.String, nullable=False),
        sa.Column("ipv4", sa.String, nullable=False),
        sa.Column("ipv6", sa.String, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("expiry", sa.Float),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("ephemeral", sa.Boolean, nullable=False),
        sa.Column("renamed", sa.Boolean, nullable=False),
    )
    op.create_table(
        "node_status",
        sa.Column("tailnet", sa.String, primary_key=True),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("hostinfo", sa.Text, nullable=False),
        sa.Column("endpoints", sa.Text, nullable=False),
        sa.Column("home", sa.Integer, nullable=False),
        sa.Column("disco", sa.String),
        sa.Column("cap", sa.Integer, nullable=False),
        sa.Column("last_seen", sa.Float),
    )
    op.create_table(
        "node_keys",
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("tailnet", sa.String, nullable=False),
        sa.Column("machine", sa.String, nullable=False),
    )
    op.create_table(
        "preauth_keys",
        sa.Column("tailnet", sa.String, primary_key=True),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("prefix", sa.String, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("user", sa.Integer, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("expiry", sa.Float),
        sa.Column("reusable", sa.Boolean, nullable=False),
        sa.Column("ephemeral", sa.Boolean, nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("used", sa.Float),
        sa.Column("revoked", sa.Float),
    )
    op.create_table(
        "released_addresses",
        sa.Column("tailnet", sa.String, primary_key=True),
        sa.Column("ipv4", sa.String, primary_key=True),
        sa.Column("ipv6", sa.String, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "policies",
        sa.Column("tailnet", sa.String, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "numbers",
        sa.Column("tailnet", sa.String, primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("last", sa.Integer, nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("tailnet", sa.String, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("verb", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_index("users_name", "users", ["tailnet", "name"], unique=True)
    op.create_index("nodes_key", "nodes", ["key"], unique=True)
    op.create_index("nodes_label", "nodes", ["tailnet", "label"], unique=True)
    op.create_index("nodes_ipv4", "nodes", ["tailnet", "ipv4"], unique=True)
    op.create_index("nodes_ipv6", "nodes", ["tailnet", "ipv6"], unique=True)
    op.create_index("preauth_keys_prefix", "preauth_keys", ["tailnet", "prefix"], unique=True)
