"""A notebook as a step of a run: executed, stamped, its parameters kept, exported as a page."""
