"""The database: connections, transactions, tables, and one entry point to all of them."""
