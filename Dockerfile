# CloudBase Cloud Run. Public access has to be off, or callerHeaders=ignored set: see docs/deploy.md.
FROM python:3.13-slim

# A function made from a custom image listens on 9000: --build-arg PORT=9000
ARG PORT=80
ENV PORT=$PORT \
    PYTHONUNBUFFERED=1 \
    GLIBC_TUNABLES=glibc.malloc.tcache_count=0 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /app
# For orderDatabaseUrl: --build-arg REQUIREMENTS=requirements-orders.txt
ARG REQUIREMENTS=requirements.txt
COPY requirements.txt requirements-orders.txt ./
RUN pip install --only-binary=:all: -r $REQUIREMENTS

COPY gunicorn.conf.py app.py ./
COPY config ./config
COPY controllers ./controllers
COPY routes ./routes
COPY services ./services
COPY utils ./utils

# No image for a room that holds anything else. .dockerignore cannot tell a file without suffix, id_rsa, from a folder.
RUN ! find config controllers routes services utils ! -type d ! -name '*.py' ! -name '*.mako' ! -name '*.json' \
    ! -name '*.csv' ! -name '*.txt' -print | grep .

# Byte code now: the process may not write any later.
RUN python -m compileall -q .

# Container runtimes start at net.ipv4.ip_unprivileged_port_start=0, so port 80 needs no root. Where an
# engine differs, set PORT to 8080 in the service's settings.
USER 65534:65534
EXPOSE 80
CMD ["python", "-m", "gunicorn", "-c", "gunicorn.conf.py", "app:app"]
