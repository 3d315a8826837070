#!/usr/bin/env python3
"""Clients of S3 against each other on one server after another, in alternating rounds, as ratios of
GB/s, requests/s and CPU s/GB.

    cargo build --release --benches --example s3_server
    python3 -m venv venv && venv/bin/pip install s3dlio minio s3torchconnectorclient
    venv/bin/python benches/object_pairs.py LOAD SERVER [--rounds 5] [--seconds 3]

LOAD is the program of `benches/object` (target/release/deps/object-*), SERVER that of
`examples/s3_server.rs`. Servers: `null` answers at once and checks nothing, `memory` checks
signatures and holds what it is given, `tls` is the null server behind TLS. All listen on loopback,
and share the machine's processors with the client.

Loads: GET and PUT of 8 MiB objects with 8 in flight, of 64 KiB objects with 64 in flight; over TLS
8 MiB only. Each client is a process of its own; its clock and CPU time (user and system, all
threads) start after a warm-up. Order of the clients: reversed in every other round.

Clients: raw and sdk (rankio's, two I/O threads; content is copied into the I/O buffer before each
PUT), sockets and hyper (see benches/object), s3dlio (get and put_bytes, a thread for each request in
flight), the same with S3DLIO_UNSIGNED_PAYLOAD=1, minio (threads, http without TLS checks of its own;
parts as large as the object, so that each PUT is one request), torch (the client below
s3torchconnector, threads). All are counted by object.

Figures are medians over the rounds; a ratio is that of one round, least and most beside its median.
"""
import argparse
import datetime
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ACCESS_KEY, SECRET_KEY, BUCKET = "rankiotestkey", "SeCrEt0123456789ThatNobodyMaySee", "bench"
WARM_UP_S = 0.5
LOADS = {"8 MiB, 8 in flight": (8 << 20, 8, 16), "64 KiB, 64 in flight": (64 << 10, 64, 256)}
OWN = ["raw", "sdk", "sockets", "hyper"]
PYTHON = ["s3dlio", "s3dlio-unsigned", "minio", "torch"]


def cpu_s():
    times = os.times()
    return times.user + times.system


class Clock:
    """Warm-up, window, and the line at the end, as benches/object has them."""

    def __init__(self, seconds):
        self.requests, self.running, self.seconds = 0, True, seconds
        self.lock = threading.Lock()

    def count(self, requests):
        with self.lock:
            self.requests += requests

    def watch(self):
        time.sleep(WARM_UP_S)
        requests, cpu, start = self.requests, cpu_s(), time.monotonic()
        time.sleep(self.seconds)
        requests, cpu, seconds = self.requests - requests, cpu_s() - cpu, time.monotonic() - start
        self.running = False
        return {"requests": requests, "seconds": seconds, "cpu_s": cpu}


def lanes(depth, work):
    threads = [threading.Thread(target=work, args=(lane,), daemon=True) for lane in range(depth)]
    for thread in threads:
        thread.start()
    return threads


def one_by_one(clock, depth, objects, move):
    """`depth` threads, each of which calls `move(name)` for every `depth`th object, over and over."""

    def work(lane):
        index = lane
        while clock.running:
            move(f"o{index % objects}")
            index += depth
            clock.count(1)

    return lanes(depth, work)


def run_s3dlio(clock, verb, size, depth, objects, _endpoint):
    import s3dlio

    content = os.urandom(size)

    def get(name):
        assert len(s3dlio.get(f"s3://{BUCKET}/{name}")) == size

    def put(name):
        s3dlio.put_bytes(f"s3://{BUCKET}/{name}", content)

    return one_by_one(clock, depth, objects, {"get": get, "put": put}[verb])


