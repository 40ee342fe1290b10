"""Verifies requests with the library of PyPI. Reads [{secret, headers, body}] and prints what each holds, or the error."""

import json
import sys

from standardwebhooks import Webhook, WebhookVerificationError


def verified(request):
    try:
        return {"payload": Webhook(request["secret"]).verify(request["body"], request["headers"])}
    except WebhookVerificationError as error:
        return {"error": str(error)}


print(json.dumps([verified(request) for request in json.load(sys.stdin)]))
