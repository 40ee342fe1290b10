//! How a job goes on: a line per step that changes on a terminal, a line per event elsewhere.

use std::collections::HashMap;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;

use super::paint::{Color, Paint, printable};
use super::streams::note;
use crate::cli::client::{Api, ClientError, Interest, JobProgress, follow};

const TICK: Duration = Duration::from_millis(100);

/// Follows a job, and shows how it goes on. The job as it is at the end.
pub async fn observed(api: &Api, job: &str) -> Result<Value, ClientError> {
    let mut display = Display::new();
    let ended = follow(api, job, &mut display).await;
    display.end();
    ended
}

/// Shows the events of one job.
pub enum Display {
    Live(Live),
    Plain,
}

impl Display {
    /// Live on a terminal that can move its cursor.
    pub fn new() -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if io::stderr().is_terminal() && !is_dumb {
            Self::Live(Live::new())
        } else {
            Self::Plain
        }
    }

    /// Leaves the lines as they are.
    fn end(&mut self) {
        if let Self::Live(live) = self {
            live.end();
        }
    }
}

impl Interest for Display {
    fn event(&mut self, event: &JobProgress) {
        match self {
            Self::Live(live) => live.event(event),
            Self::Plain => {
                if let Some(line) = plain_line(event) {
                    note(&line);
                }
            }
        }
    }

    fn connection(&mut self, text: &str) {
        match self {
            Self::Live(live) => {
                let _ = live.lines.println(printable(text));
            }
            Self::Plain => note(&printable(text)),
        }
    }
}

/// An event's word; none for what another event says again.
fn word(event: &JobProgress) -> Option<&'static str> {
    Some(match event.event.as_str() {
        "step_started" | "change_applied" => return None,
        "job_queued" => "queued",
        "job_awaiting_approval" => "awaits approval",
        "job_approved" => "approved",
        "job_rejected" => "rejected",
        "job_started" => "started",
        "step_progress" => "goes on",
        "step_gone" => "gone",
        "step_waiting" | "job_waiting" => "waits",
        "step_done" => "done",
        "step_failed" | "job_failed" => "failed",
        "step_skipped" => "skipped",
        "warning" => "warning",
        "job_succeeded" => "succeeded",
        "job_needs_attention" => "needs attention",
        "cancel_requested" => "cancel",
        "job_canceled" => "canceled",
        "retry_requested" => "retry",
        "job_released" => "handed over",
        _ => "event",
    })
}

/// What an event says in words, whichever of its fields has them.
fn words(event: &JobProgress) -> String {
    let changes = event
        .changes
        .as_ref()
        .filter(|changes| !changes.is_empty())
        .map(|changes| changes.join(", "));
    let error = event.error.as_ref().map(|error| {
        format!(
            "{} {}",
            error.detail,
            error.remedy.as_deref().unwrap_or_default()
        )
    });
    let waits = event.reason.as_ref().map(|reason| match event.after_ms {
        Some(after) => format!("{reason} (for {})", seconds(after)),
        None => reason.clone(),
    });
    let attempt = event
        .attempt
        .filter(|attempt| *attempt > 1)
        .map(|attempt| format!("attempt {attempt}"));
    let because = event
        .because
        .as_ref()
        .map(|resource| format!("because {resource} failed"));
    let by = event.by.as_ref().or(event.requested_by.as_ref());
    let by = by.map(|by| format!("by {by}"));
    let said = [
        error,
        changes,
        event.change.clone(),
        event.message.clone(),
        waits,
        attempt,
        because,
        by,
    ];
    printable(said.into_iter().flatten().next().unwrap_or_default().trim())
}

fn seconds(millis: u64) -> String {
    format!("{}.{} s", millis / 1000, millis % 1000 / 100)
}

/// An event as a line of a log.
fn plain_line(event: &JobProgress) -> Option<String> {
    let word = word(event)?;
    let at = event.at.to_string();
    let clock = at.get(11..23).unwrap_or(&at);
    let resource = event.resource.as_deref().map(printable).unwrap_or_default();
    let line = format!("{clock}  {word:<15}  {resource}  {}", words(event));
    Some(line.trim_end().to_owned())
}

/// A line for each step, which changes while the step goes on.
pub struct Live {
    lines: MultiProgress,
    steps: HashMap<String, ProgressBar>,
    /// Says that the job as a whole waits.
    job: Option<ProgressBar>,
    paint: Paint,
}

impl Live {
    fn new() -> Self {
        Self {
            lines: MultiProgress::new(),
            steps: HashMap::new(),
            job: None,
            paint: Paint::stderr(),
        }
    }

    fn event(&mut self, event: &JobProgress) {
        let text = words(event);
        let resource = event.resource.as_deref().map(printable);
        match (event.event.as_str(), resource) {
            ("step_done" | "step_gone", Some(step)) => {
                let took = seconds(event.duration_ms.unwrap_or(0));
                let text = if text.is_empty() { "no change" } else { &text };
                self.finish(&step, Color::Green, "✓", &format!("{step}  {text}  {took}"));
            }
            ("step_failed", Some(step)) => {
                self.finish(&step, Color::Red, "✗", &format!("{step}  {text}"));
            }
            ("step_skipped", Some(step)) => {
                self.finish(&step, Color::Dim, "-", &format!("{step}  skipped {text}"));
            }
            ("step_waiting", Some(step)) => {
                self.step(&step)
                    .set_message(format!("{step}  waits: {text}"));
            }
            ("warning", _) => {
                let _ = self.lines.println(self.paint.text(Color::Yellow, &text));
            }
            (_, Some(step)) => self.step(&step).set_message(format!("{step}  {text}")),
            ("job_waiting", None) => self.wait(&format!("the job waits: {text}")),
            ("job_awaiting_approval", None) => {}
            (_, None) => {
                if let Some(line) = self.job.take() {
                    line.finish_and_clear();
                }
            }
        }
    }

    fn wait(&mut self, text: &str) {
        let lines = &self.lines;
        let line = self.job.get_or_insert_with(|| lines.add(spinner()));
        line.set_message(text.to_owned());
    }

    /// The line of a step, with its time since it began.
    fn step(&mut self, step: &str) -> &ProgressBar {
        let lines = &self.lines;
        self.steps
            .entry(step.to_owned())
            .or_insert_with(|| lines.add(spinner()))
    }

    fn finish(&mut self, step: &str, color: Color, sign: &str, text: &str) {
        let sign = self.paint.text(color, sign);
        let line = self.step(step);
        line.set_style(style("  {msg}"));
        line.finish_with_message(format!("{sign} {text}"));
        // A later attempt begins a new line.
        self.steps.remove(step);
    }

    fn end(&mut self) {
        if let Some(line) = self.job.take() {
            line.finish_and_clear();
        }
        for (_, line) in self.steps.drain() {
            line.abandon();
        }
    }
}

fn spinner() -> ProgressBar {
    let line = ProgressBar::new_spinner().with_style(style("  {spinner} {wide_msg} {elapsed}"));
    line.enable_steady_tick(TICK);
    line
}

/// A template of this file; the default stands in for one that is not valid.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