def run_minio(clock, verb, size, depth, objects, endpoint):
    import io

    import minio
    import urllib3

    scheme, host = endpoint.split("://")
    extra = {"ca_certs": os.environ["AWS_CA_BUNDLE"]} if scheme == "https" else {}
    pool = urllib3.PoolManager(maxsize=depth, **extra)
    client = minio.Minio(host, ACCESS_KEY, SECRET_KEY, secure=scheme == "https",
                         region="us-east-1", http_client=pool)
    content = os.urandom(size)
    # Its own choice is 5 MiB, the least that it takes: an object of 8 MiB would be four requests.
    part_bytes = max(size, 5 << 20)

    def get(name):
        answer = client.get_object(BUCKET, name)
        assert len(answer.read()) == size
        answer.release_conn()

    def put(name):
        client.put_object(BUCKET, name, io.BytesIO(content), size, part_size=part_bytes)

    return one_by_one(clock, depth, objects, {"get": get, "put": put}[verb])


def run_torch(clock, verb, size, depth, objects, endpoint):
    from s3torchconnectorclient._mountpoint_s3_client import MountpointS3Client

    client = MountpointS3Client(region="us-east-1", endpoint=endpoint, force_path_style=True,
                                throughput_target_gbps=100.0, part_size=8 << 20)
    content = os.urandom(size)

    def get(name):
        assert sum(len(part) for part in client.get_object(BUCKET, name)) == size

    def put(name):
        stream = client.put_object(BUCKET, name)
        stream.write(content)
        stream.close()

    return one_by_one(clock, depth, objects, {"get": get, "put": put}[verb])


def child(words):
    client, verb, size, depth, objects, seconds, endpoint = words
    clock = Clock(float(seconds))
    run = {"minio": run_minio, "torch": run_torch}.get(client, run_s3dlio)
    run(clock, verb, int(size), int(depth), int(objects), endpoint)
    line = clock.watch()
    print(json.dumps({**line, "bytes": line["requests"] * int(size)}), flush=True)
    # Threads may be inside a request that takes a while.
    os._exit(0)


class Servers:
    """Each started on a free port, ended with the block."""

    def __init__(self, load, server, folder):
        self.load, self.server, self.folder, self.running = load, server, folder, []

    def start(self, kind, size):
        port = free_port()
        if kind == "memory":
            words = [self.server, f"127.0.0.1:{port}"]
        else:
            words = [self.load, "null", "--address", f"127.0.0.1:{port}", "--size", str(size)]
        environment = dict(os.environ)
        url = f"http://127.0.0.1:{port}"
        if kind == "tls":
            key, certificate = self.certificate()
            words += ["--certificate", certificate, "--key", key]
            url = f"https://localhost:{port}"
            environment["AWS_CA_BUNDLE"] = certificate
        environment.update(
            AWS_ENDPOINT_URL=url, AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY,
            AWS_REGION="us-east-1", AWS_ALLOW_HTTP="true")
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        self.running.append(process)
        process.stdout.readline()
        return url, environment, process

    def certificate(self):
        key, certificate = f"{self.folder}/key.pem", f"{self.folder}/certificate.pem"
        if not os.path.exists(key):
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                 "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out",
                 certificate, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext",
                 "basicConstraints=critical,CA:FALSE"], check=True, capture_output=True)
        return key, certificate

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.running:
            process.send_signal(signal.SIGTERM)
            process.wait()


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def signed_urls(url, objects, folder):
    import minio

    scheme, host = url.split("://")
    client = minio.Minio(host, ACCESS_KEY, SECRET_KEY, secure=scheme == "https", region="us-east-1")
    for verb in ("get", "put"):
        method = {"get": client.presigned_get_object, "put": client.presigned_put_object}[verb]
        lines = [method(BUCKET, f"o{index}", expires=datetime.timedelta(hours=4))
                 for index in range(objects)]
        pathlib.Path(folder, f"{verb}.urls").write_text("\n".join(lines) + "\n")


