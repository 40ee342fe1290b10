#!/usr/bin/env bash
# The guide, typed: the AWS CLI commands for one app, in the guide's order, and the repository
# that its last command needs. Prints the app's environment. Usage: guide.sh APP
set -euo pipefail

app=$1
region=us-west-2
account=$(aws sts get-caller-identity --query Account --output text)
bucket=$app-media-$account

media_management() {
  local actions="ListBucket DeleteObjectTagging GetBucketTagging DeleteObjectVersion GetObjectVersionTagging
    PutObjectVersionTagging DeleteObjectVersionTagging GetBucketVersioning GetBucketAcl PutObject GetObjectAcl
    GetObject GetBucketCORS GetObjectVersionAcl PutBucketAcl PutObjectTagging DeleteObject GetBucketLocation
    PutObjectAcl GetObjectVersion"
  actions=$(printf ',"s3:%s"' $actions)
  printf '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":[%s' "${actions#,}"
  printf '],"Resource":["arn:aws:s3:::*","arn:aws:s3:::*/*"]}]}'
}

cors() {
  cat <<JSON
{"CORSRules": [
  {"AllowedOrigins": ["*"], "AllowedHeaders": ["Authorization"], "AllowedMethods": ["GET"], "MaxAgeSeconds": 3000},
  {"AllowedOrigins": ["https://$app.herokuapp.com"], "AllowedHeaders": ["*"],
   "AllowedMethods": ["PUT", "POST", "DELETE"], "ExposeHeaders": ["x-amz-server-side-encryption"],
   "MaxAgeSeconds": 3000}]}
JSON
}

lifecycle() {
  local priority=1 prefix
  printf '{"rules":[{"rulePriority":1,"selection":{"tagStatus":"untagged","countType":"imageCountMoreThan",'
  printf '"countNumber":1},"action":{"type":"expire"}}'
  for prefix in testing builder 0 1 2 3 4 5 6 7 8 9 a b c d e f; do
    printf ',{"rulePriority":%d,"selection":{"tagStatus":"tagged","tagPrefixList":["%s"],' $((++priority)) $prefix
    printf '"countType":"sinceImagePushed","countUnit":"days","countNumber":3},"action":{"type":"expire"}}'
  done
  printf ']}'
}

# Once per account, so it is there for the second app.
aws iam create-group --group-name Apps >/dev/null 2>&1 || true
aws iam create-user --user-name "$app" --path /apps/ >/dev/null
aws iam add-user-to-group --user-name "$app" --group-name Apps
key=$(aws iam create-access-key --user-name "$app" --query 'AccessKey.[AccessKeyId,SecretAccessKey]' --output text)

policy=$(aws iam list-policies --scope Local --query "Policies[?PolicyName=='MediaManagement'].Arn" --output text)
if [ -z "$policy" ]; then
  policy=$(aws iam create-policy --policy-name MediaManagement --policy-document "$(media_management)" \
    --description "Grants access to S3 buckets and objects" --query Policy.Arn --output text)
fi
aws iam attach-user-policy --user-name "$app" --policy-arn "$policy"

aws s3api create-bucket --bucket "$bucket" --acl private --region $region \
  --create-bucket-configuration "LocationConstraint=$region" >/dev/null
aws s3api put-public-access-block --bucket "$bucket" --public-access-block-configuration \
  BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true
aws s3api put-bucket-cors --bucket "$bucket" --cors-configuration "$(cors)"

aws ecr create-repository --repository-name "$app" --region $region >/dev/null
aws ecr put-lifecycle-policy --repository-name "$app" --region $region \
  --lifecycle-policy-text "$(lifecycle)" >/dev/null

read -r id secret <<<"$key"
printf 'AWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\n' "$id" "$secret"
