"""Lesson 05: its exercises and their solutions, its widgets, its claims."""
