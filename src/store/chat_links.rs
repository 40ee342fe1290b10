//! Chat users that are linked to people. Invariant: a code links one chat user, once.

use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::audit::AuditEvent;
use crate::domain::caller::{CallerIdentity, Person};
use crate::domain::chat::{ChatLink, ChatUser};
use crate::domain::session::Session;
use crate::store::audit;
use crate::store::audit::Subject;
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::rows::RowReader;
use crate::store::scope;
use crate::store::sql::Sql;

const COLUMNS: &str = "SELECT id, platform, team, chat_user, issuer, subject, name, display_name, role, scope, created_at, signed_in_at FROM chat_links";

/// A chat user who wants to be linked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatCode {
    /// The chat user.
    pub user: ChatUser,
    /// What the platform calls the user.
    pub user_name: String,
    /// Until when the code can be used.
    pub expires_at: Timestamp,
}

impl Store {
    /// Records the hash of a code. Earlier codes of the chat user end.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn add_chat_code(&self, hash: String, code: ChatCode) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    let ChatCode {
                        user,
                        user_name,
                        expires_at,
                    } = code;
                    let mut sql = Sql::new("DELETE FROM chat_codes WHERE expires_at <= ");
                    sql.bind(now.millis())?.push(" OR (");
                    of_user(&mut sql, &user)?;
                    sql.push(")");
                    sql.then(db, "INSERT INTO chat_codes (hash, platform, team, chat_user, user_name, expires_at) VALUES (")
                        .list([hash, user.platform.to_string(), user.team, user.user, user_name])?
                        .push(", ")
                        .bind(expires_at.millis())?
                        .push(")");
                    sql.run(db).await.map(drop)
                })
            })
            .await
    }

    /// Who wants to be linked by the code with this hash.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn chat_code(&self, hash: &str) -> Result<Option<ChatCode>, StoreError> {
        let mut sql = Sql::new(
            "SELECT hash, platform, team, chat_user, user_name, expires_at FROM chat_codes WHERE hash = ",
        );
        sql.bind(hash.to_owned())?.push(" AND expires_at > ");
        sql.bind(self.clock.now().millis())?;
        let row = sql
            .query()
            .fetch_optional(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        row.as_ref().map(read_code).transpose()
    }

    /// Ties the chat user of a code to a person, and uses the code up. `None` if there is no such code.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn link_chat_user(
        &self,
        hash: String,
        id: Ulid,
        person: Session,
    ) -> Result<Option<ChatLink>, StoreError> {
        let now = self.clock.now();
        self.writer
            .write(move |db| Box::pin(async move { link(db, &hash, id, person, now).await }))
            .await
    }

    /// The link of a chat user.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn chat_link(&self, user: &ChatUser) -> Result<Option<ChatLink>, StoreError> {
        let mut sql = Sql::new(&format!("{COLUMNS} WHERE "));
        of_user(&mut sql, user)?;
        let row = sql
            .query()
            .fetch_optional(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// The links, the newest first: all, or those of one person.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn chat_links(&self, of: Option<&Person>) -> Result<Vec<ChatLink>, StoreError> {
        let mut sql = Sql::new(COLUMNS);
        if let Some(person) = of {
            sql.push(" WHERE ");
            of_person(&mut sql, person)?;
        }
        sql.push(" ORDER BY id DESC");
        let rows = sql
            .query()
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        rows.iter().map(read).collect()
    }

    /// Ends a link; `false` if there is none by this id.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn unlink_chat_user(&self, id: Ulid, by: &str) -> Result<bool, StoreError> {
        let (now, by) = (self.clock.now(), by.to_owned());
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    let mut sql = Sql::new("DELETE FROM chat_links WHERE id = ");
                    sql.bind(id.to_string())?;
                    Ok(end(db, sql, &by, now).await? > 0)
                })
            })
            .await
    }

    /// Gives the links of a person the role and scope of a sign-in.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn renew_chat_links(&self, session: &Session) -> Result<(), StoreError> {
        let session = session.clone();
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    let mut sql = Sql::default();
                    renew(db, &mut sql, &session)?;
                    sql.run(db).await.map(drop)
                })
            })
            .await
    }

    /// Ends the links of a person. Returns their number.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn unlink_person(&self, person: Person, by: &str) -> Result<usize, StoreError> {
        let (now, by) = (self.clock.now(), by.to_owned());
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    let mut sql = Sql::new("DELETE FROM chat_links WHERE ");
                    of_person(&mut sql, &person)?;
                    end(db, sql, &by, now).await
                })
            })
            .await
    }
}

/// Adds the statement by which the links of a person get the role and scope of a sign-in.
pub(super) fn renew(
    db: &AnyConnection,
    sql: &mut Sql,
    session: &Session,
) -> Result<(), StoreError> {
    sql.then(db, "UPDATE chat_links SET role = ")
        .bind(session.role.to_string())?
        .push(", scope = ")
        .bind(scope::column(&session.scope)?)?
        .push(", name = ")
        .bind(session.name.clone())?
        .push(", display_name = ")
        .bind(session.identity.name.clone())?
        .push(", signed_in_at = ")
        .bind(session.created_at.millis())?
        .push(" WHERE ");
    of_person(sql, &session.person())
}

