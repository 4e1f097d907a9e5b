"""jobd: a self-hosted server for container jobs."""

__version__ = "0.1.0"
