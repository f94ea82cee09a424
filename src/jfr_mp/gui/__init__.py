"""The web page of a project: `jfr-mp gui`.

A server renders the pages, which can be read without scripts. With them, a page is fetched again as soon as something
that it shows has changed: one thread follows the events of a project (`jfr_mp.gui.hub`) and tells all open pages.

Every program on this machine can reach the port. `security` refuses other hosts and floods,
`sessions` and `users` say who is logged in, `actions` lets only operators act, `audit` writes down who did what. All
text of jobs is escaped by the templates.
"""
