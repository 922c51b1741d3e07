"""What a string does to a model: its first denoising step, its displacement, its disarmed form, where it
acts.

Scan, clean, verify and evidence ask these questions alike.
"""
