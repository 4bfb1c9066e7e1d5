"""Lesson 01: its exercises and their solutions, its widgets, its claims."""
