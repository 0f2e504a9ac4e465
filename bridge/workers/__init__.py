"""Legs in processes of their own: the daemon's side, the worker's, and what each asks of the other."""
