"""Runs execs as containers of a remote Docker, reached over SSH."""
