"""Sources by name on a hub: what is there, which of it is fetched, within which limits."""
