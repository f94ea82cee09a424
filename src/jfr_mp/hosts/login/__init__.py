"""Logins that need a person, shared by all processes of a machine."""
