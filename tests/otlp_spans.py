"""Decodes what was sent to a collector with the package that OpenTelemetry publishes.

Reads a JSON array of request bodies in hexadecimal from standard input and prints the spans: trace, id, parent, name.
"""

import json
import sys

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

spans = []
for body in json.load(sys.stdin):
    request = ExportTraceServiceRequest.FromString(bytes.fromhex(body))
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                spans.append([span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), span.name])
json.dump(spans, sys.stdout)
