"""Commands on flows: `submit` and `flow`."""
