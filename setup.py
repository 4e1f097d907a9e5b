"""Packaging. `jobd` stands at the top, the executors that ship with it under `plugins/`; both install flat."""

from setuptools import find_packages, setup

setup(
    packages=find_packages(include=["jobd", "jobd.*"]) + find_packages("plugins"),
    package_dir={"jobd": "jobd", "": "plugins"},
)
