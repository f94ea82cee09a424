"""Commands on the processes that move jobs: `start`, `stop`, `status`, `logs` and their relatives."""
