"""The JSON of a pipeline and of its components, against the classes that read it and the weights it
describes.
"""
