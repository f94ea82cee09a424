"""``python -m jfr_mp.supervisor``: the process of a master."""

from jfr_mp.supervisor.program import main

if __name__ == "__main__":
    raise SystemExit(main())
