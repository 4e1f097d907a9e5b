"""The queue: due slots that create execs, which exec is next, and every transition until it has ended."""
