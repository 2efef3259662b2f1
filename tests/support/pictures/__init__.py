"""Pictures of digits as people make them, of blank sheets, and of what is no digit."""
