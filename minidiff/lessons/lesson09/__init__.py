"""Lesson 09: its exercises and their solutions, its widgets, its claims."""
