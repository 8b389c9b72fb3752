"""Work that joins the other packages, for the Python API, the command line and the dashboard alike."""
