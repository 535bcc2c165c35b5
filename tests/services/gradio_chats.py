"""Chats of Gradio, used as its page does: answers are liked, asked for again, taken back, edited, cleared.

Prints, as JSON, which event each like is about. Runs in an environment with Gradio 5 or 6; pairs of messages
are for 5 alone.
"""

import json
import sys

from otel_wandb.instrument.gradio import GradioInstrumentor
from tests.services.gradio_cases import Browser, Gate, make_chat, set_up, settle, wait_for_spans

CALLS: list[str] = []


def answer(message, history):
    """Word by word; asked for `again`, other words each time."""
    CALLS.append(message)
    said = f"{message}?" if message != "again" else f"again {len(CALLS)}"
    yield said[:2]
    yield said


def make_interface():
    import gradio as gr

    chat = make_chat(label="chat")
    return gr.ChatInterface(
        answer, chatbot=chat, editable=True, flagging_mode="manual", flagging_dir=sys.argv[1]
    )


def make_blocks(pairs):
    """Two chats of messages, or one of pairs: each answers in two steps, and one function takes the likes."""
    import gradio as gr

    def ask(message, history):
        return "", [*history, [message, None] if pairs else {"role": "user", "content": message}]

    def reply(history):
        said = history[-1][0] if pairs else history[-1]["content"]
        said = said if isinstance(said, str) else said[0]["text"]
        for words in (said[:1], f"{said}!"):
            if pairs:
                yield [*history[:-1], [said, words]]
            else:
                yield [*history, {"role": "assistant", "content": words}]

    def shorten(history):
        return history[1:]

    def rate(data: gr.LikeData):
        return None

    hello = {"role": "assistant", "content": "welcome"}
    with gr.Blocks() as demo:
        if pairs:
            chats = [gr.Chatbot(type="tuples", label="chat")]
        else:
            chats = [make_chat(value=[hello], label=label) for label in ("chat", "other")]
        for chat in chats:
            box = gr.Textbox(label=f"message to {chat.label}")
            box.submit(ask, [box, chat], [box, chat], queue=False).then(reply, chat, chat)
            gr.Button(f"shorten {chat.label}").click(shorten, chat, chat)
        gr.on([chat.like for chat in chats], rate, None, None)
    return demo


