"""The one place for server settings, read by scf_bootstrap, the container, `make serve` and `make run`.

Only the address differs: scf_bootstrap gives `-b 0.0.0.0:9000`, the others take `bind` or their own `-b`.
"""

import os

# PORT opens the container's port to everybody; without it only this machine can connect.
bind = f"0.0.0.0:{os.environ['PORT']}" if os.environ.get("PORT") else "127.0.0.1:3000"

# One process: an instance has a fraction of a core and 256 MB, of which a second one would take a fifth.
workers = 1
# gunicorn's gthread, but no thread waits for a slow caller, in or out; its deadlines and sizes stand in that file.
worker_class = "utils.server.Worker"

# An order waits about 100 ms for WeChat Pay and computes for 2: threads, not cores, bound the throughput.
# 64 of them are for callers (routes/admission.py), beyond which 503 is answered at once; up to 32 may be held by
# callbacks (20 handlers, 8 confirmations, 4 that wait for a certificate); 4 are left for whoever is refused or asks
# /healthz. So neither a storm of orders nor one of callbacks takes the others' place, and no request waits long for a
# thread.
# cloudbaserc.json lets as many requests into an instance (maxConcurrency): none queues for a thread.
threads = 100

# The platform allows 1024 descriptors; each thread may need another one for WeChat Pay and a database. At the limit
# a new connection closes the one that has been idle or slow for longest, and is not kept waiting.
worker_connections = 512

# Connections that the kernel keeps for us while the loop is busy; it takes the smaller of this and net.core.somaxconn.
backlog = 2048

# A worker whose main loop hangs is replaced; above the function's 20 s, after which the platform acts.
timeout = 30

# A stopping worker finishes what runs: an order takes wxPayTimeout (10 s) + 1. Kubernetes kills at 30.
graceful_timeout = 15

# Proxies commonly drop idle connections after 60 s. Ours outlive theirs, else a request meets a socket
# that is just closing and is lost. An idle connection occupies no thread.
keepalive = 75

# The worker loads the application itself. Preloading would build a merchant's order service before the
# fork: its threads would be gone, and its database sockets shared with a failed worker's successor.
preload_app = False

# Nothing can be written beside the code: the heartbeat file goes to /tmp, and there is no control socket.
worker_tmp_dir = "/tmp"  # noqa: S108  (made by mkstemp and unlinked at once)
control_socket_disable = True

# The longest path of the contract is under 100 bytes; gateways put a prefix before it and a query behind.
limit_request_line = 4094
# Gateways add a few dozen fields; a Bearer token and x-cloudbase-context are the long ones. All fields together have
# 64 KB (utils/connection.py). Bodies are the application's to limit.
limit_request_fields = 100
limit_request_field_size = 8190

# HTTP/1.1 in its strict reading and by one parser: what two readers might read differently is refused, never mended.
http_protocols = "h1"
http2_cleartext = "off"
http_parser = "python"
permit_obsolete_folding = False
permit_unconventional_http_method = False
permit_unconventional_http_version = False
strip_header_spaces = False
casefold_http_method = False

# Nobody's X-Forwarded-Proto or SCRIPT_NAME changes scheme or path: no proxy's address is known beforehand.
forwarded_allow_ips = ""
forwarder_headers = ""
proxy_protocol = "off"
proxy_allow_ips = ""
# WSGI spells x-wx-openid and x_wx_openid alike: a proxy that strips the one may pass the other: dropped.
header_map = "drop"

# No answer is a file.
sendfile = False

# A worker is not replaced for having served much: its memory does not grow.
max_requests = 0

# The application logs each request as JSON with secrets masked. Gunicorn masks nothing, and its warnings
# quote malformed header lines whole. Its errors (a worker that died or hangs) still reach stderr.
accesslog = None
errorlog = "-"
loglevel = "error"
