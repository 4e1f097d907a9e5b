"""Runs nothing. It says what it would have run, and is the executor to copy when you write your own."""
