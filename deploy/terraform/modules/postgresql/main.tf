# PostgreSQL on Amazon RDS for several replicas, and the secret with its URL. The password is in neither the plan nor the
# state: it is made while Terraform applies, and written to RDS and to the secret alone.

terraform {
  required_version = ">= 1.11"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.98"
    }
  }
}

variable "name" {
  description = "The name of the database server and of the secret."
  type        = string
  default     = "slipway"
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets in at least two availability zones."
  type        = list(string)
}

variable "client_security_group_id" {
  description = "The security group of the replicas, which alone reaches the database."
  type        = string
}

variable "instance_class" {
  description = "The size of the server."
  type        = string
  default     = "db.t4g.small"
}

variable "multi_az" {
  description = "Whether there is a standby in another availability zone."
  type        = bool
  default     = true
}

variable "backup_retention_days" {
  description = "How long automatic backups are kept; point-in-time recovery reaches as far."
  type        = number
  default     = 14
}

variable "password_version" {
  description = "Raise it to change the password. Replace the replicas afterwards."
  type        = number
  default     = 1
}

ephemeral "aws_secretsmanager_random_password" "this" {
  password_length     = 40
  exclude_punctuation = true
}

resource "aws_db_subnet_group" "this" {
  name       = var.name
  subnet_ids = var.subnet_ids
}

resource "aws_security_group" "this" {
  name        = "${var.name}-postgresql"
  description = "Slipway's database"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "this" {
  security_group_id            = aws_security_group.this.id
  referenced_security_group_id = var.client_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
}

resource "aws_db_instance" "this" {
  identifier                = var.name
  engine                    = "postgres"
  engine_version            = "16"
  instance_class            = var.instance_class
  allocated_storage         = 20
  max_allocated_storage     = 100
  storage_type              = "gp3"
  storage_encrypted         = true
  db_name                   = "slipway"
  username                  = "slipway"
  password_wo               = ephemeral.aws_secretsmanager_random_password.this.random_password
  password_wo_version       = var.password_version
  db_subnet_group_name      = aws_db_subnet_group.this.name
  vpc_security_group_ids    = [aws_security_group.this.id]
  multi_az                  = var.multi_az
  backup_retention_period   = var.backup_retention_days
  deletion_protection       = true
  skip_final_snapshot       = false
  final_snapshot_identifier = "${var.name}-final"
  copy_tags_to_snapshot     = true
}

resource "aws_secretsmanager_secret" "url" {
  name        = "${var.name}/database-url"
  description = "SLIPWAY_DATABASE_URL"
}

resource "aws_secretsmanager_secret_version" "url" {
  secret_id                = aws_secretsmanager_secret.url.id
  secret_string_wo         = "postgres://slipway:${ephemeral.aws_secretsmanager_random_password.this.random_password}@${aws_db_instance.this.endpoint}/slipway?sslmode=require"
  secret_string_wo_version = var.password_version
}

output "url_secret_arn" {
  description = "The ARN of the secret with SLIPWAY_DATABASE_URL."
  value       = aws_secretsmanager_secret.url.arn
}
