"""A visit to `examples/streamlit_app.py` by a headless Chromium, as a person would make it.

Runs in the environment of the peer `apps`: URL, the browser's path, and a file for a picture of the page.
"""

import sys

from playwright.sync_api import sync_playwright

url, browser_path, picture = sys.argv[1:]
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
    page = browser.new_page()
    page.goto(url)
    question = page.get_by_label("Question")
    question.fill("What is a span?")
    page.get_by_role("button", name="Ask").click()
    page.get_by_text("A span is one piece of work").wait_for()
    page.screenshot(path=picture)
    thumb = page.get_by_test_id("stFeedback").get_by_role("radio").first
    thumb.click(force=True)
    page.get_by_test_id("stFeedback").get_by_role("radio", checked=True).wait_for(state="attached")
    question.fill("What is love?")
    page.get_by_role("button", name="Ask").click()
    page.get_by_text("nothing is known of").first.wait_for()
    browser.close()
