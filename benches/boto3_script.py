"""The strongest rival: the same app by a careful boto3 script that may be run again. Usage: APP"""

import json
import sys

import boto3

app, region = sys.argv[1], "us-west-2"
iam, s3, ecr, sts = (boto3.client(name, region_name=region) for name in ("iam", "s3", "ecr", "sts"))
account = sts.get_caller_identity()["Account"]
bucket, policy = f"{app}-media-{account}", f"arn:aws:iam::{account}:policy/MediaManagement"
actions = """ListBucket DeleteObjectTagging GetBucketTagging DeleteObjectVersion GetObjectVersionTagging
    PutObjectVersionTagging DeleteObjectVersionTagging GetBucketVersioning GetBucketAcl PutObject GetObjectAcl GetObject
    GetBucketCORS GetObjectVersionAcl PutBucketAcl PutObjectTagging DeleteObject GetBucketLocation PutObjectAcl
    GetObjectVersion""".split()
media = {"Effect": "Allow", "Action": [f"s3:{a}" for a in actions], "Resource": ["arn:aws:s3:::*", "arn:aws:s3:::*/*"]}
cors = [{"AllowedOrigins": ["*"], "AllowedHeaders": ["Authorization"], "MaxAgeSeconds": 3000,
         "AllowedMethods": ["GET"]},
        {"AllowedOrigins": [f"https://{app}.herokuapp.com"], "AllowedHeaders": ["*"], "MaxAgeSeconds": 3000,
         "AllowedMethods": ["PUT", "POST", "DELETE"], "ExposeHeaders": ["x-amz-server-side-encryption", "ETag"]}]
aged = {"tagStatus": "tagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 3}
picks = [{"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 1}]
picks += [{**aged, "tagPrefixList": [prefix]} for prefix in ["testing", "builder", *"0123456789abcdef"]]
rules = [{"rulePriority": n, "selection": pick, "action": {"type": "expire"}} for n, pick in enumerate(picks, 1)]


def ensure(create, exists, **arguments):
    try:
        create(**arguments)
    except exists:
        pass


ensure(iam.create_group, iam.exceptions.EntityAlreadyExistsException, GroupName="Apps")
ensure(iam.create_policy, iam.exceptions.EntityAlreadyExistsException, PolicyName="MediaManagement",
       PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [media]}))
ensure(iam.create_user, iam.exceptions.EntityAlreadyExistsException, UserName=app, Path="/apps/")
iam.add_user_to_group(UserName=app, GroupName="Apps")
iam.attach_user_policy(UserName=app, PolicyArn=policy)
ensure(s3.create_bucket, s3.exceptions.BucketAlreadyOwnedByYou, Bucket=bucket,
       ObjectOwnership="BucketOwnerEnforced", CreateBucketConfiguration={"LocationConstraint": region})
s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=dict.fromkeys(
    ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True))
s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": cors})
ensure(ecr.create_repository, ecr.exceptions.RepositoryAlreadyExistsException, repositoryName=app)
ecr.put_lifecycle_policy(repositoryName=app, lifecyclePolicyText=json.dumps({"rules": rules}))
if not iam.list_access_keys(UserName=app)["AccessKeyMetadata"]:
    key = iam.create_access_key(UserName=app)["AccessKey"]
    print(f"AWS_ACCESS_KEY_ID={key['AccessKeyId']}\nAWS_SECRET_ACCESS_KEY={key['SecretAccessKey']}")
