"""Signs requests with the library that Slack publishes.

Reads a JSON array of {"secret", "timestamp", "body"} from standard input and prints the signatures.
"""

import json
import sys

from slack_sdk.signature import SignatureVerifier

requests = json.load(sys.stdin)
signatures = [
    SignatureVerifier(request["secret"]).generate_signature(
        timestamp=request["timestamp"], body=request["body"]
    )
    for request in requests
]
json.dump(signatures, sys.stdout)
