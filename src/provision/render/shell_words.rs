//! Commands of the AWS CLI, quoted for a POSIX shell, as plans show them.

use serde::Serialize;

/// One word, quoted where the shell needs it.
pub fn word(text: &str) -> String {
    // Quoting fails on NUL bytes alone, which no name or document here can hold.
    shlex::try_quote(text).map_or_else(|_| String::new(), |quoted| quoted.into_owned())
}

pub fn words(texts: &[String]) -> String {
    texts
        .iter()
        .map(|text| word(text))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A document as one word of compact JSON.
pub fn document(value: &impl Serialize) -> String {
    word(&serde_json::to_string(value).unwrap_or_default())
}
