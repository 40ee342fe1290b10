use super::*;

#[test]
fn codes_mean_what_aws_documents() {
    use ErrorKind as M;
    for (service, operation, code, status, expected) in [
        (
            Service::Iam,
            "CreateUser",
            "EntityAlreadyExists",
            409,
            M::AlreadyExists,
        ),
        (
            Service::Iam,
            "AttachUserPolicy",
            "NoSuchEntity",
            404,
            M::NotFound,
        ),
        (Service::Iam, "CreateUser", "Throttling", 400, M::Throttled),
        (
            Service::Iam,
            "CreateUser",
            "ConcurrentModification",
            409,
            M::Settling,
        ),
        (
            Service::Iam,
            "CreateAccessKey",
            "LimitExceeded",
            409,
            M::Quota,
        ),
        (Service::Iam, "DeleteUser", "DeleteConflict", 409, M::InUse),
        (Service::S3, "DeleteBucket", "BucketNotEmpty", 409, M::InUse),
        (
            Service::S3,
            "CreateBucket",
            "BucketAlreadyExists",
            409,
            M::Taken,
        ),
        (
            Service::S3,
            "CreateBucket",
            "BucketAlreadyOwnedByYou",
            409,
            M::AlreadyExists,
        ),
        (
            Service::S3,
            "PutBucketCors",
            "OperationAborted",
            409,
            M::Settling,
        ),
        (Service::S3, "PutBucketCors", "SlowDown", 503, M::Throttled),
        (Service::S3, "HeadBucket", "403", 403, M::Denied),
        (Service::S3, "HeadBucket", "NotFound", 404, M::NotFound),
        (Service::S3, "HeadBucket", "503", 503, M::Throttled),
        (
            Service::Iam,
            "GetUser",
            "UnreadableAnswer",
            200,
            M::Transient,
        ),
        (Service::Ecr, "PutLifecyclePolicy", "400", 400, M::Transient),
        (Service::S3, "HeadBucket", "400", 400, M::Rejected),
        (
            Service::Ecr,
            "CreateRepository",
            "LimitExceededException",
            400,
            M::Quota,
        ),
        (
            Service::Ecr,
            "CreateRepository",
            "ThrottlingException",
            400,
            M::Throttled,
        ),
        (
            Service::Ecr,
            "CreateRepository",
            "InvalidParameterException",
            400,
            M::Rejected,
        ),
        (
            Service::Iam,
            "CreateUser",
            "ServiceFailure",
            500,
            M::Transient,
        ),
        (Service::Iam, "CreateUser", "Whatever", 502, M::Transient),
        (
            Service::Iam,
            "CreatePolicy",
            "MalformedPolicyDocument",
            400,
            M::Rejected,
        ),
        (
            Service::Sts,
            "GetCallerIdentity",
            "InvalidClientTokenId",
            403,
            M::BadCredentials,
        ),
    ] {
        assert_eq!(
            error_kind(service, operation, code, Some(status)),
            expected,
            "{service} {operation} {code}"
        );
    }
    assert_eq!(
        error_kind(Service::Iam, "CreateUser", "TimedOut", None),
        M::Transient
    );
}

#[test]
fn a_part_of_a_call_is_refused_by_its_code_alone() {
    let part = |code| AwsError::of_part(Service::S3, "DeleteObjects", code, "a.txt".into());
    for (code, expected) in [
        ("AccessDenied", ErrorKind::Denied),
        ("SlowDown", ErrorKind::Throttled),
        ("InternalError", ErrorKind::Transient),
        ("Whatever", ErrorKind::Rejected),
    ] {
        assert_eq!(part(code).kind, expected, "{code}");
    }
    assert_eq!(
        part("AccessDenied").to_string(),
        "s3:DeleteObjects failed with AccessDenied: a.txt"
    );
}
