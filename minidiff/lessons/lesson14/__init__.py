"""Lesson 14: its exercises and their solutions, its widgets, its claims."""
