"""The pages, one module each, ordered by a biologist's questions."""
