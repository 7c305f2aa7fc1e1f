"""Reads a JSON array of deliveries (secret, headers, body) and writes, for each, whether standardwebhooks accepts it."""

import json
import sys

from standardwebhooks import Webhook


def accepts(delivery):
    try:
        Webhook(delivery["secret"]).verify(delivery["body"], delivery["headers"])
        return True
    except Exception as problem:
        print(f"{type(problem).__name__}: {problem}", file=sys.stderr)
        return False


json.dump([accepts(delivery) for delivery in json.load(sys.stdin)], sys.stdout)
