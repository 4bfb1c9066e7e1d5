"""Lesson 07: its exercises and their solutions, its widgets, its claims."""
