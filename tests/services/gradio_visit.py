"""A visit to `examples/gradio_app.py` by Gradio's own client, and as a browser does it.

Runs in the environment of the peer `apps`; prints what came back as JSON.
"""

import json
import sys

import httpx
from gradio_client import Client, handle_file

url, picture = sys.argv[1:]
client = Client(url, verbose=False)
said = client.predict("What is a span?", api_name="/chat")
try:
    client.predict("What is love?", api_name="/chat")
    raise SystemExit("it knows")
except Exception as error:  # noqa: BLE001  of whatever class the client makes it
    refused = str(error)
_, shares = client.predict(handle_file(picture), 0.5, api_name="/weigh_colours")

browser = httpx.Client(base_url=url, timeout=60, trust_env=False)
dependencies = browser.get("/config").json()["dependencies"]
functions = {fn["api_name"]: fn for fn in dependencies}
session = client.session_hash


def fire(fn: dict, data: list, **more: object) -> None:
    body = {
        "data": data,
        "fn_index": fn["id"],
        "session_hash": session,
        "trigger_id": fn["targets"][0][0],
        **more,
    }
    browser.post("/gradio_api/queue/join", json=body | more).raise_for_status()
    with browser.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as lines:
        for line in lines.iter_lines():
            if '"close_stream"' in line:
                return


fire(functions["_clear_and_save_textbox"], ["Tell me of a trace"])  # as the page does it
fire(functions["_append_message_to_history"], [None, []])
fire(functions["_submit_fn"], [None, None])
fire(functions["rate"], [], event_data={"index": 1, "value": "A trace is", "liked": True})
flag = {"data": [None, 0.5, None, shares], "fn_index": functions["Flag"]["id"], "session_hash": session}
browser.post("/gradio_api/run/predict", json=flag).raise_for_status()
print(json.dumps({"said": said, "refused": refused, "shares": shares, "session": session}))
