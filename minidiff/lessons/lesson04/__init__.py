"""Lesson 04: its exercises and their solutions, its widgets, its claims."""
