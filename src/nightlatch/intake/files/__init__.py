"""What lies in a source, read without trust: the inventory, safetensors headers, JSON, weights and their
values.
"""
