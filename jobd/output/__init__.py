"""What runs print: bounded while it is read, masked, and stored as bytes."""
