"""Lesson 10: its exercises and their solutions, its widgets, its claims."""