def command(options, client, verb, shape, url, folder):
    size, depth, objects = shape
    if client in OWN:
        return [options.load, "load", "--client", client, "--verb", verb, "--endpoint", url,
                "--size", str(size), "--depth", str(depth), "--objects", str(objects), "--seconds",
                str(options.seconds), "--urls", f"{folder}/{verb}.urls"]
    name = client.removesuffix("-unsigned")
    return [sys.executable, __file__, "--child", name, verb, str(size), str(depth), str(objects),
            str(options.seconds), url]


def measure(options, words, environment):
    ended = subprocess.run(words, env=environment, capture_output=True, text=True,
                           timeout=options.seconds * 5 + 60, check=False)
    if ended.returncode != 0:
        return None, (ended.stderr.strip().splitlines() or ["?"])[-1][:200]
    line = json.loads(ended.stdout.strip().splitlines()[-1])
    if line["requests"] == 0:
        return None, "no request ended within the window"
    return line, None


def rounds(options, clients, verb, shape, url, environment, folder):
    found = {client: {} for client in clients}
    for number in range(options.rounds):
        for client in clients if number % 2 == 0 else reversed(clients):
            own = dict(environment)
            if client == "s3dlio-unsigned":
                own["S3DLIO_UNSIGNED_PAYLOAD"] = "1"
            line, error = measure(options, command(options, client, verb, shape, url, folder), own)
            if error:
                print(f"  {client}: {error}", file=sys.stderr)
                continue
            found[client][number] = line
    return {client: lines for client, lines in found.items() if lines}


def show(title, found):
    base = found.get("raw")
    if not base:
        print(f"{title}: no client raw")
        return
    rate = lambda line: line["bytes"] / line["seconds"] / 1e9
    cost = lambda line: line["cpu_s"] / (line["bytes"] / 1e9)
    spread = lambda values: f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
    print(f"\n{title}\n| Client | GB/s | requests/s | CPU s/GB | rate, raw = 1 | CPU s/GB, raw = 1 | rounds |")
    print("|---|---|---|---|---|---|---|")
    for client, lines in found.items():
        # Of rounds in which both have ended.
        both = [(lines[number], base[number]) for number in lines if number in base]
        rates = [rate(one) / rate(other) for one, other in both]
        costs = [cost(one) / cost(other) for one, other in both]
        if not both:
            print(f"| {client} | - | - | - | - | - | 0 |")
            continue
        mine = lines.values()
        requests = statistics.median(line["requests"] / line["seconds"] for line in mine)
        print(f"| {client} | {spread([rate(line) for line in mine])} | {requests:.0f} "
              f"| {statistics.median(map(cost, mine)):.3f} | {spread(rates)} | {spread(costs)} "
              f"| {len(both)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("load")
    parser.add_argument("server")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--servers", default="null,memory,tls")
    parser.add_argument("--clients", default=",".join(OWN + PYTHON))
    parser.add_argument("--verbs", default="get,put")
    options = parser.parse_args()
    for kind in options.servers.split(","):
        for label, shape in LOADS.items():
            if kind == "tls" and shape[0] < 1 << 20:
                continue
            clients = [client for client in options.clients.split(",")
                       if (kind, client) != ("tls", "hyper")]
            with tempfile.TemporaryDirectory() as folder, \
                    Servers(options.load, options.server, folder) as servers:
                url, environment, process = servers.start(kind, shape[0])
                signed_urls(url, shape[2], folder)
                if kind == "memory":
                    # So that there is something to get.
                    filling = argparse.Namespace(**{**vars(options), "seconds": 2.0})
                    words = command(filling, "sockets", "put", shape, url, folder)
                    _, error = measure(filling, words, environment)
                    assert error is None, error
                for verb in options.verbs.split(","):
                    found = rounds(options, clients, verb, shape, url, environment, folder)
                    show(f"{verb.upper()}, {label}, server {kind}", found)
                assert process.poll() is None, f"the server {kind} has ended"


if __name__ == "__main__":
    if "--child" in sys.argv:
        child(sys.argv[2:])
    else:
        main()
