//! Chat is configured as a whole, or not at all.

use slipway::config::Settings;

#[test]
fn a_part_of_the_settings_is_an_error_that_names_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("slipway.toml");
    std::fs::write(
        &file,
        "public_url = \"https://slipway.example.com\"\nsign_in_client_secret = \"x\"\n[sign_in]\nissuer = \"https://id.example.com\"\nclient_id = \"slipway\"\n[[sign_in.groups]]\ngroup = \"all\"\nrole = \"viewer\"\n",
    )
    .unwrap();
    let load = |file, given: &[(&str, &str)]| {
        let given: Vec<(String, String)> = given
            .iter()
            .map(|(name, value)| (format!("SLIPWAY_{name}"), (*value).to_owned()))
            .collect();
        Settings::load(file, &given, &[]).map_err(|error| error.to_string())
    };
    let slack = [("SLACK_SIGNING_SECRET", "x"), ("SLACK_BOT_TOKEN", "y")];
    let mattermost = [
        ("MATTERMOST_URL", "https://chat.example.com"),
        ("MATTERMOST_TOKEN", "x"),
        ("MATTERMOST_BOT_TOKEN", "y"),
    ];
    for complete in [&slack[..], &mattermost[..]] {
        load(Some(file.as_path()), complete).unwrap();
        let error = load(None, complete).unwrap_err();
        assert!(error.contains("[sign_in]"), "{error}");
        for left_out in 0..complete.len() {
            let mut given = complete.to_vec();
            let (missing, _) = given.remove(left_out);
            let error = load(Some(file.as_path()), &given).unwrap_err();
            assert!(error.contains(missing), "{error}");
        }
    }
    for wrong in [
        ("SLACK_URL", "slack.com"),
        ("MATTERMOST_URL", "https://a:b@chat.example.com"),
        ("CHAT_LINK_LIFETIME", "1s"),
    ] {
        assert!(load(None, &[wrong]).is_err(), "{wrong:?}");
    }
    let shown = format!("{:?}", load(Some(file.as_path()), &slack).unwrap());
    assert!(!shown.contains("\"y\""), "{shown}");
}
