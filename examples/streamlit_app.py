"""A Streamlit application that knows nothing of OpenTelemetry: questions, answers, and thumbs for them.

    otel-wandb run -- streamlit run examples/streamlit_app.py

Each run of the script is a trace, and the session of a browser is its thread. What was typed and what was
pressed stand in the call, and the thumbs are feedback on the answer.
"""

import streamlit as st

ANSWERS = {
    "span": "A span is one piece of work, with a beginning and an end.",
    "trace": "A trace is all the spans of one request.",
    "metric": "A metric is a number that is taken again and again.",
}

st.title("Words of telemetry")

with st.form("ask"):
    question = st.text_input("Question")
    politeness = st.slider("Politeness", 0, 10, 5)
    asked = st.form_submit_button("Ask")

if asked:
    word = next((word for word in ANSWERS if word in question.lower()), None)
    if word is None:
        raise LookupError(f"nothing is known of {question!r}")
    st.session_state.answer = ("Dear reader, " if politeness > 5 else "") + ANSWERS[word]

if "answer" in st.session_state:
    st.write(st.session_state.answer)
    st.feedback("thumbs", key="helpful")

if st.button("Forget"):
    del st.session_state.answer
    st.rerun()
