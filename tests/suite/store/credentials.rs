//! Key intents, sealed secrets and claims.

use super::*;

#[tokio::test]
async fn an_app_has_one_open_key_intent() {
    each(async |t| {
        let claimed = t.at_work("acme").await;
        let intent = t
            .store
            .intend_key(claimed.lease, vec!["AKIAOLD".into()])
            .await
            .unwrap();
        let open = async || {
            t.store
                .key_records(claimed.app.id)
                .await
                .unwrap()
                .open
                .map(|open| (open.id, open.known_keys))
        };
        assert_eq!(open().await, Some((intent.id, vec!["AKIAOLD".to_owned()])));
        assert!(t.store.intend_key(claimed.lease, Vec::new()).await.is_err());
        assert_eq!(
            open().await,
            Some((intent.id, vec!["AKIAOLD".to_owned()])),
            "the first one stays"
        );
        t.store
            .close_intent(claimed.lease, intent.id)
            .await
            .unwrap();
        assert_eq!(open().await, None);
        t.store.intend_key(claimed.lease, Vec::new()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn sealing_a_key_closes_its_intent_in_the_same_commit() {
    each(async |t| {
        let claimed = t.sealed("acme", "AKIAA").await;
        let records = t.store.key_records(claimed.app.id).await.unwrap();
        assert_eq!(
            (
                records.keys.len(),
                records.keys[0].0.as_str(),
                &records.open
            ),
            (1, "AKIAA", &None)
        );
        let intent = t
            .store
            .intend_key(claimed.lease, vec!["AKIAA".into()])
            .await
            .unwrap();
        t.refuse("UPDATE", "key_intents").await;
        assert!(
            t.store
                .record_key(claimed.lease, intent.id, credential("AKIAB"))
                .await
                .is_err()
        );
        let records = t.store.key_records(claimed.app.id).await.unwrap();
        assert_eq!(
            (records.keys.len(), records.open.map(|open| open.id)),
            (1, Some(intent.id)),
            "neither without the other"
        );
    })
    .await;
}

#[tokio::test]
async fn a_secret_is_claimed_once() {
    each(async |t| {
        let app = t.sealed("acme", "AKIAA").await.app.id;
        let ClaimAnswer::Sealed(row, sealed) = t.claim_secret(app, "AKIAA", "ann", None).await
        else {
            panic!("not handed out")
        };
        assert_eq!(sealed, credential("AKIAA").sealed);
        assert_eq!(
            (row.secret, row.claimed_by.as_deref()),
            (SecretState::Claimed, Some("ann"))
        );
        assert_eq!(
            t.sealed_secrets().await,
            0,
            "without a key to repeat it by, the claim destroys it"
        );
        assert!(matches!(
            t.claim_secret(app, "AKIAA", "ann", None).await,
            ClaimAnswer::Claimed(_)
        ));
        assert_eq!(
            t.claim_secret(app, "AKIAB", "ann", None).await,
            ClaimAnswer::NoKey
        );
        assert_eq!(
            t.claim_secret(Ulid::generate(), "AKIAA", "ann", None).await,
            ClaimAnswer::NoKey,
            "another app's"
        );
        assert_eq!(t.store.credentials(app).await.unwrap(), [*row]);
    })
    .await;
}

#[tokio::test]
async fn a_look_at_a_secret_does_not_claim_it() {
    each(async |t| {
        let app = t.sealed("acme", "AKIAA").await.app.id;
        for _ in 0..2 {
            let look = t
                .store
                .sealed_secret(app, "AKIAA", &bearer("ann"), None)
                .await
                .unwrap();
            assert!(
                matches!(look, ClaimAnswer::Sealed(row, _) if row.secret == SecretState::Unclaimed)
            );
        }
        t.claim_secret(app, "AKIAA", "ann", None).await;
        let look = t
            .store
            .sealed_secret(app, "AKIAA", &bearer("ann"), None)
            .await
            .unwrap();
        assert!(matches!(look, ClaimAnswer::Claimed(_)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_claims_of_a_secret_one_gets_it() {
    each(async |t| {
        let app = t.sealed("acme", "AKIAA").await.app.id;
        let ann = bearer("ann");
        let answers = join_all((0..30).map(|n| {
            t.store
                .claim_secret(app, "AKIAA", &ann, Some(format!("key {n}")))
        }))
        .await;
        let handed_out = answers
            .iter()
            .filter(|answer| matches!(answer, Ok(ClaimAnswer::Sealed(..))))
            .count();
        assert_eq!(handed_out, 1);
    })
    .await;
}

#[tokio::test]
async fn a_claim_can_be_repeated_by_the_same_caller_with_the_same_key_for_ten_minutes() {
    each(async |t| {
        let app = t.sealed("acme", "AKIAA").await.app.id;
        let again = async |caller: &str, key: Option<&str>| match t
            .claim_secret(app, "AKIAA", caller, key)
            .await
        {
            ClaimAnswer::Sealed(_, sealed) => sealed == credential("AKIAA").sealed,
            ClaimAnswer::Claimed(_) => false,
            other => panic!("{other:?}"),
        };
        assert!(again("ann", Some("k")).await);
        t.clock.advance(CLAIM_REPLAY_WINDOW - MINUTE);
        assert_eq!(t.store.expire_secrets().await.unwrap(), 0);
        assert!(again("ann", Some("k")).await);
        assert!(!again("ben", Some("k")).await);
        assert!(!again("ann", Some("other")).await);
        assert!(!again("ann", None).await);
        t.clock.advance(MINUTE);
        assert!(
            !again("ann", Some("k")).await,
            "also before it is destroyed"
        );
        assert_eq!(t.store.expire_secrets().await.unwrap(), 1);
        assert_eq!(t.sealed_secrets().await, 0);
        assert_eq!(t.secret_of(app).await, SecretState::Claimed);
    })
    .await;
}

#[tokio::test]
async fn a_secret_that_nobody_claims_is_destroyed_after_seven_days() {
    each(async |t| {
        let app = t.sealed("acme", "AKIAA").await.app.id;
        t.clock.advance(CLAIM_DEADLINE - MINUTE);
        assert_eq!(t.store.expire_secrets().await.unwrap(), 0);
        t.clock.advance(MINUTE);
        assert_eq!(
            t.claim_secret(app, "AKIAA", "ann", None).await,
            ClaimAnswer::Expired,
            "also before it is destroyed"
        );
        assert_eq!(t.store.expire_secrets().await.unwrap(), 1);
        assert_eq!(t.sealed_secrets().await, 0);
        assert_eq!(t.secret_of(app).await, SecretState::Expired);
        assert_eq!(
            t.claim_secret(app, "AKIAA", "ann", None).await,
            ClaimAnswer::Expired
        );
        assert_eq!(t.store.expire_secrets().await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn the_secret_of_a_key_that_is_gone_is_destroyed() {
    each(async |t| {
        let claimed = t.sealed("acme", "AKIAA").await;
        t.store
            .record_keys_gone(claimed.lease, vec!["AKIAA".into()])
            .await
            .unwrap();
        assert_eq!(t.sealed_secrets().await, 0);
        assert_eq!(t.secret_of(claimed.app.id).await, SecretState::Expired);
        assert_eq!(t.store.key_records(claimed.app.id).await.unwrap().keys, []);
        assert!(t.store.unverified_keys().await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_key_is_unverified_until_aws_is_seen_to_accept_it() {
    each(async |t| {
        let app = t.sealed("acme", "AKIAA").await.app.id;
        let unverified = t.store.unverified_keys().await.unwrap();
        assert_eq!(
            (unverified.len(), &unverified[0].1),
            (1, &credential("AKIAA").sealed)
        );
        t.store.mark_key_ready(unverified[0].0.id).await.unwrap();
        assert!(t.store.unverified_keys().await.unwrap().is_empty());
        assert_eq!(
            t.store.credentials(app).await.unwrap()[0].readiness,
            Readiness::Ready
        );
    })
    .await;
}

/// Whether the text stands anywhere in the database's files.
fn on_disk(t: &Fixture, text: &[u8]) -> bool {
    let files = std::fs::read_dir(t.folder.path()).unwrap();
    files
        .map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .any(|bytes| bytes.windows(text.len()).any(|window| window == text))
}

#[tokio::test]
async fn a_destroyed_secret_is_in_no_file_even_sealed() {
    let t = Fixture::new(Backend::Sqlite).await;
    let app = t.sealed("acme", "AKIAA").await.app.id;
    assert!(on_disk(&t, &credential("AKIAA").sealed));
    t.claim_secret(app, "AKIAA", "ann", Some("k")).await;
    t.clock.advance(CLAIM_REPLAY_WINDOW);
    assert_eq!(t.store.expire_secrets().await.unwrap(), 1);
    assert!(!on_disk(&t, &credential("AKIAA").sealed));
}

/// The access keys whose secret is sealed under another key than this.
async fn sealed_with_other_keys(
    t: &Fixture,
    encryption_key: &str,
    after: Option<Ulid>,
    limit: u32,
) -> Vec<String> {
    let found = t
        .store
        .sealed_with_other_keys(encryption_key, after, limit)
        .await
        .unwrap();
    found
        .into_iter()
        .map(|(row, sealed)| format!("{} {}", row.access_key_id, String::from_utf8_lossy(&sealed)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_secrets_are_counted_and_listed_by_their_encryption_key() {
    each(async |t| {
        assert_eq!(t.store.sealed_by_key().await.unwrap(), []);
        let first = t.sealed("acme-a", "AKIAA").await;
        next_millisecond().await;
        t.sealed("acme-b", "AKIAB").await;
        assert_eq!(
            t.store.sealed_by_key().await.unwrap(),
            [("0a1b2c3d".to_owned(), 2)]
        );
        let both = [
            "AKIAA the sealed secret of AKIAA",
            "AKIAB the sealed secret of AKIAB",
        ];
        assert_eq!(sealed_with_other_keys(&t, "ffffffff", None, 9).await, both);
        assert_eq!(
            sealed_with_other_keys(&t, "ffffffff", None, 1).await,
            both[..1]
        );
        let (row, _) = t
            .store
            .sealed_with_other_keys("ffffffff", None, 1)
            .await
            .unwrap()
            .remove(0);
        assert_eq!(
            sealed_with_other_keys(&t, "ffffffff", Some(row.id), 9).await,
            both[1..],
            "goes on after a row"
        );
        assert!(
            sealed_with_other_keys(&t, "0a1b2c3d", None, 9)
                .await
                .is_empty()
        );
        t.claim_secret(first.app.id, "AKIAA", "ann", None).await;
        assert_eq!(
            sealed_with_other_keys(&t, "ffffffff", None, 9).await,
            both[1..],
            "a destroyed secret is none"
        );
        assert_eq!(
            t.store.sealed_by_key().await.unwrap(),
            [("0a1b2c3d".to_owned(), 1)]
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_resealed_where_it_still_is_as_it_was() {
    each(async |t| {
        let app = t.sealed("acme", "AKIA").await.app.id;
        let (row, was) = t
            .store
            .sealed_with_other_keys("ffffffff", None, 1)
            .await
            .unwrap()
            .remove(0);
        let reseal = async |was: &[u8], sealed: &str| {
            t.store
                .replace_sealed_secret(
                    row.id,
                    was.to_vec(),
                    sealed.as_bytes().to_vec(),
                    "ffffffff".into(),
                )
                .await
                .unwrap()
        };
        assert!(!reseal(b"something else", "lost").await);
        assert!(reseal(&was, "sealed anew").await);
        assert!(!reseal(&was, "sealed twice").await, "another was faster");
        assert_eq!(
            t.store.sealed_by_key().await.unwrap(),
            [("ffffffff".to_owned(), 1)]
        );
        match t.claim_secret(app, "AKIA", "ann", None).await {
            ClaimAnswer::Sealed(claimed, sealed) => assert_eq!(
                (claimed.encryption_key.as_str(), sealed),
                ("ffffffff", b"sealed anew".to_vec())
            ),
            other => panic!("{other:?}"),
        }
        assert!(!reseal(b"sealed anew", "back again").await, "a claim wins");
        assert_eq!(t.sealed_secrets().await, 0);
    })
    .await;
}
