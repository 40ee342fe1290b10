# The role that Slipway works as. Its policy is docs/role-policy.json; tests/deployment.py compares them.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "name" {
  description = "The name of the role and of its policies."
  type        = string
  default     = "slipway"
}

variable "service" {
  description = "Who assumes the role: ec2.amazonaws.com, ecs-tasks.amazonaws.com or pods.eks.amazonaws.com."
  type        = string

  validation {
    condition     = contains(["ec2.amazonaws.com", "ecs-tasks.amazonaws.com", "pods.eks.amazonaws.com"], var.service)
    error_message = "Must be ec2.amazonaws.com, ecs-tasks.amazonaws.com or pods.eks.amazonaws.com."
  }
}

variable "policy" {
  description = "The role's policy, as `slipway role-policy` prints it with your settings. Needed only if they change the group, path or policy name, or for registered accounts."
  type        = string
  default     = null
}

data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

locals {
  variables = {
    account_id = data.aws_caller_identity.this.account_id
    partition  = data.aws_partition.this.partition
  }
  policy = var.policy != null ? var.policy : templatefile("${path.module}/policy.json.tftpl", local.variables)
}

resource "aws_iam_role" "this" {
  name = var.name
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = var.service }
      # EKS Pod Identity also tags the session.
      Action = var.service == "pods.eks.amazonaws.com" ? ["sts:AssumeRole", "sts:TagSession"] : ["sts:AssumeRole"]
    }]
  })
}

# An inline policy may have 10,240 characters, a managed one 6,144.
resource "aws_iam_role_policy" "this" {
  name   = var.name
  role   = aws_iam_role.this.id
  policy = jsonencode(jsondecode(local.policy))
}

output "name" {
  description = "The name of the role."
  value       = aws_iam_role.this.name
}

output "arn" {
  description = "The ARN of the role."
  value       = aws_iam_role.this.arn
}
