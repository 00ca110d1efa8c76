"""One module per table: its methods, its command, its time and the expected results."""
