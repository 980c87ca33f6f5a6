"""Settings that a redeploy must not lose.

The Integration Center may overwrite environment variables that it did not inject. A variable that is written
here, by its name and as text, applies whenever the environment has no value for it. The environment wins; an
empty environment variable counts as none. Example: ``DEFAULTS = {"callerHeaders": "ignored"}``.

Secrets are refused, because this file is code: ``privateKey``, ``apiV3Key``, ``operatorKey``, ``orderDatabaseUrl``
and ``eventWebhookSecret`` are not read from here, and standing here they are reported as problems.
"""

DEFAULTS: dict[str, str] = {}
