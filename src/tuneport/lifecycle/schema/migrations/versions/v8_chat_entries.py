"""The audit log has chats, too, with their tokens."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0008", "0007"
LOSES = "how many tokens the chats in the audit log had"
DROPS: tuple[str, ...] = ()
_COLUMNS = ("prompt_tokens", "completion_tokens")


def upgrade() -> None:
    for name in _COLUMNS:
        op.add_column("audit_log", sa.Column(name, sa.Integer))


def downgrade() -> None:
    for name in _COLUMNS:
        op.drop_column("audit_log", name)
