"""Commands on projects: `init`, `project`."""
