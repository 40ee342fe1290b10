//! API tokens.

use super::*;

#[tokio::test]
async fn a_token_is_known_by_its_hash_until_it_is_revoked() {
    each(async |t| {
        let token = t
            .store
            .create_token("deploy-bot", Role::Operator, "hash-1".into(), "admin")
            .await
            .unwrap();
        next_millisecond().await;
        let other = t
            .store
            .create_token("board", Role::Viewer, "hash-2".into(), "admin")
            .await
            .unwrap();
        let caller = Caller {
            id: token.id.to_string(),
            name: "deploy-bot".into(),
            role: Role::Operator,
            scope: Scope::default(),
            identity: None,
            person: Some(Person::holder_of(&token.id.to_string())),
            expires_at: None,
            session: None,
            proposes: false,
        };
        assert_eq!(
            t.store.caller_by_token_hash("hash-1").await.unwrap(),
            Some(caller)
        );
        assert_eq!(t.store.caller_by_token_hash("hash").await.unwrap(), None);
        assert_eq!(
            t.store.tokens().await.unwrap(),
            [token.clone(), other.clone()]
        );
        assert!(
            t.store
                .create_token("copy", Role::Admin, "hash-1".into(), "admin")
                .await
                .is_err()
        );
        assert!(t.store.delete_token(token.id, "admin").await.unwrap());
        assert!(!t.store.delete_token(token.id, "admin").await.unwrap());
        assert_eq!(t.store.caller_by_token_hash("hash-1").await.unwrap(), None);
        assert_eq!(t.store.tokens().await.unwrap(), [other]);
    })
    .await;
}
