"""Run by Alembic: within the transaction of whoever called, so that all revisions happen or none."""

from alembic import context

from tuneport.jobs import migrations
from tuneport.jobs.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    on_version_apply=migrations.note_version,
)
context.run_migrations()
