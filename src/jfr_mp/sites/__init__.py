"""A worker as the steps see it: its configuration joined to its host, its scheduler, its journal and its health.

`site.WorkerSite` is handed out once for each worker; whoever has one never looks up a worker by its name again.
"""
