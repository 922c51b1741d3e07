"""Image classifiers: guard their inputs, scan and repair them, and train past poisoned data."""
