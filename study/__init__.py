"""The drift study: what each detector finds in which condition, as a table, figures and an answer."""