class Page(Browser):
    """Holds what each component shows, and follows what one event sets off after another."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.ids = {
            c["props"].get("label") or c["props"].get("value"): c["id"] for c in self.config["components"]
        }
        self.shown = {c["id"]: c["props"].get("value") for c in self.config["components"]}
        self.asked = 0
        self.textbox = next(c["id"] for c in self.config["components"] if c["type"] == "textbox")

    def act(self, component: int, event: str, data: object = None) -> None:
        """The user does that with the component."""
        for fn in self.config["dependencies"]:
            if [component, event] in [list(target) for target in fn["targets"]]:
                self.follow(fn, component, data)

    def follow(self, fn: dict, component: int | None, data: object) -> None:
        if fn["backend_fn"]:
            self.asked += 1
            given = [self.shown.get(place) for place in fn["inputs"]]
            more = {"trigger_id": component, "event_data": data}
            if fn["queue"] is False:
                body = {"data": given, "fn_index": fn["id"], "session_hash": self.session, **more}
                told = (
                    self.http.post(f"{self.url}/gradio_api/run/predict", json=body).raise_for_status().json()
                )
            else:
                self.fire(fn["id"], given, **more)
                told = self.last["output"]
            for place, value in zip(fn["outputs"], told.get("data", []), strict=False):
                is_update = isinstance(value, dict) and value.get("__type__") == "update"
                if not is_update:
                    self.shown[place] = value
                elif "value" in value:
                    self.shown[place] = value["value"]
        for later in self.config["dependencies"]:
            if later["trigger_after"] == fn["id"] and not later["trigger_only_on_failure"]:
                self.follow(later, component, None)

    def say(self, words: str, to: str = "") -> None:
        box = self.ids[f"message to {to}"] if to else self.textbox
        self.shown[box] = words
        self.act(box, "submit")

    def messages(self, chat: str = "chat") -> list:
        return self.shown[self.ids[chat]]

    def edit(self, index: int, words: str) -> None:
        """The page changes the message by itself, and then says so."""
        message = self.messages()[index]
        data = {"index": index, "value": words, "previous_value": message["content"]}
        message["content"] = (
            words if isinstance(message["content"], str) else [{"type": "text", "text": words}]
        )
        self.act(self.ids["chat"], "edit", data)

    def clear(self) -> None:
        """So does it clear the chat."""
        self.shown[self.ids["chat"]] = []
        self.act(self.ids["chat"], "clear")

    def like(self, index: object, value: object, *, liked: object = True, chat: str = "chat") -> None:
        self.act(self.ids[chat], "like", {"index": index, "value": value, "liked": liked})


def contents(messages: list) -> list[str]:
    """What each of them says, in the form of either version."""
    said = [message["content"] for message in messages]
    return [content if isinstance(content, str) else content[0]["text"] for content in said]


def use_interface(page: Page, gate: Gate) -> dict[str, object]:
    """What the chat shows after each thing that a user does, with likes in between."""
    chat, shows = page.ids["chat"], {}
    page.say("again")
    page.say("more")
    page.like(1, ["again 1"], liked="the first")
    page.like(3, ["more?"], liked="the second")
    page.act(chat, "undo", {"index": 2, "value": "more"})
    shows["undo"] = contents(page.messages())
    page.say("again")
    page.like(3, ["again 3"], liked="after undo")
    page.act(chat, "retry", {"index": 2, "value": "again"})
    shows["retry"] = contents(page.messages())
    page.like(3, ["again 4"], liked="after retry")
    page.like(3, ["again 3"], liked="what was there before the retry")
    wait_for_spans(page.asked)
    gate.shut()
    page.like(3, ["again 4"], liked="before the next retry")
    page.act(chat, "retry", {"index": 2, "value": "again"})
    gate.opened.set()
    page.edit(0, "even")
    shows["edit"] = contents(page.messages())
    page.like(1, ["even?"], liked="after edit")
    page.clear()
    page.say("even")
    shows["clear"] = contents(page.messages())
    page.like(1, ["even?"], liked="after clear")
    return shows


def use_messages(page: Page, gate: Gate) -> dict[str, object]:
    """Two chats in one session; the page has not been told of a message that the application began with."""
    page.like(0, ["welcome"], liked="the greeting")
    page.say("a", "chat")
    page.say("b", "other")
    page.say("c", "chat")
    page.like(0, ["welcome"], liked="the greeting, later")
    page.like(2, ["a!"], liked="a")
    page.like(2, ["b!"], liked="b", chat="other")
    page.act(page.ids["shorten chat"], "click")
    page.like(3, ["c!"], liked="c, moved up")
    page.like(1, ["a"], liked="what was said")
    return {"chat": contents(page.messages()), "other": contents(page.messages("other"))}


def use_pairs(page: Page, gate: Gate) -> dict[str, object]:
    page.say("a", "chat")
    page.say("b", "chat")
    page.like([0, 1], "a!", liked="a")
    page.like([1, 1], "b!", liked="b")
    page.act(page.ids["shorten chat"], "click")
    page.like([0, 1], "b!", liked="b, moved up")
    return {"chat": page.messages()}


def triggers(told: dict) -> list[str]:
    """What set events off, without those that only follow on others."""
    found = {str(span["attributes"].get("gradio.trigger", "")) for span in told["spans"]}
    return sorted(trigger for trigger in found if trigger.startswith("chatbot."))


def tell(told: dict) -> dict[str, str]:
    """Which event each like is about: its function, and how many times that had been called."""
    names: dict[int, str] = {}
    for span in told["spans"]:
        name = span["name"].removeprefix("gradio ")
        names[span["id"]] = f"{name} {sum(known.split()[0] == name for known in names.values()) + 1}"
    return {
        log["attributes"]["gen_ai.evaluation.score.label"]: names.get(log["span"], "nothing")
        for log in told["logs"]
    }


USES = {"interface": use_interface, "messages": use_messages, "pairs": use_pairs}


def main() -> None:
    kind = sys.argv[2]
    set_up()
    GradioInstrumentor().instrument()
    app = make_interface() if kind == "interface" else make_blocks(kind == "pairs")
    _, url, _ = app.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    page = Page(url.rstrip("/"))
    shows = USES[kind](page, Gate(app._queue))
    told = settle(page.asked)
    print("TOLD" + json.dumps({"shows": shows, "likes": tell(told), "triggers": triggers(told)}))
    sys.stdout.flush()
    app.close()


if __name__ == "__main__":
    main()
