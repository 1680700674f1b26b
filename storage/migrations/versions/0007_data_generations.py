"""Data generations: what was asked, how far each is, and how its attempts ended."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "data_generations",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("digest", sa.String(71), nullable=True),
        sa.Column("judge", sa.String(255), nullable=True),
        sa.Column("base_digest", sa.String(71), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("kept", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("dropped", sa.JSON(), nullable=False),
        sa.Column("file_id", sa.String(64), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claims", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_data_generations"),
    )
    op.create_index("ix_data_generations_status", "data_generations", ["status"])
    op.create_index("ix_data_generations_tenant_created_at", "data_generations", ["tenant", "created_at"])
    op.create_table(
        "data_generation_outcomes",
        sa.Column("generation_id", sa.String(64), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("row", sa.JSON(), nullable=True),
        sa.Column("reason", sa.String(32), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("generation_id", "attempt", name="pk_data_generation_outcomes"),
        sa.ForeignKeyConstraint(
            ["generation_id"],
            ["data_generations.id"],
            name="fk_data_generation_outcomes_generation_id_data_generations",
            ondelete="CASCADE",
        ),
    )


def downgrade() -> None:
    op.drop_table("data_generation_outcomes")
    op.drop_table("data_generations")
