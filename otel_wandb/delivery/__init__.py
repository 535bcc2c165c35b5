"""The only room that talks to W&B: what the store holds goes out from here, once, until it was taken.

`credentials` finds the server and the key, `weave_http` is the client, `lanes` decides for one project what
may be sent when, `courier` sends it and writes the outcome to the store, `weave` runs them all.
"""
