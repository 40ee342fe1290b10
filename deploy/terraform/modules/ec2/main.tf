# Slipway from its Debian package on one EC2 instance, with a SQLite database on a volume of its own.

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
  description = "The name of the instance and of what belongs to it."
  type        = string
  default     = "slipway"
}

variable "role_name" {
  description = "The name of the role that Slipway works as, of the module `role`."
  type        = string
}

variable "package" {
  description = "The Debian package in S3."
  type        = object({ bucket = string, key = string })
}

variable "secrets" {
  description = "The ARNs of the secrets in Secrets Manager, by credential: encryption_key, admin_token and, for PostgreSQL, database_url."
  type        = map(string)

  validation {
    condition     = contains(keys(var.secrets), "encryption_key")
    error_message = "encryption_key is required."
  }
}

variable "subnet_id" {
  description = "A private subnet with a way to AWS's APIs and to Debian's packages."
  type        = string
}

variable "security_group_ids" {
  description = "The security groups of the instance. Let the load balancer that ends TLS reach port 8080, and nobody else."
  type        = list(string)
}

variable "instance_type" {
  description = "The size of the instance."
  type        = string
  default     = "t3.small"
}

variable "volume_size" {
  description = "The size of the database's volume in GiB."
  type        = number
  default     = 10
}

data "aws_region" "this" {}

data "aws_partition" "this" {}

data "aws_subnet" "this" {
  id = var.subnet_id
}

data "aws_ami" "debian" {
  most_recent = true
  owners      = ["136693071363"]

  filter {
    name   = "name"
    values = ["debian-12-amd64-*"]
  }
}

resource "aws_iam_instance_profile" "this" {
  name = var.name
  role = var.role_name
}

# Read while the instance starts; Slipway itself needs neither.
resource "aws_iam_role_policy" "start" {
  name = "${var.name}-start"
  role = var.role_name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = "arn:${data.aws_partition.this.partition}:s3:::${var.package.bucket}/${var.package.key}"
      },
      {
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = values(var.secrets)
      },
    ]
  })
}

resource "aws_ebs_volume" "data" {
  availability_zone = data.aws_subnet.this.availability_zone
  size              = var.volume_size
  type              = "gp3"
  encrypted         = true
  tags              = { Name = "${var.name}-data" }

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_volume_attachment" "data" {
  device_name = "/dev/sdf"
  volume_id   = aws_ebs_volume.data.id
  instance_id = aws_instance.this.id
  # SQLite's file must not be taken away while the service writes to it.
  stop_instance_before_detaching = true
}

resource "aws_instance" "this" {
  ami                         = data.aws_ami.debian.id
  instance_type               = var.instance_type
  subnet_id                   = var.subnet_id
  vpc_security_group_ids      = var.security_group_ids
  iam_instance_profile        = aws_iam_instance_profile.this.name
  user_data_replace_on_change = true
  tags                        = { Name = var.name }

  user_data = templatefile("${path.module}/user-data.sh.tftpl", {
    package = var.package
    secrets = var.secrets
    region  = data.aws_region.this.name
    volume  = replace(aws_ebs_volume.data.id, "-", "")
  })

  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    encrypted = true
  }

  lifecycle {
    ignore_changes = [ami]
  }
}

output "instance_id" {
  description = "The id of the instance."
  value       = aws_instance.this.id
}

output "private_ip" {
  description = "The address that the load balancer forwards to, on port 8080."
  value       = aws_instance.this.private_ip
}
