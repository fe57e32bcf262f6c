"""Makes today's store one that an earlier version wrote."""

from device_app.data.store import Store


def allow_duplicates(store: Store) -> None:
    """Removes the rule that came with migration 4: a domain holds a recording once."""
    store._connection.sql.execute("DROP INDEX utterance_once")


def downgrade_to_3(store: Store) -> None:
    """Takes migrations 4 and 5 back; `allow_duplicates` has taken the rest of 4 back."""
    store._connection.sql.execute("ALTER TABLE utterance RENAME COLUMN hypothesis TO heard")
    store._connection.sql.execute("PRAGMA user_version = 3")
