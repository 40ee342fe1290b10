//! What follows from a receiver's reply (Standard Webhooks 1.0, "Delivery attempts").

use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;

use crate::clock::{Timestamp, duration_text};
use crate::domain::webhook::{MAX_FAILING, retry_delay};
use crate::outbound::{PostError, Reply};
use crate::store::{AttemptOutcome, PassEnd};

/// The least wait when a receiver says that it is overloaded, and not for how long.
const OVERLOAD_DELAY: Duration = Duration::from_secs(60);
/// The longest wait that a receiver can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);
/// The wait between a delivery that is given up and the next one.
const NEXT_DELAY: Duration = Duration::from_secs(5);

/// What became of an attempt, and unless it was accepted, how to leave the webhook.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    pub outcome: AttemptOutcome,
    pub end: Option<PassEnd>,
}

/// Judges the reply to the attempt with this number, counted from 1.
pub fn judge(
    reply: Result<Reply, PostError>,
    attempt: u32,
    failing_since: Option<Timestamp>,
    now: Timestamp,
) -> Verdict {
    let (why, least) = match reply {
        Ok(Reply { status, .. }) if (200..300).contains(&status) => {
            return Verdict {
                outcome: AttemptOutcome::Delivered,
                end: None,
            };
        }
        Ok(Reply { status: 410, .. }) => {
            let why = "The receiver replied 410 Gone.".to_owned();
            return Verdict {
                outcome: AttemptOutcome::Failed(why.clone()),
                end: Some(PassEnd::Disabled(why)),
            };
        }
        Ok(Reply { status, .. }) if (300..400).contains(&status) => (
            format!("The receiver replied {status}. Redirects are not followed."),
            Duration::ZERO,
        ),
        Ok(reply) => (
            format!("The receiver replied {}.", reply.status),
            least_delay(&reply, now),
        ),
        Err(error) => (format!("The request failed: {error}."), Duration::ZERO),
    };
    let failing = now.since(failing_since.unwrap_or(now));
    if failing >= MAX_FAILING {
        let span = duration_text(MAX_FAILING);
        let reason = format!("No delivery has succeeded for {span}. {why}");
        return Verdict {
            outcome: AttemptOutcome::Failed(why),
            end: Some(PassEnd::Disabled(reason)),
        };
    }
    match retry_delay(attempt) {
        Some(delay) => {
            // Up to a tenth more, so that webhooks that failed together are not tried together.
            let delay = delay.mul_f64(1.0 + 0.1 * fastrand::f64()).max(least);
            Verdict {
                outcome: AttemptOutcome::Failed(why),
                end: Some(PassEnd::Failing(now.after(delay))),
            }
        }
        None => Verdict {
            outcome: AttemptOutcome::GivenUp(why),
            end: Some(PassEnd::Failing(now.after(NEXT_DELAY.max(least)))),
        },
    }
}

/// The least wait before the next attempt: what an overloaded receiver asks for, up to a day.
fn least_delay(reply: &Reply, now: Timestamp) -> Duration {
    if !matches!(reply.status, 429 | 502 | 503 | 504) {
        return Duration::ZERO;
    }
    let asked = reply.retry_after.as_deref();
    let asked = asked.and_then(|text| retry_after(text, now));
    asked.unwrap_or(OVERLOAD_DELAY).min(MAX_RETRY_AFTER)
}

/// The time that `Retry-After` names: seconds or a date (RFC 9110, 10.2.3).
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Timestamp::from_millis(date.as_millisecond()).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn reply(status: u16, retry_after: Option<&str>) -> Result<Reply, PostError> {
        Ok(Reply {
            status,
            retry_after: retry_after.map(str::to_owned),
        })
    }

    fn delay(reply: Result<Reply, PostError>, attempt: u32) -> Duration {
        match judge(reply, attempt, None, NOW).end {
            Some(PassEnd::Failing(at)) => at.since(NOW),
            end => panic!("{end:?}"),
        }
    }

    #[test]
    fn only_2xx_is_success_and_each_failure_waits_longer() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judge(reply(status, None), 1, None, NOW).end, None);
        }
        let seconds = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];
        for status in [100, 199, 301, 302, 307, 308, 400, 401, 404, 500] {
            for (attempt, least) in (1..).zip(seconds) {
                let least = Duration::from_secs(least);
                let waits = delay(reply(status, None), attempt);
                assert!(waits >= least && waits <= least.mul_f64(1.1), "{status}");
            }
            let last = judge(reply(status, None), 10, None, NOW);
            assert!(
                matches!(last.outcome, AttemptOutcome::GivenUp(_)),
                "{status}"
            );
        }
        let broken = delay(Err(PostError::TimedOut(Duration::from_secs(15))), 1);
        assert!(broken >= Duration::from_secs(5));
    }

    #[test]
    fn a_receiver_that_is_overloaded_is_asked_when_it_says() {
        for status in [429, 502, 503, 504] {
            assert_eq!(delay(reply(status, None), 1), OVERLOAD_DELAY);
            let asked = delay(reply(status, Some("120")), 1);
            assert_eq!(asked, Duration::from_secs(120), "{status}");
            let date = delay(reply(status, Some("Tue, 14 Nov 2023 22:23:20 GMT")), 1);
            assert_eq!(date, Duration::from_secs(600), "{status}");
            let long = delay(reply(status, Some("99999999999")), 1);
            assert_eq!(long, MAX_RETRY_AFTER, "{status}");
            assert!(delay(reply(status, Some("1")), 3) >= Duration::from_secs(1800));
            assert_eq!(delay(reply(status, Some("soon")), 1), OVERLOAD_DELAY);
        }
        assert!(delay(reply(500, Some("7200")), 1) < Duration::from_secs(6));
    }

    #[test]
    fn a_receiver_that_is_gone_or_fails_for_five_days_is_disabled() {
        let gone = judge(reply(410, None), 1, None, NOW);
        assert!(matches!(gone.end, Some(PassEnd::Disabled(_))));
        let since = |span| judge(reply(500, None), 3, Some(NOW.before(span)), NOW).end;
        assert!(matches!(since(MAX_FAILING), Some(PassEnd::Disabled(_))));
        let less = MAX_FAILING - Duration::from_secs(1);
        assert!(matches!(since(less), Some(PassEnd::Failing(_))));
    }
}
