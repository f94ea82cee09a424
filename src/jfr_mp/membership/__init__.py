"""Membership: the processes that work on one queue database know each other and clean up after dead ones.

Each master, each role process and each runner without a master is a `Member`::

    enter --> beat, beat, beat ... --> leave
                 |
                 +-- no beat for `lease_ttl`: another member evicts it, which frees its locks and leases

A member that was evicted but is alive, because its machine slept for example, finds out with its next beat and
registers again. What it held before is lost: `Member.holds_since` says so, and every write to the database is fenced.

`records` builds and reads the records of members, `registry` writes them, `rescuer` decides who has died, `peer` keeps
jfr-mp and jobflow-remote's daemon from working on one database at the same time. The queries are in `jfr_mp.database`.
"""
