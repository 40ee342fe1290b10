-- The trace of the request that a job comes from: the header traceparent of W3C's Trace Context.

ALTER TABLE jobs ADD COLUMN trace_parent TEXT;
