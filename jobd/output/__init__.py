"""What runs print: bounded while it is read, masked, and kept as bytes at rest."""
