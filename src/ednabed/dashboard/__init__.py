"""A local web page for people who do not use a terminal. It contains no science: the packages that it imports do."""
