"""The database's tables as they are now; `migrations/` says how they came to be.

Room: shell. Every table has a `tailnet` column from the first day; times are seconds since 1970, UTC.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table, Text

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("tailnet", String, primary_key=True),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", String, nullable=False),
    Column("created", Float, nullable=False),
    Index("users_name", "tailnet", "name", unique=True),
)

nodes = Table(
    "nodes",
    metadata,
    Column("tailnet", String, primary_key=True),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("machine", String, nullable=False),
    Column("key", String, nullable=False),
    Column("user", Integer, nullable=False),
    Column("hostname", String, nullable=False),
    Column("label", String, nullable=False),
    Column("ipv4", String, nullable=False),
    Column("ipv6", String, nullable=False),
    Column("created", Float, nullable=False),
    Column("expiry", Float),
    Column("tags", Text, nullable=False),
    Column("ephemeral", Boolean, nullable=False),
    Column("renamed", Boolean, nullable=False),
    Index("nodes_key", "key", unique=True),
    Index("nodes_label", "tailnet", "label", unique=True),
    Index("nodes_ipv4", "tailnet", "ipv4", unique=True),
    Index("nodes_ipv6", "tailnet", "ipv6", unique=True),
)

node_status = Table(
    "node_status",
    metadata,
    Column("tailnet", String, primary_key=True),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("hostinfo", Text, nullable=False),
    Column("endpoints", Text, nullable=False),
    Column("home", Integer, nullable=False),
    Column("disco", String),
    Column("cap", Integer, nullable=False),
    Column("last_seen", Float),
)

node_keys = Table(  # which machine a node key belongs to, for ever
    "node_keys",
    metadata,
    Column("key", String, primary_key=True),
    Column("tailnet", String, nullable=False),
    Column("machine", String, nullable=False),
)

preauth_keys = Table(
    "preauth_keys",
    metadata,
    Column("tailnet", String, primary_key=True),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("prefix", String, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("user", Integer, nullable=False),
    Column("created", Float, nullable=False),
    Column("expiry", Float),
    Column("reusable", Boolean, nullable=False),
    Column("ephemeral", Boolean, nullable=False),
    Column("tags", Text, nullable=False),
    Column("used", Float),
    Column("revoked", Float),
    Index("preauth_keys_prefix", "tailnet", "prefix", unique=True),
)

released_addresses = Table(
    "released_addresses",
    metadata,
    Column("tailnet", String, primary_key=True),
    Column("ipv4", String, primary_key=True),
    Column("ipv6", String, nullable=False),
    Column("at", Float, nullable=False),
)

policies = Table(
    "policies",
    metadata,
    Column("tailnet", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("text", Text, nullable=False),
    Column("at", Float, nullable=False),
)

numbers = Table(  # the highest id ever given; ids are not given twice
    "numbers",
    metadata,
    Column("tailnet", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("last", Integer, nullable=False),
)

relay_regions = Table(
    "relay_regions",
    metadata,
    Column("tailnet", String, primary_key=True),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("code", String, nullable=False),
    Column("name", String, nullable=False),
    Column("latitude", Float, nullable=False),
    Column("longitude", Float, nullable=False),
    Column("score", Float, nullable=False),
    Column("avoid", Boolean, nullable=False),
    Column("no_home", Boolean, nullable=False),
    Column("hidden", Boolean, nullable=False),
    Column("mesh_key", LargeBinary, nullable=False),
)

relays = Table(
    "relays",
    metadata,
    Column("tailnet", String, primary_key=True),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("region", Integer, nullable=False),
    Column("letter", String, nullable=False),
    Column("machine", String),
    Column("key", String),
    Column("node", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("state", String, nullable=False),
    Column("shown", Text),
    Column("drain_until", Float),
    Column("mesh", Boolean, nullable=False),
    Index("relays_machine", "tailnet", "machine", unique=True),
    Index("relays_name", "tailnet", "region", "letter", unique=True),
)

relay_tokens = Table(
    "relay_tokens",
    metadata,
    Column("tailnet", String, primary_key=True),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("prefix", String, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("region", Integer, nullable=False),
    Column("created", Float, nullable=False),
    Column("expiry", Float, nullable=False),
    Column("used", Float),
    Column("revoked", Float),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("tailnet", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("actor", String, nullable=False),
    Column("verb", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("detail", Text, nullable=False),
)
