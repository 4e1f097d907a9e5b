"""Runs execs as containers of a local Docker."""
