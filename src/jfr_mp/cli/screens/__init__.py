"""Commands that show the queue live: `top`, `gui`."""
