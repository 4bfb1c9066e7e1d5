"""Lesson 16: its exercises and their solutions, its widgets, its claims."""
