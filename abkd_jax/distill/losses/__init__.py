"""Losses of the logits and of the last hidden layers."""
