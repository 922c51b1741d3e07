"""The files of a tokenizer, against CLIP's own: its vocabulary and merges, what happens to a text around
them, its settings.
"""
