"""Everything that knows BentoML: its model store, its service class, the recipe of its image, its workers."""
