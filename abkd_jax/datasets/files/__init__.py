"""Files: fetched, read and written, each whole or not at all."""
