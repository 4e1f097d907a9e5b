"""File descriptors: how many this process may have open, and how many of them are for clients' connections.

jobd starts no other programs, so nobody inherits the limit that is raised here; containers have that of their engine.
"""

import resource

MAX_LIMIT = 65536
"""Descriptors that are asked for where the hard limit allows more: what goes through all of them stays quick."""
RESERVE = 512
"""Descriptors that clients' connections leave to jobd itself: engines, logs that are followed, deliveries, files."""
EACH_OF_DATABASE = 3
"""Descriptors of a connection to the database: SQLite has the file, its log and its index."""
MAX_CONNECTIONS = 8192
"""Connections of clients where there are descriptors for more: each costs some 20 KB of memory."""


def raise_limit() -> int:
    """Raise the soft limit as far as the hard one allows, at most to `MAX_LIMIT`, never lower it; what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = MAX_LIMIT if hard == resource.RLIM_INFINITY else min(hard, MAX_LIMIT)
    if soft == resource.RLIM_INFINITY or soft >= limit:
        return MAX_LIMIT if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def for_connections(limit: int, database_connections: int) -> int:
    """How many of `limit` descriptors clients' connections may have: at least half, where there are few."""
    reserve = min(RESERVE + EACH_OF_DATABASE * database_connections, limit // 2)
    return min(limit - reserve, MAX_CONNECTIONS)
