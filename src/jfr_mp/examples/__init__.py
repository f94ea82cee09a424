"""Workflows to try jfr-mp with, and the driver of ``scripts/quickstart``."""
