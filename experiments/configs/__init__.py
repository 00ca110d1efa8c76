"""One module a table: what it shows, what it takes, what to expect."""
