//! Renders the resources of an app for other tools.

pub mod aws_cli;
pub mod bootstrap;
pub mod cloudformation;
pub mod document;
pub mod dotenv;
pub mod labels;
pub mod shell_words;
pub mod terraform;
