"""What a string does to a model: its first step, its displacement, its disarmed form, where it acts.

Scan, clean, verify and evidence ask these questions alike.
"""
