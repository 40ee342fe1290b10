//! Requests of chat users, and who they are.

use slipway::domain::caller::CallerIdentity;
use slipway::domain::chat::{ChatUser, Platform};
use slipway::domain::session::Session;
use slipway::store::{ChatCode, ChatRequestState, NewChatRequest, NewSession};

use super::*;

const SPAN: Duration = Duration::from_secs(60);

fn user(name: &str) -> ChatUser {
    ChatUser {
        platform: Platform::Slack,
        team: "T1".into(),
        user: name.into(),
    }
}

fn request(key: &str) -> NewChatRequest {
    NewChatRequest {
        key: key.into(),
        user: user("U1"),
        channel: "C1".into(),
        command: "status".into(),
        response_url: Some("https://hooks.slack.com/1".into()),
    }
}

#[tokio::test]
async fn a_request_is_recorded_once_and_has_one_worker() {
    each(async |t| {
        assert!(t.store.accept_chat_request(request("1")).await.unwrap());
        assert!(!t.store.accept_chat_request(request("1")).await.unwrap());
        t.clock.advance(Duration::from_secs(1));
        assert!(t.store.accept_chat_request(request("2")).await.unwrap());
        let mut claimed = t.store.claim_chat_requests(1, SPAN).await.unwrap();
        let mut first = claimed.remove(0);
        assert_eq!(
            (first.state, first.command.as_str()),
            (ChatRequestState::Received, "status")
        );
        assert_eq!((&first.user, claimed.len()), (&user("U1"), 0));
        let second = t
            .store
            .claim_chat_requests(9, SPAN)
            .await
            .unwrap()
            .remove(0);
        assert_ne!(first.id, second.id);
        assert!(
            t.store
                .claim_chat_requests(9, SPAN)
                .await
                .unwrap()
                .is_empty()
        );

        // Who goes on keeps the lease. Who has lost it writes nothing.
        let job = Ulid::generate();
        first.job = Some(job);
        first.state = ChatRequestState::Following;
        first.due_at = t.clock.now().after(SPAN);
        t.store.save_chat_request(&first, true).await.unwrap();
        t.store.save_chat_request(&first, false).await.unwrap();
        let lost = t.store.save_chat_request(&first, false).await;
        assert!(matches!(lost, Err(StoreError::LostLease)), "{lost:?}");
        t.clock.advance(SPAN + Duration::from_secs(1));
        let again = t.store.claim_chat_requests(9, SPAN).await.unwrap();
        let mut ids: Vec<Ulid> = again.iter().map(|it| it.id).collect();
        ids.sort_unstable();
        let mut expected = vec![first.id, second.id];
        expected.sort_unstable();
        assert_eq!(ids, expected, "its lease has run out, or it is due");
        let stale = t.store.save_chat_request(&second, false).await;
        assert!(matches!(stale, Err(StoreError::LostLease)), "{stale:?}");

        // A decision brings the message of its job forward. What has ended keeps nothing, and is removed in time.
        for mut held in again {
            let follows = held.job == Some(job);
            held.due_at = t.clock.now().after(10 * SPAN);
            if !follows {
                held.state = ChatRequestState::Ended;
            }
            t.store.save_chat_request(&held, false).await.unwrap();
        }
        let due = async || t.store.chat_due().await.unwrap().unwrap();
        assert!(due().await > t.clock.now().after(9 * SPAN));
        t.store.wake_chat(job).await.unwrap();
        assert!(due().await <= t.clock.now());
        let followed = t.store.claim_chat_requests(9, SPAN).await.unwrap();
        assert_eq!((followed.len(), followed[0].job), (1, Some(job)));
        assert_eq!(t.store.prune_chat_requests(t.clock.now()).await.unwrap(), 1);
        assert!(!t.store.accept_chat_request(request("1")).await.unwrap());
        assert!(t.store.accept_chat_request(request("2")).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_code_ties_one_chat_user_once_and_a_sign_in_renews_the_link() {
    each(async |t| {
        let code = |name: &str| ChatCode {
            user: user(name),
            user_name: name.into(),
            expires_at: t.clock.now().after(MINUTE),
        };
        let now = t.clock.now();
        let ana = Session {
            id: Ulid::generate(),
            name: "oidc:ana#0".into(),
            identity: CallerIdentity {
                issuer: "https://id.example.com".into(),
                subject: "ana".into(),
                name: None,
                run_url: None,
            },
            role: Role::Operator,
            scope: Scope::default(),
            created_at: now,
            authenticated_at: Some(now),
            used_at: now,
            expires_at: now.after(MINUTE),
        };
        t.store
            .add_chat_code("h1".into(), code("U1"))
            .await
            .unwrap();
        t.store
            .add_chat_code("h2".into(), code("U1"))
            .await
            .unwrap();
        assert_eq!(t.store.chat_code("h1").await.unwrap(), None, "replaced");
        let known = t.store.chat_code("h2").await.unwrap();
        assert_eq!(known.map(|code| code.user), Some(user("U1")));
        let link = async |hash: &str| {
            let linked = t
                .store
                .link_chat_user(hash.into(), t.clock.new_id(), ana.clone());
            linked.await.unwrap()
        };
        let linked = link("h2").await.unwrap();
        assert_eq!(link("h2").await, None, "used");
        let known = async || t.store.chat_link(&user("U1")).await.unwrap();
        assert_eq!(known().await.as_ref(), Some(&linked));
        assert_eq!(t.store.chat_link(&user("U2")).await.unwrap(), None);

        // The next sign-in decides, and ties nobody else.
        t.clock.advance(MINUTE);
        let scope = Scope::parse(&json!({"apps": ["acme-*"]}), "").unwrap();
        let later = Session {
            role: Role::Viewer,
            scope: scope.clone(),
            created_at: t.clock.now(),
            ..ana.clone()
        };
        let new = NewSession {
            hash: "s".into(),
            session: later.clone(),
            replaces: None,
        };
        t.store.start_session(new).await.unwrap();
        let renewed = known().await.unwrap();
        assert_eq!(
            (renewed.role, &renewed.scope, renewed.signed_in_at),
            (Role::Viewer, &scope, later.created_at)
        );
        assert_eq!(
            t.store.chat_links(Some(&ana.person())).await.unwrap(),
            [renewed]
        );

        // Another link of the chat user replaces the first one. A code that has expired is none.
        t.store
            .add_chat_code("h3".into(), code("U1"))
            .await
            .unwrap();
        let replaced = link("h3").await.unwrap();
        assert_eq!(
            t.store.chat_links(None).await.unwrap(),
            std::slice::from_ref(&replaced)
        );
        t.store
            .add_chat_code("h4".into(), code("U1"))
            .await
            .unwrap();
        t.clock.advance(2 * MINUTE);
        assert_eq!(link("h4").await, None);
        assert_eq!(t.store.unlink_person(ana.person(), "ana").await.unwrap(), 1);
        assert!(!t.store.unlink_chat_user(replaced.id, "ana").await.unwrap());
    })
    .await;
}
