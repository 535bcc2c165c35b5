"""A Streamlit script driven by Streamlit's own `AppTest`; what each run tells is printed as JSON.

Runs in the environment of the peer `apps`.
"""

import json
import sys
from pathlib import Path

from otel_wandb.instrument.streamlit import StreamlitInstrumentor
from tests.services.gradio_cases import set_up, show


def main() -> None:
    set_up()
    instrumentor = StreamlitInstrumentor()
    instrumentor.instrument()
    assert "streamlit" not in sys.modules
    from streamlit.testing.v1 import AppTest

    told: dict[str, object] = {}
    app = AppTest.from_file("streamlit_script.py", default_timeout=60)

    def note(name: str) -> None:
        told[name] = ([str(m.value) for m in app.markdown], show())

    app.run()
    note("start")
    app.text_input[0].set_value("ann")
    app.text_input[1].set_value("hunter2")
    app.button[0].click().run()
    note("button")
    app.slider[0].set_value(7).run()
    note("slider")
    app.text_input[2].set_value("tea")
    next(b for b in app.button if b.label == "Order").click().run()
    note("form")
    app.chat_input[0].set_value("hi there").run()
    note("chat")
    app.button(key="fail_key").click().run()
    note("fail")
    app.run()
    show()
    next(b for b in app.button if b.label == "Stop").click().run()
    note("stop")
    app.run()
    show()
    next(b for b in app.button if b.label == "Again").click().run()
    note("again")
    next(b for b in app.button if b.label == "Part").click().run()
    note("part")
    app.feedback[0].set_value(3).run()
    note("feedback")
    instrumentor.instrument()  # a second time: it warns, and changes nothing
    app.run()
    note("twice")
    instrumentor.uninstrument()
    app.run()
    note("off")
    instrumentor.instrument(capture_content=False)
    app.text_input[0].set_value("bob").run()
    note("quiet")
    broken = Path(sys.argv[1]) / "broken.py"
    broken.write_text("import streamlit as st\nst.write('a'\n")
    AppTest.from_file(broken).run()
    note("broken")
    print("TOLD" + json.dumps(told))


if __name__ == "__main__":
    main()
