"""Lesson 00: its exercises and their solutions, its widgets, its claims."""
