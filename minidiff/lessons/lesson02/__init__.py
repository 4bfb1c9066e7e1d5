"""Lesson 02: its exercises and their solutions, its widgets, its claims."""
