"""The configuration: jobd.ini and the environment, read into `Settings` and checked as a whole."""

from jobd.config.loader import load, read_password
from jobd.config.settings import Listen, MountSettings, RegionSettings, Registry, Settings, Size

__all__ = ["Listen", "MountSettings", "RegionSettings", "Registry", "Settings", "Size", "load", "read_password"]
