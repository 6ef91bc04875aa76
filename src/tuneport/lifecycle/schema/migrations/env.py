"""Alembic's environment: it runs within the caller's transaction, so that all revisions happen or none."""

from alembic import context

from tuneport.lifecycle.schema import migrations
from tuneport.lifecycle.schema.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    on_version_apply=migrations.record_schema_version,
)
context.run_migrations()
