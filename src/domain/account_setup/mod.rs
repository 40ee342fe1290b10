//! The set-up of an account: its alias, groups, people, password policy and access to billing.

mod parse;
mod request;
mod spec;

pub use self::parse::SetupPlace;
pub use self::request::{BillingRequest, PersonRequest, SetupGroupRequest, SetupRequestBody};
pub use self::spec::{
    ADMINISTRATOR_ACCESS, AccountSetup, BILLING_POLICIES, Billing, BillingAttestation,
    PasswordPolicy, Person, SetupGroup, SetupSpec,
};

#[cfg(test)]
mod tests;