fn of_user(sql: &mut Sql, user: &ChatUser) -> Result<(), StoreError> {
    sql.push("platform = ")
        .bind(user.platform.to_string())?
        .push(" AND team = ")
        .bind(user.team.clone())?
        .push(" AND chat_user = ")
        .bind(user.user.clone())?;
    Ok(())
}

fn of_person(sql: &mut Sql, person: &Person) -> Result<(), StoreError> {
    sql.push("issuer = ")
        .bind(person.issuer.clone())?
        .push(" AND subject = ")
        .bind(person.subject.clone())?;
    Ok(())
}

async fn link(
    db: &mut AnyConnection,
    hash: &str,
    id: Ulid,
    person: Session,
    now: Timestamp,
) -> Result<Option<ChatLink>, StoreError> {
    let mut sql = Sql::new("DELETE FROM chat_codes WHERE hash = ");
    sql.bind(hash.to_owned())?.push(" AND expires_at > ");
    sql.bind(now.millis())?
        .push(" RETURNING hash, platform, team, chat_user, user_name, expires_at");
    let used = sql.run(&mut *db).await?;
    let Some(code) = used.first().map(read_code).transpose()? else {
        return Ok(None);
    };
    let mut sql = Sql::new("DELETE FROM chat_links WHERE ");
    of_user(&mut sql, &code.user)?;
    end(db, sql, &person.name, now).await?;
    let link = ChatLink {
        id,
        user: code.user,
        identity: person.identity,
        name: person.name,
        role: person.role,
        scope: person.scope,
        created_at: now,
        signed_in_at: now,
    };
    let mut sql = Sql::default();
    insert(&mut sql, &link)?;
    let event = AuditEvent::ChatUserLinked {
        platform: link.user.platform,
        team: link.user.team.clone(),
        user: link.user.user.clone(),
        name: link.name.clone(),
    };
    let events = [(now, event)];
    audit::record(db, &mut sql, Subject::Service, Some(&link.name), &events)?;
    sql.run(db).await?;
    Ok(Some(link))
}

fn insert(sql: &mut Sql, link: &ChatLink) -> Result<(), StoreError> {
    sql.push("INSERT INTO chat_links (id, platform, team, chat_user, issuer, subject, name, role, display_name, scope, created_at, signed_in_at) VALUES (");
    sql.list([
        link.id.to_string(),
        link.user.platform.to_string(),
        link.user.team.clone(),
        link.user.user.clone(),
        link.identity.issuer.clone(),
        link.identity.subject.clone(),
        link.name.clone(),
        link.role.to_string(),
    ])?;
    sql.push(", ").bind(link.identity.name.clone())?;
    sql.push(", ").bind(scope::column(&link.scope)?)?;
    sql.push(", ")
        .list([link.created_at.millis(), link.signed_in_at.millis()])?
        .push(")");
    Ok(())
}

/// Runs a statement that deletes links, and records the end of each. Returns how many there were.
async fn end(
    db: &mut AnyConnection,
    mut delete: Sql,
    by: &str,
    now: Timestamp,
) -> Result<usize, StoreError> {
    delete.push(" RETURNING id, platform, team, chat_user, name");
    let rows = delete.run(&mut *db).await?;
    let event = |row: &AnyRow| {
        let row = RowReader::new(row, "chat_links", "id");
        let event = AuditEvent::ChatUserUnlinked {
            platform: row.parsed("platform")?,
            team: row.plain("team")?,
            user: row.plain("chat_user")?,
            name: row.plain("name")?,
        };
        Ok((now, event))
    };
    let events: Vec<_> = rows.iter().map(event).collect::<Result<_, StoreError>>()?;
    if !events.is_empty() {
        let mut sql = Sql::default();
        audit::record(db, &mut sql, Subject::Service, Some(by), &events)?;
        sql.run(db).await?;
    }
    Ok(events.len())
}

fn user_of(row: &RowReader<'_>) -> Result<ChatUser, StoreError> {
    Ok(ChatUser {
        platform: row.parsed("platform")?,
        team: row.plain("team")?,
        user: row.plain("chat_user")?,
    })
}

fn read_code(row: &AnyRow) -> Result<ChatCode, StoreError> {
    let row = RowReader::new(row, "chat_codes", "hash");
    Ok(ChatCode {
        user: user_of(&row)?,
        user_name: row.plain("user_name")?,
        expires_at: row.moment("expires_at")?,
    })
}

fn read(row: &AnyRow) -> Result<ChatLink, StoreError> {
    let row = RowReader::new(row, "chat_links", "id");
    Ok(ChatLink {
        id: row.id("id")?,
        user: user_of(&row)?,
        identity: CallerIdentity {
            issuer: row.plain("issuer")?,
            subject: row.plain("subject")?,
            name: row.plain("display_name")?,
            run_url: None,
        },
        name: row.plain("name")?,
        role: row.parsed("role")?,
        scope: row.json_or_null("scope")?.unwrap_or_default(),
        created_at: row.moment("created_at")?,
        signed_in_at: row.moment("signed_in_at")?,
    })
}
