"""Following the output of runs: however many follow one, the executor is read once."""
