"""Files that change a model instead of being one: LoRA and its kin, and what their trainers write beside the
weights.
"""
