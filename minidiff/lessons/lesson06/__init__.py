"""Lesson 06: its exercises and their solutions, its widgets, its claims."""
