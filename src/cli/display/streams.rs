//! Standard output, standard error, and questions.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use super::paint::{Color, Paint};
use crate::cli::client::ClientError;

/// Writes data to standard output. Whoever reads it may have had enough: that is no error.
pub fn out(text: &str) {
    let mut stdout = io::stdout().lock();
    let newline = if text.ends_with('\n') || text.is_empty() {
        ""
    } else {
        "\n"
    };
    let _ = write!(stdout, "{text}{newline}").and_then(|()| stdout.flush());
}

/// Tells the person something.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Tells the person several lines.
pub fn notes(lines: impl IntoIterator<Item = String>) {
    lines.into_iter().for_each(|line| note(&line));
}

/// Tells the person what to be aware of.
pub fn warn(text: &str) {
    note(&Paint::stderr().text(Color::Yellow, &format!("Warning: {text}")));
}

/// Asks a question that yes answers. Without a terminal, `--yes` has to answer it.
pub fn ask(question: &str, yes: bool) -> Result<(), ClientError> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(ClientError::Usage(
            "there is no terminal to ask on. Look at the plan above, and repeat the command with `--yes`".into(),
        ));
    }
    match line(&format!("{question} [y/N] "))?.to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(ClientError::Declined),
    }
}

/// Asks for the app's name, before data is deleted. `None` without a terminal.
pub fn ask_for_name(app: &str) -> Result<Option<String>, ClientError> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(None);
    }
    let answer = line(&format!("To delete it, type the app's name ({app}): "))?;
    if answer == app {
        Ok(Some(answer))
    } else {
        Err(ClientError::Declined)
    }
}

fn line(question: &str) -> Result<String, ClientError> {
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{question}").and_then(|()| stderr.flush());
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| ClientError::Failed(format!("cannot read the answer: {error}")))?;
    Ok(answer.trim().to_owned())
}
