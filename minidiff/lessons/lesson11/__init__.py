"""Lesson 11: its exercises and their solutions, its widgets, its claims."""
