"""A graph of ogbn-mag's schema and of any size, drawn at random."""
