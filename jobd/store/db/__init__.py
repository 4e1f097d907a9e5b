"""The database: connections, transactions, tables, and one door to all of them."""
