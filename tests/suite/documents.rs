//! What the documents say of settings. Their commands are run by tests/documents.py.

use std::collections::BTreeSet;

use slipway::config::Settings;

const PAGE: &str = include_str!("../../docs/configuration.md");

/// The variables that the page lists, each with its default.
fn listed() -> Vec<(String, String)> {
    let rows = PAGE.lines().filter(|line| line.starts_with("| `SLIPWAY_"));
    let cells = rows.map(|row| {
        row.split(" | ")
            .map(|cell| cell.trim_matches(['|', ' ', '`']).to_owned())
            .collect::<Vec<_>>()
    });
    cells
        .map(|cells| (cells[0].clone(), cells[1].clone()))
        .collect()
}

/// The names of all settings that have a variable: the fields of their debug form, but for the tables of the file.
fn settings() -> BTreeSet<String> {
    let shown = format!("{:#?}", Settings::default());
    let fields = shown
        .lines()
        .filter(|line| line.starts_with("    ") && !line.starts_with("     "));
    let names = fields
        .filter_map(|line| Some(line.split_once(": ")?.0.trim()))
        .filter(|name| !["defaults", "approvals", "hooks", "sign_in", "timing"].contains(name));
    names
        .map(|name| format!("SLIPWAY_{}", name.to_uppercase()))
        .collect()
}

#[test]
fn the_page_lists_every_setting_with_its_default() {
    let listed = listed();
    assert_eq!(
        listed
            .iter()
            .map(|(name, _)| name.clone())
            .collect::<BTreeSet<_>>(),
        settings()
    );
    let defaults: Vec<(String, String)> = listed
        .into_iter()
        .filter(|(_, value)| value != "none")
        .collect();
    assert!(defaults.len() > 15);
    let loaded = Settings::load(None, &defaults, &[]).unwrap();
    assert_eq!(format!("{loaded:?}"), format!("{:?}", Settings::default()));
}

#[test]
fn the_file_that_the_page_shows_is_that_of_the_defaults() {
    let blocks: Vec<&str> = PAGE
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("slipway.toml");
    std::fs::write(&file, blocks.join("\n")).unwrap();
    let loaded = Settings::load(Some(&file), &[], &[]).unwrap();
    assert_eq!(
        (blocks.len(), loaded.defaults.clone()),
        (3, Settings::default().defaults)
    );
    assert_eq!(format!("{loaded:?}"), format!("{:?}", Settings::default()));
}
