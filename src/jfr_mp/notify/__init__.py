"""Notifications: what happens is noticed by the rules of the project, grouped into messages, and delivered.

```text
 Watcher --notices--> Outbox (database) --messages--> deliver: one process per target that has something due
```

A thread of each master runs the first part; a lease lets one master of the deployment do it at a time. Only the
processes that deliver import apprise, and a server that hangs delays only its own messages.
"""
