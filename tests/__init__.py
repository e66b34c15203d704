"""Promises, in the words of those who use medmm."""
