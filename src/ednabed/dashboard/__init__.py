"""A local web page for people who do not use a terminal. It holds no science: all comes from what is to its left."""
