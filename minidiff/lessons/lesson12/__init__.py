"""Lesson 12: its exercises and their solutions, its widgets, its claims."""
