"""Lesson 03: its exercises and their solutions, its widgets, its claims."""
