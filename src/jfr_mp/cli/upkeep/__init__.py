"""Commands on the queue as a whole: `admin`, `backup`, `db`."""
