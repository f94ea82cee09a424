"""Figures of jobs and of flows over time: `report`, `job report`, `flow report`."""
