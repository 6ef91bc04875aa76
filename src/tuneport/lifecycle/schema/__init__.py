"""The database: tables, migrations, and whose rows a request may see."""
