//! Sets and deletes console passwords.

use aws_config::retry::RetryConfig;
use secrecy::ExposeSecret as _;

use super::resource::LoginProfile;
use crate::aws::{AwsError, ErrorKind, Service};
use crate::domain::console_password::PasswordRecord;
use crate::domain::job::{JobError, JobErrorCode};
use crate::domain::names::AppName;
use crate::provision::change::Applied;
use crate::provision::context::ReconcileContext;
use crate::provision::fault::Fault;
use crate::provision::ids;

impl LoginProfile {
    pub(super) async fn create(
        &self,
        cx: &ReconcileContext,
        recorded: Option<&PasswordRecord>,
    ) -> Result<Applied, Fault> {
        // Wait for the rate limiter before the intent is recorded: after that, only the call itself takes time.
        let operation = "CreateLoginProfile";
        cx.account
            .acquire(Service::Iam, operation, cx.timing.turn)
            .await?;
        let store = cx.keys.store()?;
        let record = match recorded {
            Some(recorded) => {
                store.intend_password_again(recorded.id).await?;
                recorded.clone()
            }
            None => {
                store
                    .intend_password(self.user.clone(), self.length)
                    .await?
            }
        };
        let password = store.password(&record).await?;
        let password = password.ok_or_else(|| destroyed(&self.user))?;
        // A second attempt within the SDK would meet the result of the first.
        let once = aws_sdk_iam::config::Config::builder().retry_config(RetryConfig::disabled());
        let call = cx
            .account
            .iam()
            .create_login_profile()
            .user_name(self.user.as_str())
            .password(password.expose_secret())
            .password_reset_required(true)
            .customize()
            .config_override(once)
            .send();
        match cx.call_at_once(Service::Iam, operation, call).await {
            Ok(_) => {
                store.confirm_password(record.id).await?;
                cx.note_created(self.id_of_it());
                Ok(Applied::Done)
            }
            Err(error) => {
                self.not_created(cx, &record, recorded.is_some(), error)
                    .await
            }
        }
    }

    /// A refused create of a new record had no effect, so the record is closed. That of an earlier attempt may have had.
    async fn not_created(
        &self,
        cx: &ReconcileContext,
        record: &PasswordRecord,
        is_earlier: bool,
        error: AwsError,
    ) -> Result<Applied, Fault> {
        let is_refused = error.had_no_effect();
        let violates = error.code == "PasswordPolicyViolation";
        if is_refused && (!is_earlier || violates) {
            let gone = vec![record.credential.clone()];
            cx.keys.store()?.gone(gone).await?;
        }
        match error.kind {
            ErrorKind::AlreadyExists => Ok(Applied::MetExisting),
            _ if violates => Err(violation(&self.user, &error)),
            ErrorKind::NotFound => Err(cx.missing_after_create(&ids::user(&self.user), error)),
            _ => Err(error.into()),
        }
    }

    /// Sets the recorded password of a profile that an attempt created without hearing of it.
    pub(super) async fn set_again(
        &self,
        cx: &ReconcileContext,
        recorded: &PasswordRecord,
    ) -> Result<Applied, Fault> {
        let store = cx.keys.store()?;
        let password = store.password(recorded).await?;
        let password = password.ok_or_else(|| destroyed(&self.user))?;
        let call = cx
            .account
            .iam()
            .update_login_profile()
            .user_name(self.user.as_str())
            .password(password.expose_secret())
            .password_reset_required(true)
            .send();
        match cx.call(Service::Iam, "UpdateLoginProfile", call).await {
            Ok(_) => {
                store.confirm_password(recorded.id).await?;
                cx.note_created_by_app(&self.id_of_it());
                Ok(Applied::Done)
            }
            Err(error) if error.kind == ErrorKind::NotFound => Err(Fault::Wait {
                why: error.to_string(),
                after: cx.timing.poll_delay,
            }),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn delete(
        &self,
        cx: &ReconcileContext,
        gone: &[String],
    ) -> Result<Applied, Fault> {
        let call = cx.account.iam().delete_login_profile();
        let call = call.user_name(self.user.as_str()).send();
        let applied = Applied::gone(cx.call(Service::Iam, "DeleteLoginProfile", call).await)?;
        self.forget(cx, gone).await?;
        Ok(applied)
    }

    pub(super) async fn forget(&self, cx: &ReconcileContext, gone: &[String]) -> Result<(), Fault> {
        match gone.is_empty() {
            true => Ok(()),
            false => cx.keys.store()?.gone(gone.to_vec()).await,
        }
    }
}

/// A job was left for so long that its password expired before AWS confirmed it.
fn destroyed(user: &AppName) -> Fault {
    Fault::Blocked(JobError::new(
        JobErrorCode::CredentialInDoubt,
        format!(
            "The response to CreateLoginProfile for user {user} was lost, and its password has been destroyed since. The user may have a console password that nobody knows."
        ),
        format!(
            "Delete the console password, if there is one (aws iam delete-login-profile --user-name {user}), then retry the job."
        ),
    ))
}

fn violation(user: &AppName, error: &AwsError) -> Fault {
    Fault::Rejected(JobError {
        code: JobErrorCode::Rejected,
        detail: format!(
            "The generated password of user {user} violates the password policy of the account: {}",
            error.message
        ),
        remedy: Some("Set password_policy.minimum_length in the set-up to the length that the account requires, so that longer passwords are generated.".into()),
        retryable: false,
        aws: Some(error.refusal()),
    })
}
