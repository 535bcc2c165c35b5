"""OTLP load generator: pre-encoded RAG traces (or histogram metrics) over gRPC or HTTP.

Needs grpcio and opentelemetry-proto, otherwise only the standard library.  Everything is encoded before the
clock starts.  While running, each request gets fresh trace, span and response ids by replacing a 4-byte
marker in the encoded bytes, so the receiver never sees the same id twice (except with --compression, where the pool of
encoded requests repeats).

    python -m tests.peers.otlp.otlp_load --protocol grpc --target 127.0.0.1:4317 --seconds 10
    python -m tests.peers.otlp.otlp_load --protocol http --target 127.0.0.1:4318 --connections 4
    python -m tests.peers.otlp.otlp_load --protocol http-json --target 127.0.0.1:4318 --rate 5000

Prints one JSON object.  Loopback targets only.
"""

from __future__ import annotations

import argparse
import array
import gzip
import itertools
import json
import multiprocessing as mp
import random
import re
import socket
import struct
import sys
import threading
import time
import zlib

from tests.peers.otlp.payloads import encode_pool, freshen

PATHS = {"traces": "/v1/traces", "metrics": "/v1/metrics"}
METHODS = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
}


class Stats:
    __slots__ = ("lat", "ok", "items", "bytes", "errors", "rejected", "retry_hints")

    def __init__(self):
        self.lat = array.array("d")
        self.ok = self.items = self.bytes = self.rejected = self.retry_hints = 0
        self.errors: dict[str, int] = {}

    def err(self, what: str):
        self.errors[what] = self.errors.get(what, 0) + 1


def _rejected(signal: str, body: bytes, is_json: bool) -> int:
    if not body or body in (b"{}", b'{"partialSuccess":{}}'):
        return 0
    if is_json:
        ps = json.loads(body).get("partialSuccess") or {}
        return int(ps.get("rejectedSpans") or ps.get("rejectedDataPoints") or 0)
    if signal == "traces":
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse as R

        return R.FromString(body).partial_success.rejected_spans
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse as R

    return R.FromString(body).partial_success.rejected_data_points


