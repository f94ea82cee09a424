"""The Python interface of jobflow-remote, implemented on top of the engine."""
