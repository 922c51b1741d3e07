"""Image-text models (CLIP, SigLIP): poisoned pairs are found, a poisoned model is cleaned, and the removal is
proven.
"""