class HttpConn:
    """A keep-alive HTTP/1.1 connection that costs little per request."""

    def __init__(self, host, port, timeout):
        self.addr, self.timeout, self.sock, self.buf = (host, port), timeout, None, b""

    def open(self):
        self.close()
        self.sock = socket.create_connection(self.addr, timeout=self.timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = b""

    def close(self):
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def _more(self):
        d = self.sock.recv(65536)
        if not d:
            raise ConnectionError("closed by peer")
        self.buf += d

    def request(self, head: bytes, body: bytes):
        if self.sock is None:
            self.open()
        sent = self.sock.sendmsg([head, body])
        total = len(head) + len(body)
        if sent < total:
            if sent < len(head):
                self.sock.sendall(head[sent:])
                sent = len(head)
            self.sock.sendall(memoryview(body)[sent - len(head) :])
        while (end := self.buf.find(b"\r\n\r\n")) < 0:
            self._more()
        hdr, self.buf = self.buf[:end], self.buf[end + 4 :]
        status = int(hdr[9:12])
        low = hdr.lower()
        if m := re.search(rb"\r\ncontent-length:\s*(\d+)", low):
            n = int(m.group(1))
            while len(self.buf) < n:
                self._more()
            out, self.buf = self.buf[:n], self.buf[n:]
        elif b"\r\ntransfer-encoding:" in low and b"chunked" in low:
            out = b""
            while True:
                while (e := self.buf.find(b"\r\n")) < 0:
                    self._more()
                n = int(self.buf[:e].split(b";")[0], 16)
                while len(self.buf) < e + 2 + n + 2:
                    self._more()
                out += self.buf[e + 2 : e + 2 + n]
                self.buf = self.buf[e + 4 + n :]
                if n == 0:
                    break
        else:
            out = b""
        if b"\r\nconnection: close" in low:
            self.close()
        return status, out, b"\r\nretry-after:" in low


def worker(idx, a, pool, items, counter, deadline, pace, st: Stats):
    is_json = a.protocol == "http-json"
    patch = a.signal == "traces" and a.compression == "none"
    host, port = a.target.rsplit(":", 1)
    n = len(pool)
    if a.protocol == "grpc":
        import grpc

        comp = grpc.Compression.Gzip if a.compression == "gzip" else grpc.Compression.NoCompression
        chan = grpc.insecure_channel(
            a.target,
            compression=comp,
            options=[
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_receive_message_length", -1),
            ],
        )
        call = chan.unary_unary(METHODS[a.signal])
        grpc.channel_ready_future(chan).result(timeout=a.timeout)
    else:
        ctype = "application/json" if is_json else "application/x-protobuf"
        base = (
            f"POST {a.path or PATHS[a.signal]} HTTP/1.1\r\nHost: {a.target}\r\n"
            f"Content-Type: {ctype}\r\nUser-Agent: otlp-load/1\r\n"
        )
        if a.compression != "none":
            base += f"Content-Encoding: {a.compression}\r\n"
        conn = HttpConn(host, int(port), a.timeout)

    i = idx
    while time.perf_counter() < deadline:
        if pace is not None:
            pace()
            if time.perf_counter() >= deadline:
                break
        body = pool[i % n]
        i += 1
        if patch:
            body = freshen(body, next(counter))
        t = time.perf_counter()
        try:
            if a.protocol == "grpc":
                out, status = call(body, timeout=a.timeout), 200
            else:
                out = None
                status, out, hint = conn.request(
                    base.encode() + b"Content-Length: %d\r\n\r\n" % len(body), body
                )
                st.retry_hints += hint
        except Exception as ex:  # noqa: BLE001
            if a.protocol == "grpc":
                code = getattr(ex, "code", None)
                st.err(f"grpc:{code().name}" if callable(code) else type(ex).__name__)
            else:
                st.err(type(ex).__name__)
                conn.close()
            if len(st.errors) and st.ok == 0:
                time.sleep(0.01)
            continue
        st.lat.append(time.perf_counter() - t)
        if status != 200:
            st.err(f"http:{status}")
            continue
        st.ok += 1
        st.items += items
        st.bytes += len(body)
        if out:
            st.rejected += _rejected(a.signal, out, is_json)


def child(a, proc, conn):
    pool, items = encode_pool(a)
    if a.compression == "gzip" and a.protocol != "grpc":
        pool = [gzip.compress(b, 1) for b in pool]
    elif a.compression == "deflate":
        pool = [zlib.compress(b, 1) for b in pool]
    conn.send(("ready", len(pool[0]), items))
    start_at = conn.recv()
    share = [c for c in range(a.connections * a.inflight) if c % a.procs == proc]
    counter = itertools.count(proc << 26 | random.getrandbits(20))
    pace = None
    if a.rate:
        every = items * a.procs / a.rate
        lock, nxt = threading.Lock(), [time.perf_counter() + max(0.0, start_at - time.time())]

        def pace():
            with lock:
                mine = nxt[0]
                nxt[0] += every
            if (d := mine - time.perf_counter()) > 0:
                time.sleep(d)

    time.sleep(max(0.0, start_at - time.time()))
    t0 = time.perf_counter()
    stats = [Stats() for _ in share]
    ths = [
        threading.Thread(target=worker, args=(c, a, pool, items, counter, t0 + a.seconds, pace, s))
        for c, s in zip(share, stats, strict=True)
    ]
    c0 = time.process_time()
    for t in ths:
        t.start()
    for t in ths:
        t.join()
    wall = time.perf_counter() - t0
    lat = array.array("d")
    errors: dict[str, int] = {}
    for s in stats:
        lat.extend(s.lat)
        for k, v in s.errors.items():
            errors[k] = errors.get(k, 0) + v
    conn.send(
        {
            "wall": wall,
            "cpu": time.process_time() - c0,
            "lat": lat.tobytes(),
            "ok": sum(s.ok for s in stats),
            "items": sum(s.items for s in stats),
            "bytes": sum(s.bytes for s in stats),
            "errors": errors,
            "rejected": sum(s.rejected for s in stats),
            "retry_hints": sum(s.retry_hints for s in stats),
        }
    )


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--target", default="127.0.0.1:4317", help="host:port, loopback")
    p.add_argument("--protocol", choices=("grpc", "http", "http-json"), default="grpc")
    p.add_argument("--signal", choices=("traces", "metrics"), default="traces")
    p.add_argument("--path", help="HTTP path, default /v1/traces or /v1/metrics")
    p.add_argument("--seconds", type=float, default=10)
    p.add_argument("--connections", type=int, default=2)
    p.add_argument("--inflight", type=int, default=1, help="requests in flight per connection (gRPC)")
    p.add_argument("--procs", type=int, default=1, help="client processes")
    p.add_argument(
        "--batch-traces",
        type=int,
        default=64,
        help="traces (4 spans each), or points of each histogram kind, in a request",
    )
    p.add_argument("--text-bytes", type=int, default=2048, help="message and document text per trace")
    p.add_argument("--pool", type=int, default=8, help="different encoded requests per process")
    p.add_argument("--compression", choices=("none", "gzip", "deflate"), default="none")
    p.add_argument(
        "--rate", type=float, default=0, help="offered items/s over all connections, 0 = as fast as it goes"
    )
    p.add_argument("--timeout", type=float, default=30)
    a = p.parse_args(argv)
    if a.target.rsplit(":", 1)[0].strip("[]") not in ("127.0.0.1", "localhost", "::1"):
        p.error("loopback targets only")
    if a.protocol == "grpc" and a.compression == "deflate":
        p.error("gRPC: none or gzip")
    if a.protocol != "grpc" and a.inflight != 1:
        p.error("--inflight is for gRPC; use --connections")
    a.procs = min(a.procs, a.connections * a.inflight)
    ctx = mp.get_context("spawn")
    kids = []
    for i in range(a.procs):
        mine, theirs = ctx.Pipe()
        k = ctx.Process(target=child, args=(a, i, theirs))
        k.start()
        theirs.close()
        kids.append((k, mine))
    ready = [c.recv() for _, c in kids]
    at = time.time() + 0.2
    for _, c in kids:
        c.send(at)
    res = [c.recv() for _, c in kids]
    for k, _ in kids:
        k.join()
    lat = array.array("d")
    for r in res:
        lat.frombytes(r["lat"])
    lat = sorted(lat)
    wall = max(r["wall"] for r in res)

    def q(f):
        return round(lat[min(len(lat) - 1, int(f * len(lat)))] * 1000, 3) if lat else None

    errors: dict[str, int] = {}
    for r in res:
        for k, v in r["errors"].items():
            errors[k] = errors.get(k, 0) + v
    items, ok = sum(r["items"] for r in res), sum(r["ok"] for r in res)
    unit = "spans" if a.signal == "traces" else "points"
    print(
        json.dumps(
            {
                "target": a.target,
                "protocol": a.protocol,
                "signal": a.signal,
                "connections": a.connections,
                "inflight": a.inflight,
                "procs": a.procs,
                "compression": a.compression,
                "offered_per_s": a.rate or None,
                f"{unit}_per_request": ready[0][2],
                "request_bytes": ready[0][1],
                "seconds": round(wall, 3),
                "requests_ok": ok,
                unit: items,
                f"{unit}_per_s": round(items / wall),
                "requests_per_s": round(ok / wall, 1),
                "mb_per_s": round(sum(r["bytes"] for r in res) / wall / 1e6, 1),
                "errors": errors,
                "error_total": sum(errors.values()),
                "rejected": sum(r["rejected"] for r in res),
                "retry_after_seen": sum(r["retry_hints"] for r in res),
                "latency_ms": {
                    "p50": q(0.5),
                    "p90": q(0.9),
                    "p95": q(0.95),
                    "p99": q(0.99),
                    "p999": q(0.999),
                    "max": round(lat[-1] * 1000, 3) if lat else None,
                },
                "client_cpu_cores": round(sum(r["cpu"] for r in res) / wall, 2),
            }
        )
    )
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
