"""Execs that wait: due slots that make them, who is next, and every transition until they have ended."""
