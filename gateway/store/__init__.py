"""The database: SQLite or PostgreSQL, transactions, group commit and migrations. Knows nothing of wallets or events."""
