"""Lesson 18: which model?"""
