"""A Gradio application that knows nothing of OpenTelemetry: a chat, and a look at the colours of a picture.

    otel-wandb run -- python examples/gradio_app.py

Each event is a trace with what went in and what came out. Thumbs under an answer, and the flags of the second
tab, become feedback on the call that they mean.
"""

import os
import tempfile

import gradio as gr
import numpy as np

ANSWERS = {
    "span": "A span is one piece of work, with a beginning and an end.",
    "trace": "A trace is all the spans of one request.",
    "metric": "A metric is a number that is taken again and again.",
}


def answer(message: str, history: list[dict[str, object]]):
    """Words as they come, as a model would stream them."""
    found = next((text for word, text in ANSWERS.items() if word in message.lower()), "")
    if not found:
        raise gr.Error(f"I know nothing of {message!r}.")
    said = ""
    for word in found.split():
        said += f"{word} "
        yield said.strip()


def rate(data: gr.LikeData) -> None:
    """Thumbs need a function, even if it does nothing: the instrumentation has seen them."""


def weigh_colours(picture: np.ndarray, darker: float) -> tuple[np.ndarray, dict[str, float]]:
    """The picture in a darker shade, and how much of each colour is in it."""
    shares = picture.reshape(-1, 3).mean(axis=0) / 255
    shade = (picture * (1 - darker)).astype(np.uint8)
    return shade, dict(zip(("red", "green", "blue"), shares.round(3).tolist(), strict=True))


with gr.Blocks(title="otel-wandb") as demo:
    with gr.Tab("Chat"):
        chat = gr.Chatbot(label="chat")
        gr.ChatInterface(answer, chatbot=chat, api_name="chat")
        chat.like(rate, None, None, api_name="rate")
    with gr.Tab("Picture"):
        gr.Interface(
            weigh_colours,
            [gr.Image(label="picture"), gr.Slider(0, 1, value=0.5, label="darker")],
            [gr.Image(label="shade"), gr.JSON(label="shares")],
            api_name="weigh_colours",
            flagging_mode="manual",
            flagging_options=["wrong", "ugly"],
            flagging_dir=tempfile.mkdtemp(prefix="flags-"),
        )

if __name__ == "__main__":
    demo.launch(server_name="127.0.0.1", server_port=int(os.environ.get("GRADIO_SERVER_PORT", "7860")))
