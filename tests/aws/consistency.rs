//! When a write becomes visible.
//!
//! Invariants:
//! - Each write becomes visible on each replica after a delay of its own, and stays visible until a newer write is;
//!   a read goes to one replica, so that two reads in a row may disagree until all replicas have a write.
//! - IAM's authorization has replicas of its own, which lag by delays of their own.
//! - What is drawn depends on the seed, the operation, the thing and how often that was called, and on nothing else:
//!   another order of independent calls draws the same.
//!
//! Sources: IAM User Guide, "Troubleshoot IAM: changes that I make are not always immediately visible" (aws.md A1);
//! Amazon S3 User Guide, "Amazon S3 data consistency model": objects are strongly consistent, the configuration and
//! the list of buckets are eventually consistent.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

pub const REPLICAS: usize = 3;

/// How long a write takes until each later read sees it.
#[derive(Debug, Clone)]
pub struct Consistency {
    pub iam: RangeInclusive<Duration>,
    pub s3: RangeInclusive<Duration>,
    pub ecr: RangeInclusive<Duration>,
    /// Until IAM's authorization, and STS for a new access key, know of it.
    pub authorization: RangeInclusive<Duration>,
}

impl Consistency {
    pub fn immediate() -> Self {
        let none = Duration::ZERO..=Duration::ZERO;
        Self {
            iam: none.clone(),
            s3: none.clone(),
            ecr: none.clone(),
            authorization: none,
        }
    }

    /// The figures of aws.md A1 and A6.
    pub fn as_aws_documents() -> Self {
        let upto = |seconds| Duration::ZERO..=Duration::from_secs(seconds);
        Self {
            iam: upto(10),
            s3: upto(3),
            ecr: upto(1),
            authorization: upto(15),
        }
    }
}

/// Chance that depends on nothing but what it is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64, parts: &[&str], nth: u64) -> Self {
        // FNV-1a: the same on every machine and in every version of Rust.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for part in parts {
            for byte in part.bytes().chain([0]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        Self(mixed(hash ^ nth.wrapping_mul(0xd6e8_feb8_6659_fd93)))
    }

    pub fn draw(self, salt: u64) -> u64 {
        mixed(self.0 ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub fn with(self, part: &str) -> Self {
        Self::new(self.0, &[part], 0)
    }

    pub fn within(self, salt: u64, range: &RangeInclusive<Duration>) -> u64 {
        let (least, most) = (micros(*range.start()), micros(*range.end()));
        if most <= least {
            least
        } else {
            least + self.draw(salt) % (most - least + 1)
        }
    }
}

/// SplitMix64's last steps.
fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// When a write is visible, in microseconds since the start, on each replica.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub read: [u64; REPLICAS],
    pub authorized: [u64; REPLICAS],
}

impl Times {
    pub fn at_once() -> Self {
        Self {
            read: [0; REPLICAS],
            authorized: [0; REPLICAS],
        }
    }

    fn everywhere_by(&self, now: u64) -> bool {
        self.read
            .iter()
            .chain(&self.authorized)
            .all(|at| *at <= now)
    }
}

/// Where and when somebody looks.
#[derive(Debug, Clone, Copy)]
pub enum Look {
    /// At the newest state.
    Latest,
    /// At a replica for reads.
    Read { now: u64, replica: usize },
    /// At a replica of IAM's authorization.
    Authorization { now: u64, replica: usize },
}

/// A thing with the versions of it that somebody may still see.
#[derive(Debug)]
pub struct Cell<T> {
    versions: Vec<(Times, Option<Arc<T>>)>,
}

impl<T> Default for Cell<T> {
    fn default() -> Self {
        Self {
            versions: Vec::new(),
        }
    }
}

impl<T> Cell<T> {
    pub fn latest(&self) -> Option<&Arc<T>> {
        self.versions.last()?.1.as_ref()
    }

    pub fn at(&self, look: Look) -> Option<&Arc<T>> {
        let visible = |times: &Times| match look {
            Look::Latest => true,
            Look::Read { now, replica } => times.read[replica] <= now,
            Look::Authorization { now, replica } => times.authorized[replica] <= now,
        };
        self.versions
            .iter()
            .rev()
            .find(|(times, _)| visible(times))?
            .1
            .as_ref()
    }

    pub fn write(&mut self, value: Option<T>, times: Times, now: u64) {
        if let Some(settled) = self
            .versions
            .iter()
            .rposition(|(times, _)| times.everywhere_by(now))
        {
            self.versions.drain(..settled);
        }
        self.versions.push((times, value.map(Arc::new)));
        if times.everywhere_by(now) {
            self.versions.drain(..self.versions.len() - 1);
        }
    }
}
