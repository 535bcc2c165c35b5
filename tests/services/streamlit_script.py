"""What `streamlit_cases` runs: a script with widgets of every kind that matters."""

import streamlit as st
from opentelemetry import trace

tracer = trace.get_tracer("app")
with tracer.start_as_current_span("work"):
    st.title("Cases")


def shout() -> None:
    with tracer.start_as_current_span("callback"):
        st.session_state.loud = True


name = st.text_input("Name")
secret = st.text_input("Secret", type="password")
size = st.slider("Size", 0, 10, 3)
if st.button("Greet", on_click=shout):
    st.write(f"hello {name}")
with st.form("order"):
    what = st.text_input("What")
    if st.form_submit_button("Order"):
        st.write(f"ordered {what}")
if st.button("Fail", key="fail_key"):
    raise ValueError("no way")
if st.button("Stop"):
    st.stop()
if st.button("Again"):
    st.rerun()
if said := st.chat_input("Say"):
    st.write(said)
st.feedback("stars", key="stars")


@st.fragment
def part() -> None:
    if st.button("Part"):
        raise KeyError("part")


part()
