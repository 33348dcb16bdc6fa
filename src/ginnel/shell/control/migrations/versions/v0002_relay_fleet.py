"""The relay fleet: regions, relays, tokens.

Room: shell.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "relay_regions",
        sa.Column("tailnet", sa.String, primary_key=True),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("code", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("latitude", sa.Float, nullable=False),
        sa.Column("longitude", sa.Float, nullable=False),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("avoid", sa.Boolean, nullable=False),
        sa.Column("no_home", sa.Boolean, nullable=False),
        sa.Column("hidden", sa.Boolean, nullable=False),
        sa.Column("mesh_key", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "relays",
        sa.Column("tailnet", sa.String, primary_key=True),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("region", sa.Integer, nullable=False),
        sa.Column("letter", sa.String, nullable=False),
        sa.Column("machine", sa.String),
        sa.Column("key", sa.String),
        sa.Column("node", sa.Text, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("shown", sa.Text),
        sa.Column("drain_until", sa.Float),
        sa.Column("mesh", sa.Boolean, nullable=False),
    )
    op.create_index("relays_machine", "relays", ["tailnet", "machine"], unique=True)
    op.create_index("relays_name", "relays", ["tailnet", "region", "letter"], unique=True)
    op.create_table(
        "relay_tokens",
        sa.Column("tailnet", sa.String, primary_key=True),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("prefix", sa.String, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("region", sa.Integer, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("expiry", sa.Float, nullable=False),
        sa.Column("used", sa.Float),
        sa.Column("revoked", sa.Float),
    )
