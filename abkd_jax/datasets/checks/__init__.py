"""Checks that every data set passes before anything is computed from it."""
