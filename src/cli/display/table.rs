//! Tables of lists, and the fields of one thing.

use comfy_table::{Table, presets};
use serde_json::Value;

use super::format::{Format, print_value};
use super::paint::printable;
use super::streams::{note, out};
use crate::cli::client::ClientError;

/// A heading, and the JSON pointer of what is below it.
pub type Column = (&'static str, &'static str);

/// A value in one line; empty if there is none.
pub fn text_at(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).map(text_of).unwrap_or_default()
}

fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => printable(text),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(items) => items.iter().map(text_of).collect::<Vec<_>>().join(", "),
        other => printable(&other.to_string()),
    }
}

/// A table of rows, without lines, as wide as its texts.
pub fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(headings.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    // Columns begin at the margin, so that a line can be cut.
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Prints a list: its items for programs, a table for people.
pub fn print_list(
    format: Format,
    (items, more): (Vec<Value>, bool),
    columns: &[Column],
) -> Result<(), ClientError> {
    let items = Value::from(items);
    if !print_value(format, &items)? {
        let rows = items.as_array().into_iter().flatten();
        let rows: Vec<Vec<String>> = rows
            .map(|item| {
                columns
                    .iter()
                    .map(|(_, pointer)| text_at(item, pointer))
                    .collect()
            })
            .collect();
        if rows.is_empty() {
            note("None.");
        } else {
            let headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
            out(&table(&headings, rows));
        }
    }
    if more {
        note("There are more. Show them with `--limit COUNT` or `--all`.");
    }
    Ok(())
}

/// The fields of one thing that have a value, one a line.
pub fn details(value: &Value, fields: &[Column]) -> String {
    let found: Vec<(&str, String)> = fields
        .iter()
        .map(|(name, pointer)| (*name, text_at(value, pointer)))
        .filter(|(_, text)| !text.is_empty())
        .collect();
    let width = found.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    let lines = found
        .iter()
        .map(|(name, text)| format!("{name:<width$}{text}\n"));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tables_and_fields_are_plain_text() {
        let rows = vec![
            vec!["acme-shop".into(), "ready".into()],
            vec!["a".into(), String::new()],
        ];
        assert_eq!(
            table(&["NAME", "STATE"], rows),
            "NAME       STATE\nacme-shop  ready\na"
        );
        let value = json!({"name": "a\u{1b}[31mb", "tags": ["x", "y"], "none": null});
        let fields = [("Name", "/name"), ("None", "/none"), ("Tags", "/tags")];
        assert_eq!(details(&value, &fields), "Name  a [31mb\nTags  x, y\n");
    }
}
