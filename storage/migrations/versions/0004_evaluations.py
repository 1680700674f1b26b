"""Suites by digest and name; runs of evaluations with their models, cases and events."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_suites()
    op.create_table(
        "evaluation_runs",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("suite_name", sa.String(64), nullable=True),
        sa.Column("suite_digest", sa.String(71), nullable=False),
        sa.Column("num_cases", sa.Integer(), nullable=False),
        sa.Column("scorers", sa.JSON(), nullable=False),
        sa.Column("generation", sa.JSON(), nullable=False),
        sa.Column("base_digest", sa.String(71), nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("judge", sa.String(255), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("server", sa.String(255), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_evaluation_runs"),
        sa.ForeignKeyConstraint(
            ["tenant", "suite_digest"],
            ["suite_contents.tenant", "suite_contents.digest"],
            name="fk_evaluation_runs_tenant_suite_digest_suite_contents",
        ),
    )
    op.create_index("ix_evaluation_runs_status", "evaluation_runs", ["status"])
    op.create_index("ix_evaluation_runs_tenant_created_at", "evaluation_runs", ["tenant", "created_at"])
    _create_parts()


def _create_suites() -> None:
    op.create_table(
        "suite_contents",
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("num_cases", sa.Integer(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "digest", name="pk_suite_contents"),
    )
    op.create_table(
        "suites",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_suites"),
        sa.UniqueConstraint("tenant", "name", "digest", name="uq_suites_tenant_name_digest"),
        sa.ForeignKeyConstraint(
            ["tenant", "digest"],
            ["suite_contents.tenant", "suite_contents.digest"],
            name="fk_suites_tenant_digest_suite_contents",
        ),
    )


def _create_parts() -> None:
    """What belongs to a run and goes with it."""
    op.create_table(
        "evaluation_models",
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("asked", sa.String(255), nullable=True),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "position", name="pk_evaluation_models"),
        _of_run("evaluation_models"),
    )
    op.create_index("ix_evaluation_models_digest", "evaluation_models", ["digest"])
    op.create_table(
        "evaluation_cases",
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("case_index", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Boolean(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "position", "case_index", name="pk_evaluation_cases"),
        _of_run("evaluation_cases"),
    )
    op.create_table(
        "evaluation_events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("level", sa.String(8), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_evaluation_events"),
        _of_run("evaluation_events"),
    )
    op.create_index("ix_evaluation_events_run_id", "evaluation_events", ["run_id"])


def _of_run(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["run_id"], ["evaluation_runs.id"], name=f"fk_{table}_run_id_evaluation_runs", ondelete="CASCADE"
    )


def downgrade() -> None:
    for table in ("evaluation_events", "evaluation_cases", "evaluation_models", "evaluation_runs"):
        op.drop_table(table)
    for table in ("suites", "suite_contents"):
        op.drop_table(table)
