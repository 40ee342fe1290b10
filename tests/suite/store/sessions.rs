//! Sessions of people who are signed in.

use slipway::domain::audit::SessionEnd;
use slipway::domain::caller::{CallerIdentity, CallerSession};
use slipway::domain::session::Session;
use slipway::store::NewSession;

use super::*;

const ISSUER: &str = "https://id.example.com";
const HOUR: Duration = Duration::from_secs(3600);

fn session(t: &Fixture, subject: &str) -> Session {
    let now = t.clock.now();
    Session {
        id: Ulid::generate(),
        name: format!("oidc:{subject}#0"),
        identity: CallerIdentity {
            issuer: ISSUER.into(),
            subject: subject.into(),
            name: Some("Ana".into()),
            run_url: None,
        },
        role: Role::Operator,
        scope: Scope::parse(&json!({"apps": ["acme-*"]}), "").unwrap(),
        created_at: now,
        authenticated_at: Some(now),
        used_at: now,
        expires_at: now.after(2 * HOUR),
    }
}

async fn start(t: &Fixture, session: &Session, hash: &str, replaces: Option<&str>) {
    let new = NewSession {
        hash: hash.into(),
        session: session.clone(),
        replaces: replaces.map(str::to_owned),
    };
    t.store.start_session(new).await.unwrap();
}

async fn caller(t: &Fixture, hash: &str) -> Option<Caller> {
    t.store
        .caller_by_session_hash(hash, ISSUER, HOUR)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_session_is_known_by_its_hash_until_it_ends() {
    each(async |t| {
        let (first, other) = (session(&t, "ana"), session(&t, "bob"));
        start(&t, &first, "hash-1", None).await;
        start(&t, &other, "hash-2", Some("made up")).await;
        let known = caller(&t, "hash-1").await.unwrap();
        let person = Person {
            issuer: ISSUER.into(),
            subject: "ana".into(),
        };
        assert_eq!(known.person.as_ref(), Some(&person));
        assert_eq!(known.identity.as_ref(), Some(&first.identity));
        assert_eq!((known.role, &known.scope), (first.role, &first.scope));
        let expected = CallerSession {
            id: first.id,
            authenticated_at: first.authenticated_at,
        };
        assert_eq!(known.session, Some(expected));
        assert_eq!(caller(&t, "hash").await, None);
        assert_eq!(
            t.store.sessions(Some(&person), HOUR).await.unwrap(),
            std::slice::from_ref(&first)
        );
        let elsewhere = t
            .store
            .caller_by_session_hash("hash-1", "https://other.example", HOUR);
        assert_eq!(elsewhere.await.unwrap(), None);

        // A use is noted, and does not outlast the end.
        t.clock.advance(HOUR - MINUTE);
        assert!(caller(&t, "hash-1").await.is_some());
        t.clock.advance(MINUTE);
        assert!(t.store.has_session("hash-1", HOUR).await.unwrap());
        assert!(
            !t.store.has_session("hash-2", HOUR).await.unwrap(),
            "unused"
        );
        assert_eq!(t.store.sessions(None, HOUR).await.unwrap().len(), 1);
        assert_eq!(t.store.expire_sessions(HOUR).await.unwrap(), 1);

        let second = session(&t, "ana");
        start(&t, &second, "hash-3", Some("hash-1")).await;
        assert_eq!(caller(&t, "hash-1").await, None, "replaced");
        let end = async || {
            t.store
                .end_session(second.id, "admin", SessionEnd::Revoked)
                .await
                .unwrap()
        };
        assert!(end().await);
        assert!(!end().await, "there is none any more");
        assert_eq!(caller(&t, "hash-3").await, None);
        let told = audit(&t, AuditFilter::default()).await;
        let told: Vec<_> = told
            .iter()
            .rev()
            .map(|entry| (entry.event.action(), entry.actor.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (Action::SessionStarted, "oidc:ana#0"),
                (Action::SessionStarted, "oidc:bob#0"),
                (Action::SessionEnded, "oidc:ana#0"),
                (Action::SessionStarted, "oidc:ana#0"),
                (Action::SessionEnded, "admin"),
            ]
        );
    })
    .await;
}
