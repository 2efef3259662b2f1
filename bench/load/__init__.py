"""Senders of one request, each a process of its own, and their times."""
