"""To be written."""
import streamlit as st


def show() -> None:
    st.title("map")
