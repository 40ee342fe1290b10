//! Registered accounts.

use super::*;

const NORTH: &str = "222222222222";

fn account(name: &str, id: &str) -> RegisteredAccount {
    RegisteredAccount {
        name: AccountName::parse(name).unwrap(),
        account_id: AccountId::parse(id).unwrap(),
        settings: settings(id, "Slipway"),
        external_id: format!("slipway-{name}"),
        state: AccountState::Ready,
        reason: None,
        alias: None,
        checked_at: None,
        created_by: "ann".into(),
        created_at: Timestamp::from_millis(1),
        version: 1,
    }
}

fn settings(id: &str, role: &str) -> AccountSettings {
    AccountSettings {
        role_arn: RoleArn::parse(&format!("arn:aws:iam::{id}:role/{role}")).unwrap(),
        region: Region::parse("us-west-2").unwrap(),
        defaults: serde_json::Map::from_iter([("group".to_owned(), json!("Guests"))]),
    }
}

impl Fixture {
    /// Registers an account that takes apps.
    pub async fn register(&self, name: &str, id: &str) -> RegisteredAccount {
        let registered = self.store.register_account(account(name, id)).await;
        registered.unwrap().unwrap()
    }

    async fn registered(&self, name: &str) -> RegisteredAccount {
        let name = AccountName::parse(name).unwrap();
        self.store.registered_account(&name).await.unwrap().unwrap()
    }

    /// Changes the role of the account.
    async fn with_role(
        &self,
        name: &str,
        id: &str,
        role: &str,
    ) -> Result<RegisteredAccount, Refusal> {
        let name = AccountName::parse(name).unwrap();
        let update = self
            .store
            .update_account(name, settings(id, role), "bob".into());
        update.await.unwrap()
    }
}

