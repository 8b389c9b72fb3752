"""The pages, one module each, organised by the questions of a biologist."""
