//! Server-sent events (HTML Standard, "Server-sent events"), as far as the service sends them.

use serde::Deserialize;

use crate::clock::Timestamp;
use crate::domain::job::JobError;

/// An event of a job. A field that an event does not have is absent, so that events of later versions can be read.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct JobProgress {
    pub seq: i64,
    pub at: Timestamp,
    pub event: String,
    pub resource: Option<String>,
    pub change: Option<String>,
    pub changes: Option<Vec<String>>,
    pub message: Option<String>,
    pub reason: Option<String>,
    pub because: Option<String>,
    pub requested_by: Option<String>,
    pub by: Option<String>,
    pub comment: Option<String>,
    pub attempt: Option<u32>,
    pub duration_ms: Option<u64>,
    pub after_ms: Option<u64>,
    pub error: Option<JobError>,
}

impl JobProgress {
    /// Whether the job may have ended by it, or waits for a person.
    pub fn may_be_last(&self) -> bool {
        matches!(
            self.event.as_str(),
            "job_succeeded"
                | "job_failed"
                | "job_needs_attention"
                | "job_canceled"
                | "job_rejected"
                | "job_awaiting_approval"
        )
    }
}

/// Splits a stream into the data of its events.
#[derive(Default)]
pub struct EventParser {
    line: Vec<u8>,
    data: Vec<String>,
}

impl EventParser {
    /// The data of the events that end in these bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut events = Vec::new();
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches('\r');
            if line.is_empty() {
                if !self.data.is_empty() {
                    events.push(std::mem::take(&mut self.data).join("\n"));
                }
            } else if let Some(data) = line.strip_prefix("data:") {
                self.data
                    .push(data.strip_prefix(' ').unwrap_or(data).to_owned());
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_however_the_stream_is_cut() {
        let stream = b"id: 1\r\nevent: a\r\ndata: {\"x\":1}\r\n\r\n: keep-alive\n\ndata: one\ndata: two\n\ndata: cut off";
        for size in 1..stream.len() {
            let mut parser = EventParser::default();
            let events: Vec<String> = stream
                .chunks(size)
                .flat_map(|chunk| parser.push(chunk))
                .collect();
            assert_eq!(events, ["{\"x\":1}", "one\ntwo"], "{size}");
        }
    }
}
