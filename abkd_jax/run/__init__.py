"""One resumable comparison: from a config to its report."""
