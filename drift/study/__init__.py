"""The drift study: what every detector finds in every way that images drift, as tables and pictures."""
