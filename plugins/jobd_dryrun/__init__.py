"""Runs nothing, and prints what it would have run. A good executor to copy when you write your own."""
