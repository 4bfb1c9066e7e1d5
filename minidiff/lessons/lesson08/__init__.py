"""Lesson 08: its exercises and their solutions, its widgets, its claims."""
