"""The one place for server settings, read by scf_bootstrap, the container, `make serve` and `make run`.

Only the address differs: scf_bootstrap gives `-b 0.0.0.0:9000`, the others take `bind` or their own `-b`.
"""

import os

# PORT opens the container's port to everybody; without it only this machine can connect.
bind = f"0.0.0.0:{os.environ['PORT']}" if os.environ.get("PORT") else "127.0.0.1:3000"

# One process: an instance has a fraction of a core and 256 MB, of which a second one would take a fifth.
workers = 1
worker_class = "gthread"

# An order waits about 100 ms for WeChat Pay and computes for 2: threads, not cores, bound the throughput.
# cloudbaserc.json lets as many requests into an instance (maxConcurrency): none queues for a thread.
threads = 64

# The platform allows 1024 descriptors; each thread may need another one for WeChat Pay and a database.
worker_connections = 512

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
# Gateways add a few dozen fields; a Bearer token and x-cloudbase-context are the long ones.
limit_request_fields = 100
limit_request_field_size = 8190

# Nobody's X-Forwarded-Proto or SCRIPT_NAME changes scheme or path: no proxy's address is known beforehand.
forwarded_allow_ips = ""
forwarder_headers = ""
# WSGI spells x-wx-openid and x_wx_openid alike: a proxy that strips the one may pass the other: dropped.
header_map = "drop"

# The application logs each request as JSON with secrets masked. Gunicorn masks nothing, and its warnings
# quote malformed header lines whole. Its errors (a worker that died or hangs) still reach stderr.
accesslog = None
errorlog = "-"
loglevel = "error"
