"""Lesson 17: its exercises and their solutions, its widgets, its claims."""
