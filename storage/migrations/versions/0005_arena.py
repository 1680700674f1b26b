"""The arena: battles, votes and ratings."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "arena_battles",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("generation", sa.JSON(), nullable=False),
        sa.Column("a_model", sa.String(255), nullable=False),
        sa.Column("b_model", sa.String(255), nullable=False),
        sa.Column("a", sa.JSON(), nullable=False),
        sa.Column("b", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_arena_battles"),
    )
    op.create_table(
        "arena_votes",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("battle_id", sa.String(64), nullable=False),
        sa.Column("voter", sa.String(64), nullable=False),
        sa.Column("winner", sa.String(4), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_arena_votes"),
        _of_battle("arena_votes"),
        sa.UniqueConstraint("battle_id", "voter", name="uq_arena_votes_battle_id_voter"),
    )
    op.create_table(
        "arena_ratings",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("battle_id", sa.String(64), nullable=True),
        sa.Column("side", sa.String(1), nullable=True),
        sa.Column("voter", sa.String(64), nullable=False),
        sa.Column("score", sa.Integer(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=False),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_arena_ratings"),
        _of_battle("arena_ratings"),
        sa.UniqueConstraint("battle_id", "side", "voter", name="uq_arena_ratings_battle_id_side_voter"),
    )
    for table in ("arena_battles", "arena_votes", "arena_ratings"):
        op.create_index(f"ix_{table}_tenant_created_at", table, ["tenant", "created_at"])


def _of_battle(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["battle_id"], ["arena_battles.id"], name=f"fk_{table}_battle_id_arena_battles", ondelete="CASCADE"
    )


def downgrade() -> None:
    for table in ("arena_ratings", "arena_votes", "arena_battles"):
        op.drop_table(table)
