"""Following the output of runs: however many followers a run has, its executor is read once."""
