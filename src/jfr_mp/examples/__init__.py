"""Example workflows, and the driver of ``scripts/quickstart``."""
