"""The script that Streamlit runs again after every action of the user."""

from ednabed.dashboard.shell import show

show()
