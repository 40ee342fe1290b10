# Slipway on ECS with Fargate. A task's disk ends with the task, so it needs PostgreSQL.

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
  description = "The name of the service and of what belongs to it."
  type        = string
  default     = "slipway"
}

variable "image" {
  description = "The image, such as 111122223333.dkr.ecr.us-west-2.amazonaws.com/slipway:0.2.0."
  type        = string
}

variable "role_arn" {
  description = "The ARN of the role that Slipway works as, of the module `role`."
  type        = string
}

variable "secrets" {
  description = "The ARNs of the secrets in Secrets Manager, by variable: SLIPWAY_ENCRYPTION_KEY, SLIPWAY_ADMIN_TOKEN and SLIPWAY_DATABASE_URL."
  type        = map(string)

  validation {
    condition     = alltrue([for name in ["SLIPWAY_ENCRYPTION_KEY", "SLIPWAY_DATABASE_URL"] : contains(keys(var.secrets), name)])
    error_message = "SLIPWAY_ENCRYPTION_KEY and SLIPWAY_DATABASE_URL are required."
  }
}

variable "environment" {
  description = "Settings that are no secrets, by variable."
  type        = map(string)
  default     = {}
}

variable "cluster_arn" {
  description = "The ECS cluster."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets with a way to AWS's APIs."
  type        = list(string)
}

variable "security_group_id" {
  description = "The security group of the tasks."
  type        = string
}

variable "target_group_arn" {
  description = "The target group of a load balancer that ends TLS, if there is one."
  type        = string
  default     = null
}

variable "replicas" {
  description = "How many tasks run."
  type        = number
  default     = 2
}

variable "cpu" {
  description = "CPU units of a task."
  type        = number
  default     = 256
}

variable "memory" {
  description = "Memory of a task in MiB."
  type        = number
  default     = 512
}

variable "architecture" {
  description = "X86_64 or ARM64, as the image was built."
  type        = string
  default     = "X86_64"
}

data "aws_region" "this" {}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/ecs/${var.name}"
  retention_in_days = 90
}

# ECS itself works as this role: it reads the secrets, fetches the image and writes the log.
resource "aws_iam_role" "execution" {
  name = "${var.name}-execution"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy_attachment" "execution" {
  role       = aws_iam_role.execution.name
  policy_arn = "arn:${data.aws_partition.this.partition}:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
}

data "aws_partition" "this" {}

resource "aws_iam_role_policy" "secrets" {
  name = "secrets"
  role = aws_iam_role.execution.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      Action = "secretsmanager:GetSecretValue"
      # A reference to one key of a secret has more parts than the secret's ARN.
      Resource = [for arn in distinct(values(var.secrets)) : join(":", slice(split(":", arn), 0, 7))]
    }]
  })
}

resource "aws_ecs_task_definition" "this" {
  family                   = var.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory
  task_role_arn            = var.role_arn
  execution_role_arn       = aws_iam_role.execution.arn

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture
  }

  container_definitions = jsonencode([{
    name                   = "slipway"
    image                  = var.image
    essential              = true
    readonlyRootFilesystem = true
    user                   = "65532:65532"
    portMappings           = [{ containerPort = 8080 }]
    environment = [for name, value in merge({ SLIPWAY_LISTEN = "0.0.0.0:8080", AWS_REGION = data.aws_region.this.name }, var.environment) :
      { name = name, value = value }
    ]
    secrets     = [for name, arn in var.secrets : { name = name, valueFrom = arn }]
    healthCheck = { command = ["CMD", "/usr/local/bin/slipway", "health"], startPeriod = 30 }
    # Longer than SLIPWAY_SHUTDOWN_TIMEOUT, in which jobs in progress end or are handed back.
    stopTimeout     = 40
    linuxParameters = { capabilities = { drop = ["ALL"] } }
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.this.name
        awslogs-region        = data.aws_region.this.name
        awslogs-stream-prefix = "slipway"
      }
    }
  }])
}

resource "aws_ecs_service" "this" {
  name            = var.name
  cluster         = var.cluster_arn
  task_definition = aws_ecs_task_definition.this.arn
  desired_count   = var.replicas
  launch_type     = "FARGATE"
  # A new version starts before the old one ends, and is taken back if it does not become healthy.
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets         = var.subnet_ids
    security_groups = [var.security_group_id]
  }

  dynamic "load_balancer" {
    for_each = var.target_group_arn == null ? [] : [var.target_group_arn]
    content {
      target_group_arn = load_balancer.value
      container_name   = "slipway"
      container_port   = 8080
    }
  }
}

output "service_name" {
  description = "The name of the ECS service."
  value       = aws_ecs_service.this.name
}

output "log_group" {
  description = "The log group of the tasks."
  value       = aws_cloudwatch_log_group.this.name
}
