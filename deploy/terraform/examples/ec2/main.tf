# One instance with SQLite. Create the two secrets first, so that Terraform does not see them:
#
#   aws secretsmanager create-secret --name slipway/encryption-key --secret-string "$(slipway generate-key)"
#   aws secretsmanager create-secret --name slipway/admin-token --secret-string "$(openssl rand -hex 32)"

variable "vpc_id" {
  type = string
}

variable "subnet_id" {
  type = string
}

variable "load_balancer_security_group_id" {
  type = string
}

variable "package" {
  type = object({ bucket = string, key = string })
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
  service = "ec2.amazonaws.com"
}

module "slipway" {
  source             = "../../modules/ec2"
  role_name          = module.role.name
  package            = var.package
  subnet_id          = var.subnet_id
  security_group_ids = [aws_security_group.slipway.id]
  secrets = {
    encryption_key = data.aws_secretsmanager_secret.encryption_key.arn
    admin_token    = data.aws_secretsmanager_secret.admin_token.arn
  }
}
