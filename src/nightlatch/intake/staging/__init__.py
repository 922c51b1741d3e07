"""From a checked source to a loaded one: the private copy, its lease, and the guarded child process that
reads it.
"""