#[tokio::test]
async fn a_name_and_an_aws_account_are_registered_once() {
    each(async |t| {
        let registered = t.register("north", NORTH).await;
        assert_eq!(
            t.store.registered_account(&registered.name).await.unwrap(),
            Some(registered.clone())
        );
        for again in [account("north", "333333333333"), account("another", NORTH)] {
            assert_eq!(
                t.store.register_account(again).await.unwrap(),
                Err(Refusal::AccountExists(registered.name.clone()))
            );
        }
        let many = (0..8).map(|_| t.store.register_account(account("south", "333333333333")));
        let registered = join_all(many).await.into_iter();
        assert_eq!(registered.filter(|it| matches!(it, Ok(Ok(_)))).count(), 1);
        assert_eq!(t.store.registered_accounts().await.unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn an_account_with_apps_is_not_deleted_and_an_app_is_not_in_a_deleted_one() {
    each(async |t| {
        let north = t.register("north", NORTH).await;
        for round in 0..10 {
            let app = format!("acme-{round}");
            let (onboarded, deleted) = tokio::join!(
                t.store.onboard(new_app_in(&app, "north"), None),
                t.store.delete_account(north.name.clone(), "ann".into())
            );
            match (onboarded.unwrap(), deleted.unwrap()) {
                (Ok(_), Err(Refusal::AccountInUse(name))) => {
                    assert_eq!(name, north.name);
                    t.raw("UPDATE apps SET state = 'removed'").await;
                }
                (Err(Refusal::NoAccount), Ok(())) => {
                    t.register("north", NORTH).await;
                }
                other => panic!("{other:?}"),
            }
        }
        t.store
            .delete_account(north.name.clone(), "ann".into())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            t.store
                .delete_account(north.name, "ann".into())
                .await
                .unwrap(),
            Err(Refusal::NoAccount)
        );
    })
    .await;
}

#[tokio::test]
async fn only_an_account_that_was_verified_takes_apps() {
    each(async |t| {
        let north = t.register("north", NORTH).await;
        for (state, takes) in [
            (AccountState::Pending, false),
            (AccountState::Blocked, false),
            (AccountState::Unreachable, false),
            (AccountState::Ready, true),
        ] {
            let is_wrong = matches!(state, AccountState::Blocked | AccountState::Unreachable);
            let result = AccountCheckResult {
                state,
                reason: is_wrong.then(|| "it says why".to_owned()),
                alias: None,
            };
            t.store
                .record_verification(&north, result, "ann".into())
                .await
                .unwrap();
            let app = format!("acme-{state}");
            let onboarded = t
                .store
                .onboard(new_app_in(&app, "north"), None)
                .await
                .unwrap();
            match onboarded {
                Ok(_) => assert!(takes, "{state}"),
                Err(refusal) => assert_eq!(
                    (takes, refusal),
                    (false, Refusal::AccountNotReady(north.name.clone(), state))
                ),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_check_that_a_change_has_overtaken_is_not_kept() {
    each(async |t| {
        let north = t.register("north", NORTH).await;
        let changed = t.with_role("north", NORTH, "Other").await.unwrap();
        assert_eq!((changed.state, changed.version), (AccountState::Pending, 2));
        let ready = || AccountCheckResult {
            state: AccountState::Ready,
            reason: None,
            alias: Some("north-inc".into()),
        };
        let is_recorded = t
            .store
            .record_verification(&north, ready(), "ann".into())
            .await;
        assert!(!is_recorded.unwrap());
        assert!(!t.store.record_account_check(&north, ready()).await.unwrap());
        assert!(
            !t.store
                .record_account_check(&changed, ready())
                .await
                .unwrap(),
            "what has to be verified is not ready by a check"
        );
        let now = t.registered("north").await;
        assert_eq!(now, changed, "the check was of the role before");
        let is_recorded = t
            .store
            .record_verification(&changed, ready(), "ann".into())
            .await;
        assert!(is_recorded.unwrap());
        let verified = t
            .number("SELECT COUNT(*) FROM audit WHERE action = 'account_verified'")
            .await;
        assert_eq!(verified, 1, "what was not kept is not in the audit");
        let now = t.registered("north").await;
        assert_eq!(
            (now.state, now.alias.as_deref(), now.checked_at.is_some()),
            (AccountState::Ready, Some("north-inc"), true)
        );
        let same_role = t.with_role("north", NORTH, "Other").await.unwrap();
        assert_eq!(same_role.state, AccountState::Ready);
        let unreachable = AccountCheckResult {
            state: AccountState::Unreachable,
            reason: Some("it says why".into()),
            alias: None,
        };
        let recorded = t.store.record_account_check(&same_role, unreachable).await;
        assert!(recorded.unwrap());
        let recorded = t.store.record_account_check(&same_role, ready()).await;
        assert!(!recorded.unwrap(), "another check found it unreachable");
        assert_eq!(
            t.with_role("north", "333333333333", "Other").await,
            Err(Refusal::NoAccount),
            "the role of another account"
        );
    })
    .await;
}

#[tokio::test]
async fn an_app_that_is_onboarded_again_stays_in_its_account_unless_it_was_removed() {
    each(async |t| {
        t.register("north", NORTH).await;
        t.onboard("acme").await;
        t.raw("UPDATE jobs SET state = 'canceled', finished_at = 1; UPDATE apps SET state = 'canceled'")
            .await;
        let again = t.store.onboard(new_app_in("acme", "north"), None).await;
        assert_eq!(
            again.unwrap().unwrap_err(),
            Refusal::AppExists(name("acme")),
            "what its jobs have created is in the other account"
        );
        t.raw("UPDATE apps SET state = 'removed'").await;
        let again = t.store.onboard(new_app_in("acme", "north"), None).await;
        assert!(again.unwrap().is_ok());
    })
    .await;
}

#[tokio::test]
async fn what_is_done_with_an_account_is_in_the_audit_with_its_name() {
    each(async |t| {
        let north = t.register("north", NORTH).await;
        next_millisecond().await;
        t.store
            .update_account(north.name.clone(), settings(NORTH, "Other"), "bob".into())
            .await
            .unwrap()
            .unwrap();
        next_millisecond().await;
        t.store
            .delete_account(north.name.clone(), "eve".into())
            .await
            .unwrap()
            .unwrap();
        let entries = t
            .store
            .audit(&AuditFilter {
                limit: 10,
                ..AuditFilter::default()
            })
            .await
            .unwrap();
        let told: Vec<_> = entries
            .iter()
            .rev()
            .map(|entry| {
                (
                    entry.event.action(),
                    entry.actor.as_str(),
                    entry.account.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                (Action::AccountRegistered, "ann", Some("north")),
                (Action::AccountUpdated, "bob", Some("north")),
                (Action::AccountDeleted, "eve", Some("north")),
            ]
        );
    })
    .await;
}
