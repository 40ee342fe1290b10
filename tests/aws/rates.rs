//! How fast calls may come: a token bucket for each account and service.
//!
//! Source: aws.md A11 for the codes. AWS does not publish the rates of IAM and STS; what ECR and S3 document is far
//! more than these tests call, so tests say what they want.

use std::collections::HashMap;

use super::protocol::Refused;

/// So many calls at once, and so many a second after that.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    pub per_second: f64,
    pub burst: f64,
}

/// The rate of each service; `None` for no limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    pub iam: Option<Rate>,
    pub sts: Option<Rate>,
    pub s3: Option<Rate>,
    pub ecr: Option<Rate>,
}

/// What is left in each account's bucket, and when that was.
#[derive(Default)]
pub struct Buckets(HashMap<(String, String), (f64, u64)>);

impl Buckets {
    /// Takes one call, or refuses it as the service does.
    pub fn take(
        &mut self,
        rates: &Rates,
        account: &str,
        service: &str,
        now: u64,
    ) -> Result<(), Refused> {
        let rate = match service {
            "iam" => rates.iam,
            "sts" => rates.sts,
            "s3" => rates.s3,
            _ => rates.ecr,
        };
        let Some(rate) = rate else { return Ok(()) };
        let (left, at) = self
            .0
            .entry((account.to_owned(), service.to_owned()))
            .or_insert((rate.burst, now));
        *left = (*left + now.saturating_sub(*at) as f64 / 1e6 * rate.per_second).min(rate.burst);
        *at = now;
        if *left >= 1.0 {
            *left -= 1.0;
            return Ok(());
        }
        Err(match service {
            "s3" => Refused::new(503, "SlowDown", "Please reduce your request rate."),
            "ecr" => Refused::new(400, "ThrottlingException", "Rate exceeded"),
            _ => Refused::new(400, "Throttling", "Rate exceeded"),
        })
    }
}
