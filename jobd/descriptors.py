"""File descriptors: how many this process may open, and how many of them are for clients' connections.

jobd starts no other programs, so none inherits the limit that is raised here; containers have that of their engine.
"""

import resource

MAX_LIMIT = 65536
"""The maximum number of descriptors that is asked for if the hard limit allows more: what loops over all of them stays
quick.
"""
RESERVE = 512
"""Descriptors that are reserved for jobd itself: engines, followed logs, deliveries, files."""
EACH_OF_DATABASE = 3
"""Descriptors of one connection to the database: SQLite opens the file, its log and its index."""
MAX_CONNECTIONS = 8192
"""The maximum number of clients' connections, if there are descriptors for more: each costs some 20 KB of memory."""


def raise_limit() -> int:
    """Raise the soft limit as far as the hard one allows, at most to `MAX_LIMIT`, and never lower it; returns the new
    limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = MAX_LIMIT if hard == resource.RLIM_INFINITY else min(hard, MAX_LIMIT)
    if soft == resource.RLIM_INFINITY or soft >= limit:
        return MAX_LIMIT if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def for_connections(limit: int, database_connections: int) -> int:
    """How many of `limit` descriptors clients' connections may use; at least half of them."""
    reserve = min(RESERVE + EACH_OF_DATABASE * database_connections, limit // 2)
    return min(limit - reserve, MAX_CONNECTIONS)
