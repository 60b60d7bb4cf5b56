"""The database: SQLite or PostgreSQL, transactions, group commit, migrations. Independent of wallets and events."""
