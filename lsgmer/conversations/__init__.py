"""Calls and other conversations: their turns, an emotion for each, and a summary."""
