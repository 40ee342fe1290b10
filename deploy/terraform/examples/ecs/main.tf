# Two tasks on Fargate with PostgreSQL. Create the two secrets first, so that Terraform does not see them:
#
#   aws secretsmanager create-secret --name slipway/encryption-key --secret-string "$(slipway generate-key)"
#   aws secretsmanager create-secret --name slipway/admin-token --secret-string "$(openssl rand -hex 32)"

variable "vpc_id" {
  type = string
}

variable "subnet_ids" {
  type = list(string)
}

variable "cluster_arn" {
  type = string
}

variable "image" {
  type = string
}

variable "load_balancer_security_group_id" {
  type = string
}

variable "target_group_arn" {
  type    = string
  default = null
}

data "aws_secretsmanager_secret" "encryption_key" {
  name = "slipway/encryption-key"
}

data "aws_secretsmanager_secret" "admin_token" {
  name = "slipway/admin-token"
}

resource "aws_security_group" "slipway" {
  name   = "slipway"
  vpc_id = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "slipway" {
  security_group_id            = aws_security_group.slipway.id
  referenced_security_group_id = var.load_balancer_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 8080
  to_port                      = 8080
}

resource "aws_vpc_security_group_egress_rule" "slipway" {
  security_group_id = aws_security_group.slipway.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}

module "role" {
  source  = "../../modules/role"
  service = "ecs-tasks.amazonaws.com"
}

module "postgresql" {
  source                   = "../../modules/postgresql"
  vpc_id                   = var.vpc_id
  subnet_ids               = var.subnet_ids
  client_security_group_id = aws_security_group.slipway.id
}

module "slipway" {
  source            = "../../modules/ecs"
  image             = var.image
  role_arn          = module.role.arn
  cluster_arn       = var.cluster_arn
  subnet_ids        = var.subnet_ids
  security_group_id = aws_security_group.slipway.id
  target_group_arn  = var.target_group_arn
  secrets = {
    SLIPWAY_ENCRYPTION_KEY = data.aws_secretsmanager_secret.encryption_key.arn
    SLIPWAY_ADMIN_TOKEN    = data.aws_secretsmanager_secret.admin_token.arn
    SLIPWAY_DATABASE_URL   = module.postgresql.url_secret_arn
  }
}
