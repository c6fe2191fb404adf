"""Faults to order: a machine of a lab is made slow, for a while, in a way that is known."""
