"""The audit log is only added to: the database itself refuses to change or remove an entry."""

from alembic import op

revision, down_revision = "0007", "0006"
LOSES = "nothing; but entries of the audit log can be changed and removed again"
DROPS: tuple[str, ...] = ()
_SQLITE = """CREATE TRIGGER audit_log_no_{verb} BEFORE {verb} ON audit_log
BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END"""
_FUNCTION = """CREATE OR REPLACE FUNCTION audit_log_is_kept() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the audit log is only added to'; END $$"""
_POSTGRESQL = """CREATE TRIGGER audit_log_no_{verb} BEFORE {verb} ON audit_log
FOR EACH STATEMENT EXECUTE FUNCTION audit_log_is_kept()"""


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_FUNCTION)
        for verb in ("update", "delete", "truncate"):
            op.execute(_POSTGRESQL.format(verb=verb))
    else:
        for verb in ("update", "delete"):
            op.execute(_SQLITE.format(verb=verb))


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for verb in ("update", "delete", "truncate"):
            op.execute(f"DROP TRIGGER audit_log_no_{verb} ON audit_log")
        op.execute("DROP FUNCTION audit_log_is_kept()")
    else:
        for verb in ("update", "delete"):
            op.execute(f"DROP TRIGGER audit_log_no_{verb}")
