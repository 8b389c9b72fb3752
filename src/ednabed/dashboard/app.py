"""The script that Streamlit runs anew at every act of a person."""

from ednabed.dashboard.shell import show

show()
