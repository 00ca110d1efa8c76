"""Alignment of every teacher layer with every student layer."""
