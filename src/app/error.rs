//! Why a use case fails.

use crate::aws::AwsError;
use crate::domain::validation::FieldError;
use crate::store::{Refusal, StoreError};

/// Why a use case fails.
#[derive(Debug, thiserror::Error)]
pub enum UseCaseError {
    /// Something that the request names does not exist.
    #[error("there is no {0}")]
    NoSuch(&'static str),
    /// The request has invalid fields.
    #[error("one or more fields are invalid")]
    Fields(Vec<FieldError>),
    /// The state of the app or its jobs does not allow it.
    #[error("refused: {0:?}")]
    Refused(Refusal),
    /// AWS returned an error.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The database is not available.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Refusal> for UseCaseError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
