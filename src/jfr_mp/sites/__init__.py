"""Sites: a worker's configuration together with its host, scheduler, journal and circuit breaker.

Each process has one `site.WorkerSite` per worker. Code that has a site never looks up the worker by name again.
"""
