"""Lesson 15: its exercises and their solutions, its widgets, its claims."""
