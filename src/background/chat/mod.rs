//! Works on the requests of chat users: does what they ask for, replies, and keeps messages up to date.

pub mod platform;
pub mod worker;
