"""Lesson 13: its exercises and their solutions, its widgets, its claims."""
