"""Commands on jobs and what becomes of them: `job`, `batch`, `events`."""
