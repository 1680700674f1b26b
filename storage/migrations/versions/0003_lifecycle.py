"""The life of an adapter: one history of all that happened, checkpoints, tags, pins, and who may be kept."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("adapters", sa.Column("keep_versions", sa.Integer(), nullable=True))
    op.add_column("adapters", sa.Column("checkpoint_job", sa.String(64), nullable=True))
    op.add_column("adapter_versions", sa.Column("job_id", sa.String(64), nullable=True))
    op.add_column("adapter_versions", sa.Column("data_digest", sa.String(71), nullable=True))
    # A unique index and no constraint, which SQLite could only get with a new table.
    op.create_index("uq_adapter_versions_adapter_id_job_id", "adapter_versions", ["adapter_id", "job_id"], unique=True)
    _create_events()
    _create_checkpoints()
    op.create_table(
        "adapter_tags",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("value", sa.String(256), nullable=False),
        sa.PrimaryKeyConstraint("version_id", "key", name="pk_adapter_tags"),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["adapter_versions.id"],
            name="fk_adapter_tags_version_id_adapter_versions",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_adapter_tags_key", "adapter_tags", ["key"])
    op.create_table(
        "adapter_pins",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("version_id", name="pk_adapter_pins"),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["adapter_versions.id"],
            name="fk_adapter_pins_version_id_adapter_versions",
            ondelete="CASCADE",
        ),
    )


def _create_events() -> None:
    """All that happened to an adapter in one table; the moves of aliases, which had their own, come along."""
    op.create_table(
        "adapter_events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("adapter_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("alias", sa.String(64), nullable=True),
        sa.Column("from_number", sa.Integer(), nullable=True),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("job_id", sa.String(64), nullable=True),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_adapter_events"),
        sa.ForeignKeyConstraint(
            ["adapter_id"], ["adapters.id"], name="fk_adapter_events_adapter_id_adapters", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_adapter_events_adapter_id", "adapter_events", ["adapter_id"])
    op.execute(
        "INSERT INTO adapter_events (adapter_id, kind, at, actor, reason, alias, from_number, number, details) "
        "SELECT adapter_id, kind, at, actor, reason, alias, from_number, to_number, '{}' "
        "FROM adapter_alias_events ORDER BY id"
    )
    op.drop_table("adapter_alias_events")


def _create_checkpoints() -> None:
    op.create_table(
        "adapter_checkpoints",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("adapter_id", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("data_digest", sa.String(71), nullable=True),
        sa.Column("base_digest", sa.String(71), nullable=False),
        sa.Column("base_name", sa.String(255), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("lineage", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_adapter_checkpoints"),
        sa.ForeignKeyConstraint(
            ["adapter_id"], ["adapters.id"], name="fk_adapter_checkpoints_adapter_id_adapters", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("adapter_id", "step", name="uq_adapter_checkpoints_adapter_id_step"),
    )
    op.create_index("ix_adapter_checkpoints_digest", "adapter_checkpoints", ["digest"])


def downgrade() -> None:
    op.create_table(
        "adapter_alias_events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("adapter_id", sa.Integer(), nullable=False),
        sa.Column("alias", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("from_number", sa.Integer(), nullable=True),
        sa.Column("to_number", sa.Integer(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_adapter_alias_events"),
        sa.ForeignKeyConstraint(
            ["adapter_id"], ["adapters.id"], name="fk_adapter_alias_events_adapter_id_adapters", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_adapter_alias_events_adapter_id", "adapter_alias_events", ["adapter_id"])
    op.execute(
        "INSERT INTO adapter_alias_events (adapter_id, alias, kind, from_number, to_number, at, actor, reason) "
        "SELECT adapter_id, alias, kind, from_number, number, at, actor, reason "
        "FROM adapter_events WHERE alias IS NOT NULL ORDER BY id"
    )
    for table in ("adapter_pins", "adapter_tags", "adapter_checkpoints", "adapter_events"):
        op.drop_table(table)
    op.drop_index("uq_adapter_versions_adapter_id_job_id", "adapter_versions")
    for column in ("data_digest", "job_id"):
        op.drop_column("adapter_versions", column)
    for column in ("checkpoint_job", "keep_versions"):
        op.drop_column("adapters", column)
