//! What the AWS in memory has that emulators have not.
