"""What losses and alignments are made of."""
